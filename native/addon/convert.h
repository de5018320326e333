// Between JavaScript values and plain native ones.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace lc::addon {

// An Error with the properties errno, syscall, path, code, text and shortage, as far as they are known; the
// facade makes a ContainerError of it.
Napi::Error ToError(Napi::Env env, const Error& error);

// As an exception; undefined, for the caller to return.
Napi::Value Throw(Napi::Env env, const Error& error);

// An array: of each what `convert` makes of it, or an error in its place.
template <typename T, typename Convert>
Napi::Array ToArray(Napi::Env env, std::vector<Result<T>>& many, Convert convert) {
  auto out = Napi::Array::New(env, many.size());
  for (size_t i = 0; i < many.size(); ++i) {
    Napi::HandleScope scope(env);
    auto at = static_cast<uint32_t>(i);
    if (many[i].ok()) {
      out.Set(at, convert(env, *many[i]));
    } else {
      out.Set(at, ToError(env, many[i].error()).Value());
    }
  }
  return out;
}

// What the facade has checked, taken as it is: a coercion may run JavaScript, which in an environment that is
// being ended gives an empty value, and to ask an empty value anything aborts the program.
std::string ToText(const Napi::Value& value);  // empty where there is none
int64_t ToInteger(const Napi::Value& value);   // 0
bool ToFlag(const Napi::Value& value);         // false
std::vector<std::string> ToStrings(const Napi::Value& value);
std::vector<int> ToInts(const Napi::Value& value);

}  // namespace lc::addon
