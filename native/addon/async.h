// Native work on the thread pool, its result as a promise.
#pragma once

#include <napi.h>

#include <functional>
#include <optional>
#include <utility>

#include "addon/convert.h"
#include "core/result.h"

namespace lc::addon {

template <typename T>
class Async : public Napi::AsyncWorker {
 public:
  using Work = std::function<Result<T>()>;
  using Convert = std::function<Napi::Value(Napi::Env, T&)>;

  // `work` runs off the JavaScript thread and touches no JavaScript value; `convert` runs on it.
  static Napi::Promise Run(Napi::Env env, Work work, Convert convert) {
    auto* worker = new Async(env, std::move(work), std::move(convert));
    Napi::Promise promise = worker->deferred_.Promise();
    worker->Queue();
    return promise;
  }

 protected:
  void Execute() override { result_.emplace(work_()); }

  void OnOK() override {
    Napi::HandleScope scope(Env());
    if (!result_->ok()) {
      deferred_.Reject(ToError(Env(), result_->error()).Value());
      return;
    }
    deferred_.Resolve(convert_(Env(), **result_));
  }

 private:
  Async(Napi::Env env, Work work, Convert convert)
      : Napi::AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        convert_(std::move(convert)) {}

  Napi::Promise::Deferred deferred_;
  Work work_;
  Convert convert_;
  std::optional<Result<T>> result_;
};

}  // namespace lc::addon
