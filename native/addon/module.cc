// The table of what JavaScript may call. lib/native.ts declares the same, with the meaning of each.
#include <fcntl.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "addon/async.h"
#include "addon/container_query.h"
#include "addon/convert.h"
#include "addon/instance.h"
#include "core/files.h"
#include "core/process_identity.h"
#include "state/runtime_record.h"

extern char** environ;

namespace lc::addon {
namespace {

Instance* Of(const Napi::CallbackInfo& info) {
  return info.Env().GetInstanceData<Instance>();
}

Napi::Value Throw(Napi::Env env, const Error& error) {
  ToError(env, error).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value Listen(const Napi::CallbackInfo& info) {
  Of(info)->Listen(info[0].As<Napi::Function>());
  return info.Env().Undefined();
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
  auto added = instance->connections->Add(std::move(fd));
  if (!added) return ToError(env, added.error()).Value();
  return Napi::Number::New(env, *added);
}

Napi::Value SpawnShim(const Napi::CallbackInfo& info) {
  std::string shim = info[0].ToString();
  std::string directory = info[1].ToString();
  // Copied here: another thread may change the environment while the pool thread runs.
  std::vector<std::string> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    environment.emplace_back(*entry);
  auto images = Of(info)->images;
  return Async<UniqueFd>::Run(
      info.Env(),
      [images, shim, directory, environment] {
        return events::SpawnShim(images.get(), shim, directory, environment);
      },
      [](Napi::Env env, UniqueFd& fd) { return Adopt(env, std::move(fd)); });
}

Napi::Value ConnectShim(const Napi::CallbackInfo& info) {
  std::string directory = info[0].ToString();
  return Async<UniqueFd>::Run(
      info.Env(), [directory] { return events::ConnectShim(directory); },
      [](Napi::Env env, UniqueFd& fd) { return Adopt(env, std::move(fd)); });
}

Napi::Value Send(const Napi::CallbackInfo& info) {
  std::string payload = info[1].ToString();
  if (info[2].IsString()) {
    payload.push_back('\0');
    payload += info[2].ToString().Utf8Value();
  }
  auto sent = Of(info)->connections->Send(info[0].ToNumber().Uint32Value(), payload, ToInts(info[3]));
  if (!sent) return Throw(info.Env(), sent.error());
  return info.Env().Undefined();
}

Napi::Value CloseConnection(const Napi::CallbackInfo& info) {
  Of(info)->connections->Close(info[0].ToNumber().Uint32Value());
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
  close(info[0].ToNumber().Int32Value());
  return info.Env().Undefined();
}

Napi::Value PendingBytes(const Napi::CallbackInfo& info) {
  int pending = 0;
  if (ioctl(info[0].ToNumber().Int32Value(), FIONREAD, &pending) != 0)
    return Throw(info.Env(), Error::Sys("FIONREAD"));
  return Napi::Number::New(info.Env(), pending);
}

Napi::Value SignalProcess(const Napi::CallbackInfo& info) {
  auto status = lc::SignalProcess(info[0].ToNumber().Int32Value(),
                                  static_cast<uint64_t>(info[1].ToNumber().Int64Value()),
                                  info[2].ToNumber().Int32Value());
  if (!status) return Throw(info.Env(), status.error());
  return info.Env().Undefined();
}

ContainerQuery ToQuery(const Napi::Value& value) {
  auto object = value.As<Napi::Object>();
  ContainerQuery query;
  query.id = object.Get("id").ToString();
  query.roots = RuntimeRoots(object.Get("runtime").ToString(), ToStrings(object.Get("runtimeArgs")));
  query.init_pid = object.Get("pid").ToNumber().Int32Value();
  query.init_start = static_cast<uint64_t>(object.Get("starttime").ToNumber().Int64Value());
  return query;
}

Napi::Value Status(const Napi::CallbackInfo& info) {
  auto query = ToQuery(info[0]);
  return Async<std::string>::Run(
      info.Env(), [query] { return QueryStatus(query); },
      [](Napi::Env env, std::string& state) { return Napi::String::New(env, state); });
}

Napi::Value PidArray(Napi::Env env, const std::vector<pid_t>& pids) {
  auto out = Napi::Array::New(env, pids.size());
  for (size_t i = 0; i < pids.size(); ++i) out.Set(static_cast<uint32_t>(i), Napi::Number::New(env, pids[i]));
  return out;
}

Napi::Value Pids(const Napi::CallbackInfo& info) {
  auto query = ToQuery(info[0]);
  return Async<std::vector<pid_t>>::Run(
      info.Env(), [query] { return QueryPids(query); },
      [](Napi::Env env, std::vector<pid_t>& pids) { return PidArray(env, pids); });
}

Napi::Value PidsSync(const Napi::CallbackInfo& info) {
  auto pids = QueryPids(ToQuery(info[0]));
  if (!pids) return Throw(info.Env(), pids.error());
  return PidArray(info.Env(), *pids);
}

Napi::Value SignalAll(const Napi::CallbackInfo& info) {
  auto query = ToQuery(info[0]);
  int signal = info[1].ToNumber().Int32Value();
  return Async<Unit>::Run(
      info.Env(), [query, signal] { return SignalContainer(query, signal); },
      [](Napi::Env env, Unit&) { return env.Undefined(); });
}

Napi::Value StartTime(const Napi::CallbackInfo& info) {
  auto stat = ReadProcStat(info[0].ToNumber().Int32Value());
  if (!stat || !stat->alive()) return info.Env().Null();
  return Napi::Number::New(info.Env(), static_cast<double>(stat->start));
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Instance(env));
  exports.Set("listen", Napi::Function::New(env, Listen, "listen"));
  exports.Set("ref", Napi::Function::New(env, Ref, "ref"));
  exports.Set("unref", Napi::Function::New(env, Unref, "unref"));
  exports.Set("spawnShim", Napi::Function::New(env, SpawnShim, "spawnShim"));
  exports.Set("connectShim", Napi::Function::New(env, ConnectShim, "connectShim"));
  exports.Set("send", Napi::Function::New(env, Send, "send"));
  exports.Set("closeConnection", Napi::Function::New(env, CloseConnection, "closeConnection"));
  exports.Set("pipe", Napi::Function::New(env, MakePipe, "pipe"));
  exports.Set("closeFd", Napi::Function::New(env, CloseFd, "closeFd"));
  exports.Set("pendingBytes", Napi::Function::New(env, PendingBytes, "pendingBytes"));
  exports.Set("signalProcess", Napi::Function::New(env, SignalProcess, "signalProcess"));
  exports.Set("startTime", Napi::Function::New(env, StartTime, "startTime"));
  exports.Set("status", Napi::Function::New(env, Status, "status"));
  exports.Set("pids", Napi::Function::New(env, Pids, "pids"));
  exports.Set("pidsSync", Napi::Function::New(env, PidsSync, "pidsSync"));
  exports.Set("signalAll", Napi::Function::New(env, SignalAll, "signalAll"));
  return exports;
}

}  // namespace
}  // namespace lc::addon

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) {
  return lc::addon::Init(env, exports);
}
NODE_API_MODULE(libcontainer, InitModule)
