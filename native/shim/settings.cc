// What state.json says of the container that this shim serves.
#include "shim/settings.h"

#include "core/files.h"
#include "core/json.h"

namespace lc::shim {

Result<Settings> LoadSettings(const std::string& directory) {
  std::string path = directory + "/state.json";
  auto text = ReadFile(path);
  if (!text) return text.error();
  JsonDocument json;
  auto bundle = ParseJson(*text, &json) ? StringMember(json, "bundle") : std::nullopt;
  if (!bundle) return Error::Coded("ERR_STATE_CORRUPT", "no JSON object with a bundle", path);
  Settings settings;
  settings.directory = directory;
  settings.id = directory.substr(directory.rfind('/') + 1);
  settings.bundle = *bundle;
  std::string runtime = StringMember(json, "runtime").value_or("");
  if (!runtime.empty()) settings.runtime = runtime;
  settings.runtime_args = StringsMember(json, "runtimeArgs");
  settings.no_pivot_root = BoolMember(json, "noPivotRoot").value_or(false);
  settings.ephemeral = BoolMember(json, "ephemeral").value_or(false);
  if (const JsonValue* owner = Member(json, "owner"); owner != nullptr && owner->IsObject()) {
    settings.owner_pid = static_cast<pid_t>(IntMember(*owner, "pid").value_or(0));
    settings.owner_start = UintMember(*owner, "starttime").value_or(0);
    settings.owner_namespace = StringMember(*owner, "pidNamespace").value_or("");
  }
  return settings;
}

}  // namespace lc::shim
