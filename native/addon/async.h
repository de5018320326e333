// Native work off the JavaScript thread, its result as a promise.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "addon/convert.h"
#include "addon/instance.h"
#include "addon/lane.h"
#include "core/result.h"

namespace lc::addon {

template <typename T>
class Async final : public Job {
 public:
  using Work = std::function<Result<T>()>;
  using Convert = std::function<Napi::Value(Napi::Env, T&)>;

  // `work` runs off the JavaScript thread and touches no JavaScript value; `convert` runs on it, and may
  // throw.
  static Napi::Promise Run(Napi::Env env, Work work, Convert convert) {
    auto job = std::make_unique<Async>(env, std::move(work), std::move(convert));
    Napi::Promise promise = job->deferred_.Promise();
    Lane::Run(env, env.GetInstanceData<Instance>()->lanes, std::move(job));
    return promise;
  }

  Async(Napi::Env env, Work work, Convert convert)
      : deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), convert_(std::move(convert)) {}

  void Execute() override { result_.emplace(work_()); }

  void Complete(Napi::Env env) override {
    if (!result_->ok()) {
      deferred_.Reject(ToError(env, result_->error()).Value());
      return;
    }
    Napi::Value value = convert_(env, **result_);
    if (env.IsExceptionPending()) {
      deferred_.Reject(env.GetAndClearPendingException().Value());
    } else {
      deferred_.Resolve(value);
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  Work work_;
  Convert convert_;
  std::optional<Result<T>> result_;
};

}  // namespace lc::addon
