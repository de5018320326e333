// What state.json says of the container that this shim serves.
#include "shim/settings.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/files.h"
#include "core/json.h"

namespace lc::shim {

namespace {

// Root runs what state.json names. The directory above was looked at by the program:
// lib/state/trusted_root.ts.
Status CheckOwner(const std::string& path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return Error::Sys("stat", path);
  bool foreign = st.st_uid != 0 && st.st_uid != geteuid();
  if (!foreign && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0) return Ok();
  return Error::Coded("ERR_STATE_CORRUPT",
                      foreign ? "it belongs to another user, who could have root run any program"
                              : "other users may write to it, and could have root run any program",
                      path);
}

}  // namespace

Result<Settings> LoadSettings(const std::string& directory) {
  std::string path = directory + "/state.json";
  for (const std::string& owned : {directory, path}) {
    auto checked = CheckOwner(owned);
    if (!checked) return checked.error();
  }
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
  settings.subgroups = BoolMember(json, "subgroups").value_or(false);
  if (const JsonValue* owner = Member(json, "owner"); owner != nullptr && owner->IsObject()) {
    settings.owner_pid = static_cast<pid_t>(IntMember(*owner, "pid").value_or(0));
    settings.owner_start = UintMember(*owner, "starttime").value_or(0);
    settings.owner_namespace = StringMember(*owner, "pidNamespace").value_or("");
  }
  return settings;
}

}  // namespace lc::shim
