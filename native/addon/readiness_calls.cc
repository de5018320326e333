// What JavaScript may call to wait for a descriptor.
#include "addon/readiness_calls.h"

#include "addon/convert.h"
#include "addon/instance.h"
#include "events/readiness.h"

namespace lc::addon {
namespace {

Instance* Of(const Napi::CallbackInfo& info) {
  return info.Env().GetInstanceData<Instance>();
}

Napi::Value ListenToReadiness(const Napi::CallbackInfo& info) {
  Of(info)->ListenToReadiness(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

Napi::Value AwaitReadiness(const Napi::CallbackInfo& info) {
  auto readiness = Of(info)->Readiness();
  if (!readiness) return Throw(info.Env(), readiness.error());
  auto number = (*readiness)->Await(static_cast<int>(ToInteger(info[0])), ToFlag(info[1]));
  if (!number) return Throw(info.Env(), number.error());
  return Napi::Number::New(info.Env(), *number);
}

Napi::Value ForgetReadiness(const Napi::CallbackInfo& info) {
  auto readiness = Of(info)->Readiness();
  if (readiness) (*readiness)->Forget(static_cast<uint32_t>(ToInteger(info[0])));
  return info.Env().Undefined();
}

}  // namespace

void ExportReadinessCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("listenToReadiness", Napi::Function::New(env, ListenToReadiness, "listenToReadiness"));
  exports.Set("awaitReadiness", Napi::Function::New(env, AwaitReadiness, "awaitReadiness"));
  exports.Set("forgetReadiness", Napi::Function::New(env, ForgetReadiness, "forgetReadiness"));
}

}  // namespace lc::addon
