// The table of what JavaScript may call. lib/native/binding.ts declares the same, with the meaning of each.
#include <fcntl.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "addon/async.h"
#include "addon/container_handle.h"
#include "addon/convert.h"
#include "addon/instance.h"
#include "addon/readiness_calls.h"
#include "addon/state_calls.h"
#include "addon/stats_object.h"
#include "addon/watch_calls.h"
#include "core/files.h"
#include "core/process_identity.h"
#include "state/runtime_record.h"

extern char** environ;

namespace lc::addon {
namespace {

Instance* Of(const Napi::CallbackInfo& info) {
  return info.Env().GetInstanceData<Instance>();
}

Napi::Value Ref(const Napi::CallbackInfo& info) {
  Of(info)->Ref();
  return info.Env().Undefined();
}

Napi::Value Unref(const Napi::CallbackInfo& info) {
  Of(info)->Unref();
  return info.Env().Undefined();
}

// Resolves with a connection's number. The instance outlives the promise's resolution, or the promise never
// resolves: the environment is gone then.
Napi::Value Adopt(Napi::Env env, UniqueFd fd) {
  auto* instance = env.GetInstanceData<Instance>();
  if (!instance->Begin()) return env.Undefined();  // the environment is on its way out
  auto connections = instance->Connect();
  if (!connections) return Throw(env, connections.error());
  return Napi::Number::New(env, (*connections)->Add(std::move(fd)));
}

Napi::Value SpawnShim(const Napi::CallbackInfo& info) {
  std::string shim = ToText(info[0]);
  std::string directory = ToText(info[1]);
  // Copied here: another thread may change the environment while the pool thread runs.
  std::vector<std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    environment.emplace_back(*entry);
  auto images = Of(info)->images;
  return Async<UniqueFd>::Run(
      info.Env(),
      [images, shim, directory, environment] {
        return client::SpawnShim(images.get(), shim, directory, environment);
      },
      [](Napi::Env env, UniqueFd& fd) { return Adopt(env, std::move(fd)); });
}

Napi::Value ConnectShim(const Napi::CallbackInfo& info) {
  std::string directory = ToText(info[0]);
  return Async<UniqueFd>::Run(
      info.Env(), [directory] { return client::ConnectShim(directory); },
      [](Napi::Env env, UniqueFd& fd) { return Adopt(env, std::move(fd)); });
}

Napi::Value Reader(const Napi::CallbackInfo& info) {
  auto* connections = Of(info)->connections();
  if (connections == nullptr) return Throw(info.Env(), Error::Of(ENOTCONN, "fcntl"));
  auto fd = connections->Reader(static_cast<uint32_t>(ToInteger(info[0])));
  if (!fd) return Throw(info.Env(), fd.error());
  return Napi::Number::New(info.Env(), fd->Release());
}

Napi::Value Send(const Napi::CallbackInfo& info) {
  std::string payload = ToText(info[1]);
  if (info[2].IsString()) {
    payload.push_back('\0');
    payload += ToText(info[2]);
  }
  auto* connections = Of(info)->connections();
  if (connections == nullptr) return Throw(info.Env(), Error::Of(ENOTCONN, "sendmsg"));
  auto sent = connections->Send(static_cast<uint32_t>(ToInteger(info[0])), payload, ToInts(info[3]));
  if (!sent) return Throw(info.Env(), sent.error());
  return info.Env().Undefined();
}

Napi::Value CloseConnection(const Napi::CallbackInfo& info) {
  auto* connections = Of(info)->connections();
  if (connections != nullptr) connections->Close(static_cast<uint32_t>(ToInteger(info[0])));
  return info.Env().Undefined();
}

Napi::Value MakePipe(const Napi::CallbackInfo& info) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Throw(info.Env(), Error::Sys("pipe2"));
  auto out = Napi::Array::New(info.Env(), 2);
  out.Set(0U, Napi::Number::New(info.Env(), ends[0]));
  out.Set(1U, Napi::Number::New(info.Env(), ends[1]));
  return out;
}

Napi::Value CloseFd(const Napi::CallbackInfo& info) {
  close(static_cast<int>(ToInteger(info[0])));
  return info.Env().Undefined();
}

Napi::Value PendingBytes(const Napi::CallbackInfo& info) {
  int pending = 0;
  if (ioctl(static_cast<int>(ToInteger(info[0])), FIONREAD, &pending) != 0)
    return Throw(info.Env(), Error::Sys("FIONREAD"));
  return Napi::Number::New(info.Env(), pending);
}

Napi::Value SignalProcess(const Napi::CallbackInfo& info) {
  auto status =
      lc::SignalProcess(static_cast<int>(ToInteger(info[0])), static_cast<uint64_t>(ToInteger(info[1])),
                        static_cast<int>(ToInteger(info[2])));
  if (!status) return Throw(info.Env(), status.error());
  return info.Env().Undefined();
}

Napi::Value OpenContainer(const Napi::CallbackInfo& info) {
  auto object = info[0].As<Napi::Object>();
  ContainerQuery query;
  query.id = ToText(object.Get("id"));
  query.roots = RuntimeRoots(ToText(object.Get("runtime")), ToStrings(object.Get("runtimeArgs")));
  query.init_pid = static_cast<int>(ToInteger(object.Get("pid")));
  query.init_start = static_cast<uint64_t>(ToInteger(object.Get("starttime")));
  if (object.Get("within").IsString()) query.within = ToText(object.Get("within"));
  auto* live = new LivePointer(std::make_shared<LiveContainer>(std::move(query), Of(info)->budget));
  return Napi::External<LivePointer>::New(info.Env(), live,
                                          [](Napi::Env, LivePointer* gone) { delete gone; });
}

Napi::Value LimitDescriptors(const Napi::CallbackInfo& info) {
  Of(info)->budget->SetLimit(static_cast<uint32_t>(ToInteger(info[0])));
  return info.Env().Undefined();
}

Napi::Value GiveBack(const Napi::CallbackInfo& info) {
  ToLive(info[0])->Release();
  return info.Env().Undefined();
}

Napi::Value ContainerStatus(const Napi::CallbackInfo& info) {
  auto live = ToLive(info[0]);
  return Async<std::string>::Run(
      info.Env(), [live] { return live->ReadStatus(); },
      [](Napi::Env env, std::string& state) { return Napi::String::New(env, state); });
}

Napi::Value Lives(const Napi::CallbackInfo& info) {
  auto live = ToLive(info[0]);
  return Async<bool>::Run(
      info.Env(), [live] { return live->Lives(); },
      [](Napi::Env env, bool& lives) -> Napi::Value { return Napi::Boolean::New(env, lives); });
}

Napi::Value LivesSync(const Napi::CallbackInfo& info) {
  auto lives = ToLive(info[0])->Lives();
  if (!lives) return Throw(info.Env(), lives.error());
  return Napi::Boolean::New(info.Env(), *lives);
}

Napi::Value PidArray(Napi::Env env, const std::vector<pid_t>& pids) {
  auto out = Napi::Array::New(env, pids.size());
  for (size_t i = 0; i < pids.size(); ++i) out.Set(static_cast<uint32_t>(i), Napi::Number::New(env, pids[i]));
  return out;
}

Napi::Value Pids(const Napi::CallbackInfo& info) {
  auto live = ToLive(info[0]);
  return Async<std::vector<pid_t>>::Run(
      info.Env(), [live] { return live->ReadPids(); },
      [](Napi::Env env, std::vector<pid_t>& pids) { return PidArray(env, pids); });
}

Napi::Value PidsSync(const Napi::CallbackInfo& info) {
  auto pids = ToLive(info[0])->ReadPids();
  if (!pids) return Throw(info.Env(), pids.error());
  return PidArray(info.Env(), *pids);
}

Napi::Value ReadStats(const Napi::CallbackInfo& info) {
  auto live = ToLive(info[0]);
  return Async<Stats>::Run(
      info.Env(), [live] { return live->ReadStats(); },
      [](Napi::Env env, Stats& stats) -> Napi::Value { return StatsObject(env, stats); });
}

Napi::Value ReadStatsSync(const Napi::CallbackInfo& info) {
  auto stats = ToLive(info[0])->ReadStats();
  if (!stats) return Throw(info.Env(), stats.error());
  return StatsObject(info.Env(), *stats);
}

Napi::Value ReadStatsOfMany(const Napi::CallbackInfo& info) {
  auto array = info[0].As<Napi::Array>();
  std::vector<LivePointer> containers;
  for (uint32_t i = 0; i < array.Length(); ++i) containers.push_back(ToLive(array.Get(i)));
  using Many = std::vector<Result<Stats>>;
  return Async<Many>::Run(
      info.Env(), [containers]() -> Result<Many> { return ReadStatsOfAll(containers); },
      [](Napi::Env env, Many& many) -> Napi::Value { return ToArray(env, many, StatsObject); });
}

Napi::Value RunOn(const Napi::CallbackInfo& info, std::function<Status(LiveContainer&)> work) {
  auto live = ToLive(info[0]);
  return Async<Unit>::Run(
      info.Env(), [live, work = std::move(work)] { return work(*live); },
      [](Napi::Env env, Unit&) { return env.Undefined(); });
}

Napi::Value Pause(const Napi::CallbackInfo& info) {
  int timeout_ms = static_cast<int>(ToInteger(info[1]));
  return RunOn(info, [timeout_ms](LiveContainer& live) { return live.Pause(timeout_ms); });
}

Napi::Value Resume(const Napi::CallbackInfo& info) {
  return RunOn(info, [](LiveContainer& live) { return live.Resume(); });
}

Napi::Value SignalAll(const Napi::CallbackInfo& info) {
  int signal = static_cast<int>(ToInteger(info[1]));
  return RunOn(info, [signal](LiveContainer& live) { return live.SignalAll(signal); });
}

Napi::Value ReleaseKilled(const Napi::CallbackInfo& info) {
  return RunOn(info, [](LiveContainer& live) { return live.ReleaseKilled(); });
}

Napi::Value MakeOwnCgroup(const Napi::CallbackInfo& info) {
  auto live = ToLive(info[0]);
  return Async<std::string>::Run(
      info.Env(), [live] { return live->MakeOwnCgroup(); },
      [](Napi::Env env, std::string& name) { return Napi::String::New(env, name); });
}

Napi::Value RemoveOwnCgroup(const Napi::CallbackInfo& info) {
  std::string name = ToText(info[1]);
  return RunOn(info, [name](LiveContainer& live) { return live.RemoveOwnCgroup(name); });
}

Napi::Value Update(const Napi::CallbackInfo& info) {
  std::string json = ToText(info[1]);
  PlanOptions options;
  auto given = info[2].As<Napi::Object>();
  options.shares = ToFlag(given.Get("linearShares")) ? PlanOptions::SharesFormula::kLinear
                                                     : PlanOptions::SharesFormula::kCurve;
  options.pids_zero_is_one = ToFlag(given.Get("pidsZeroIsOne"));
  return RunOn(info, [json, options](LiveContainer& live) -> Status {
    auto old_record = live.Update(json, options);
    if (!old_record) return old_record.error();
    // The last descriptor of a removed file: the kernel frees the file when it is closed, which takes time.
    Lane::CloseLater(std::move(*old_record));
    return Ok();
  });
}

Napi::Value StartTime(const Napi::CallbackInfo& info) {
  auto stat = ReadProcStat(static_cast<int>(ToInteger(info[0])));
  if (!stat && IsShortage(stat.error())) return Throw(info.Env(), stat.error());
  if (!stat || !stat->alive()) return info.Env().Null();
  return Napi::Number::New(info.Env(), static_cast<double>(stat->start));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Instance(env));
  exports.Set("ref", Napi::Function::New(env, Ref, "ref"));
  exports.Set("unref", Napi::Function::New(env, Unref, "unref"));
  exports.Set("spawnShim", Napi::Function::New(env, SpawnShim, "spawnShim"));
  exports.Set("connectShim", Napi::Function::New(env, ConnectShim, "connectShim"));
  exports.Set("reader", Napi::Function::New(env, Reader, "reader"));
  exports.Set("send", Napi::Function::New(env, Send, "send"));
  exports.Set("closeConnection", Napi::Function::New(env, CloseConnection, "closeConnection"));
  exports.Set("pipe", Napi::Function::New(env, MakePipe, "pipe"));
  exports.Set("closeFd", Napi::Function::New(env, CloseFd, "closeFd"));
  exports.Set("pendingBytes", Napi::Function::New(env, PendingBytes, "pendingBytes"));
  exports.Set("signalProcess", Napi::Function::New(env, SignalProcess, "signalProcess"));
  exports.Set("startTime", Napi::Function::New(env, StartTime, "startTime"));
  exports.Set("container", Napi::Function::New(env, OpenContainer, "container"));
  exports.Set("limitDescriptors", Napi::Function::New(env, LimitDescriptors, "limitDescriptors"));
  exports.Set("giveBack", Napi::Function::New(env, GiveBack, "giveBack"));
  exports.Set("status", Napi::Function::New(env, ContainerStatus, "status"));
  exports.Set("lives", Napi::Function::New(env, Lives, "lives"));
  exports.Set("livesSync", Napi::Function::New(env, LivesSync, "livesSync"));
  exports.Set("stats", Napi::Function::New(env, ReadStats, "stats"));
  exports.Set("statsSync", Napi::Function::New(env, ReadStatsSync, "statsSync"));
  exports.Set("statsOfMany", Napi::Function::New(env, ReadStatsOfMany, "statsOfMany"));
  exports.Set("pause", Napi::Function::New(env, Pause, "pause"));
  exports.Set("resume", Napi::Function::New(env, Resume, "resume"));
  exports.Set("update", Napi::Function::New(env, Update, "update"));
  exports.Set("makeOwnCgroup", Napi::Function::New(env, MakeOwnCgroup, "makeOwnCgroup"));
  exports.Set("removeOwnCgroup", Napi::Function::New(env, RemoveOwnCgroup, "removeOwnCgroup"));
  exports.Set("pids", Napi::Function::New(env, Pids, "pids"));
  exports.Set("pidsSync", Napi::Function::New(env, PidsSync, "pidsSync"));
  exports.Set("signalAll", Napi::Function::New(env, SignalAll, "signalAll"));
  exports.Set("releaseKilled", Napi::Function::New(env, ReleaseKilled, "releaseKilled"));
  ExportStateCalls(env, exports);
  ExportWatchCalls(env, exports);
  ExportReadinessCalls(env, exports);
  return exports;
}

}  // namespace
}  // namespace lc::addon

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) {
  return lc::addon::Init(env, exports);
}
NODE_API_MODULE(libcontainer, InitModule)
