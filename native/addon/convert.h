// Between JavaScript values and plain native ones.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "core/result.h"

namespace lc::addon {

// An Error with the properties errno, syscall, path, code and text, as far as they are known; the facade
// makes a ContainerError of it.
Napi::Error ToError(Napi::Env env, const Error& error);

// As an exception; undefined, for the caller to return.
Napi::Value Throw(Napi::Env env, const Error& error);

std::vector<std::string> ToStrings(const Napi::Value& value);
std::vector<int> ToInts(const Napi::Value& value);

}  // namespace lc::addon
