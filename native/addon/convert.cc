// Between JavaScript values and plain native ones.
#include "addon/convert.h"

#include <cstring>

namespace lc::addon {

Napi::Error ToError(Napi::Env env, const Error& error) {
  std::string message = error.text.empty() ? error.call : error.text;
  if (error.err != 0) message += std::string(message.empty() ? "" : ": ") + strerror(error.err);
  Napi::Error out = Napi::Error::New(env, message);
  if (error.err != 0) out.Set("errno", Napi::Number::New(env, error.err));
  if (!error.call.empty()) out.Set("syscall", Napi::String::New(env, error.call));
  if (!error.path.empty()) out.Set("path", Napi::String::New(env, error.path));
  if (!error.text.empty()) out.Set("text", Napi::String::New(env, error.text));
  if (IsShortage(error)) out.Set("shortage", Napi::Boolean::New(env, true));
  out.Set("code", Napi::String::New(env, error.code != nullptr ? error.code : "ERR_SYSCALL"));
  return out;
}

Napi::Value Throw(Napi::Env env, const Error& error) {
  ToError(env, error).ThrowAsJavaScriptException();
  return env.Undefined();
}

std::string ToText(const Napi::Value& value) {
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

int64_t ToInteger(const Napi::Value& value) {
  return value.IsNumber() ? value.As<Napi::Number>().Int64Value() : 0;
}

bool ToFlag(const Napi::Value& value) {
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

std::vector<std::string> ToStrings(const Napi::Value& value) {
  std::vector<std::string> out;
  if (!value.IsArray()) return out;
  auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(ToText(array.Get(i)));
  return out;
}

std::vector<int> ToInts(const Napi::Value& value) {
  std::vector<int> out;
  if (!value.IsArray()) return out;
  auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(static_cast<int>(ToInteger(array.Get(i))));
  return out;
}

}  // namespace lc::addon
