// What JavaScript may call to watch a container's cgroup.
#include "addon/watch_calls.h"

#include <memory>
#include <string>

#include "addon/async.h"
#include "addon/container_handle.h"
#include "addon/convert.h"
#include "addon/instance.h"
#include "events/watches.h"

namespace lc::addon {
namespace {

using WatchesPointer = std::shared_ptr<events::Watches>;

Instance* Of(const Napi::CallbackInfo& info) {
  return info.Env().GetInstanceData<Instance>();
}

struct Request {
  std::string kind;  // "oom", "high", "pressure"
  events::PressureTrigger trigger;
};

Result<std::unique_ptr<events::Source>> OpenSource(const Request& request, const CgroupPaths& paths) {
  if (request.kind == "oom") return events::OpenOomSource(paths);
  if (request.kind == "high") return events::OpenHighSource(paths);
  return events::OpenPressureSource(paths, request.trigger);
}

events::Source::Counter CounterOf(const Request& request) {
  if (request.kind == "oom") return events::Source::kOomKills;
  return request.kind == "high" ? events::Source::kHighBreaches : events::Source::kStalls;
}

// Resolves with the watch's number, from when on it may be told of.
Napi::Value Watch(const Napi::CallbackInfo& info) {
  auto live = ToLive(info[0]);
  auto object = info[1].As<Napi::Object>();
  Request request;
  request.kind = ToText(object.Get("kind"));
  if (request.kind == "pressure") {
    request.trigger.resource = ToText(object.Get("resource"));
    request.trigger.full = ToFlag(object.Get("full"));
    request.trigger.stall_usec = static_cast<uint32_t>(ToInteger(object.Get("stallUsec")));
    request.trigger.window_usec = static_cast<uint32_t>(ToInteger(object.Get("windowUsec")));
  }
  auto begun = Of(info)->Watches();
  if (!begun) {
    auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Reject(ToError(info.Env(), begun.error()).Value());
    return deferred.Promise();
  }
  WatchesPointer watches = *begun;
  return Async<uint32_t>::Run(
      info.Env(),
      [live, request, watches]() -> Result<uint32_t> {
        auto paths = live->WatchPaths();
        if (!paths) return paths.error();
        auto source = OpenSource(request, *paths);
        if (!source) return source.error();
        auto added = watches->Add(std::move(*source), CounterOf(request));
        if (!added) return added.error();
        // It may have died, and its cgroup may stay for long.
        auto lives = live->InitRuns() ? Result<bool>(true) : live->Lives();
        if (!lives || !*lives) {
          watches->Remove(*added);
          return lives ? Error::Coded("ERR_CONTAINER_EXITED", "the container has exited") : lives.error();
        }
        return *added;
      },
      [watches](Napi::Env env, uint32_t& watch) -> Napi::Value {
        watches->Arm(watch);
        return Napi::Number::New(env, watch);
      });
}

Napi::Value WatchFd(const Napi::CallbackInfo& info) {
  auto watches = Of(info)->Watches();
  if (!watches) return Throw(info.Env(), watches.error());
  auto fd = (*watches)->Descriptor(static_cast<uint32_t>(ToInteger(info[0])));
  if (!fd) return Throw(info.Env(), fd.error());
  return Napi::Number::New(info.Env(), *fd);
}

Napi::Value FlushWatch(const Napi::CallbackInfo& info) {
  auto watches = Of(info)->Watches();
  if (!watches) return Throw(info.Env(), watches.error());
  auto count = (*watches)->Flush(static_cast<uint32_t>(ToInteger(info[0])));
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

Napi::Value CloseWatch(const Napi::CallbackInfo& info) {
  auto watches = Of(info)->Watches();
  if (watches) (*watches)->Remove(static_cast<uint32_t>(ToInteger(info[0])));
  return info.Env().Undefined();
}

Napi::Value ListenToWatches(const Napi::CallbackInfo& info) {
  Of(info)->ListenToWatches(info[0].As<Napi::Function>());
  return info.Env().Undefined();
}

}  // namespace

void ExportWatchCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("listenToWatches", Napi::Function::New(env, ListenToWatches, "listenToWatches"));
  exports.Set("watch", Napi::Function::New(env, Watch, "watch"));
  exports.Set("watchFd", Napi::Function::New(env, WatchFd, "watchFd"));
  exports.Set("flushWatch", Napi::Function::New(env, FlushWatch, "flushWatch"));
  exports.Set("closeWatch", Napi::Function::New(env, CloseWatch, "closeWatch"));
}

}  // namespace lc::addon
