// What JavaScript may call to read state directories: many in one pass off the JavaScript thread.
#include "addon/state_calls.h"

#include <string>
#include <utility>
#include <vector>

#include "addon/async.h"
#include "addon/convert.h"
#include "core/files.h"
#include "state/state_directory.h"

namespace lc::addon {
namespace {

// Resolves with what `read` gives of each path, or an error in its place.
template <typename T>
Napi::Value ReadEach(const Napi::CallbackInfo& info, Result<T> (*read)(const std::string&),
                     Napi::Value (*convert)(Napi::Env, const T&)) {
  using Many = std::vector<Result<T>>;
  return Async<Many>::Run(
      info.Env(),
      [paths = ToStrings(info[0]), read]() -> Result<Many> {
        Many many;
        many.reserve(paths.size());
        for (const std::string& path : paths) many.push_back(read(path));
        return many;
      },
      [convert](Napi::Env env, Many& many) -> Napi::Value { return ToArray(env, many, convert); });
}

Napi::Value TextOf(Napi::Env env, const std::string& text) {
  return Napi::String::New(env, text);
}

Napi::Value OptionalOf(Napi::Env env, const std::optional<std::string>& text) {
  return text ? TextOf(env, *text) : env.Null();
}

Napi::Value DirectoryOf(Napi::Env env, const StateDirectory& directory) {
  auto processes = Napi::Array::New(env, directory.processes.size());
  for (size_t i = 0; i < directory.processes.size(); ++i) {
    Napi::HandleScope scope(env);
    const ProcessText& process = directory.processes[i];
    auto object = Napi::Object::New(env);
    object.Set("id", TextOf(env, process.id));
    object.Set("process", process.process.ok() ? TextOf(env, *process.process)
                                               : ToError(env, process.process.error()).Value());
    object.Set("pid", OptionalOf(env, process.pid));
    object.Set("starttime", OptionalOf(env, process.starttime));
    object.Set("exitStatus", OptionalOf(env, process.exit_status));
    object.Set("exit", OptionalOf(env, process.exit));
    object.Set("own", OptionalOf(env, process.own));
    object.Set("exitStatusMs", Napi::Number::New(env, process.exit_status_ms));
    processes.Set(static_cast<uint32_t>(i), object);
  }
  auto out = Napi::Object::New(env);
  out.Set("unfinished", Napi::Boolean::New(env, directory.unfinished));
  out.Set("earlierBoot", Napi::Boolean::New(env, directory.earlier_boot));
  out.Set("processes", processes);
  return out;
}

Result<std::string> ReadText(const std::string& path) {
  return ReadFile(path);
}

Napi::Value ReadTexts(const Napi::CallbackInfo& info) {
  return ReadEach<std::string>(info, ReadText, TextOf);
}

Napi::Value ReadDirectories(const Napi::CallbackInfo& info) {
  return ReadEach<StateDirectory>(info, ReadStateDirectory, DirectoryOf);
}

}  // namespace

void ExportStateCalls(Napi::Env env, Napi::Object exports) {
  exports.Set("readTexts", Napi::Function::New(env, ReadTexts, "readTexts"));
  exports.Set("readDirectories", Napi::Function::New(env, ReadDirectories, "readDirectories"));
}

}  // namespace lc::addon
