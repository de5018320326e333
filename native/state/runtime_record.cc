// What the OCI runtime wrote down about a container: runc's state.json, crun's status and config.json.
#include "state/runtime_record.h"

#include <cstdlib>

#include "core/files.h"
#include "core/json.h"

namespace lc {
namespace {

Error Corrupt(const std::string& path, const std::string& what) {
  return Error::Coded("ERR_STATE_CORRUPT", what, path);
}

// runc records CLONE_NEW* names; the OCI config has lower-case words.
const char* NamespaceOfRunc(const std::string& name) {
  if (name == "NEWPID") return "pid";
  if (name == "NEWNET") return "network";
  if (name == "NEWIPC") return "ipc";
  if (name == "NEWUTS") return "uts";
  if (name == "NEWNS") return "mount";
  if (name == "NEWUSER") return "user";
  if (name == "NEWCGROUP") return "cgroup";
  if (name == "NEWTIME") return "time";
  return nullptr;
}

bool IsNonEmpty(const JsonValue* value) {
  if (value == nullptr) return false;
  if (value->IsObject()) return !value->ObjectEmpty();
  return true;
}

std::string FlagValue(const std::vector<std::string>& args, const std::string& name) {
  std::string found;
  for (size_t i = 0; i < args.size(); ++i) {
    std::string_view word = args[i];
    if (word.starts_with("--")) {
      word.remove_prefix(2);
    } else if (word.starts_with("-")) {
      word.remove_prefix(1);
    } else {
      continue;
    }
    if (word == name && i + 1 < args.size()) {
      found = args[++i];
    } else if (word.starts_with(name + "=")) {
      found = word.substr(name.size() + 1);
    }
  }
  return found;
}

}  // namespace

std::vector<std::string> RuntimeRoots(const std::string& runtime,
                                      const std::vector<std::string>& runtime_args) {
  std::string root = FlagValue(runtime_args, "root");
  if (!root.empty()) return {root};
  size_t slash = runtime.rfind('/');
  std::string name = slash == std::string::npos ? runtime : runtime.substr(slash + 1);
  std::string runc = "/run/runc";
  std::string crun = "/run/crun";
  // Both runtimes keep a user's own containers below XDG_RUNTIME_DIR.
  const char* xdg = getenv("XDG_RUNTIME_DIR");
  std::vector<std::string> roots =
      name.find("crun") != std::string::npos ? std::vector{crun, runc} : std::vector{runc, crun};
  if (xdg != nullptr && xdg[0] == '/') {
    roots.push_back(std::string(xdg) + "/runc");
    roots.push_back(std::string(xdg) + "/crun");
  }
  return roots;
}

Result<RuntimeRecord> ParseRuncState(std::string_view text, const std::string& path) {
  JsonDocument json;
  if (!ParseJson(text, &json) || !json.IsObject()) return Corrupt(path, "not a JSON object");
  RuntimeRecord record;
  record.kind = RuntimeRecord::Kind::kRunc;
  auto pid = IntMember(json, "init_process_pid");
  auto start = UintMember(json, "init_process_start");
  const JsonValue* config = Member(json, "config");
  const JsonValue* paths = Member(json, "cgroup_paths");
  if (!pid || *pid < 0 || *pid > INT32_MAX) return Corrupt(path, "init_process_pid is missing or no pid");
  if (!start) return Corrupt(path, "init_process_start is missing or no number");
  if (config == nullptr || !config->IsObject()) return Corrupt(path, "config is missing or no object");
  record.init_pid = static_cast<pid_t>(*pid);
  record.init_start = *start;
  if (paths != nullptr && paths->IsObject()) {
    for (const auto& entry : paths->GetObject()) {
      if (!entry.value.IsString() || entry.value.GetStringLength() == 0) continue;
      std::string name(entry.name.GetString(), entry.name.GetStringLength());
      std::string value(entry.value.GetString(), entry.value.GetStringLength());
      if (name.empty()) {
        record.cgroups.unified = value;
      } else {
        record.cgroups.v1.push_back({std::move(name), std::move(value)});
      }
    }
  }
  const JsonValue* namespaces = Member(*config, "namespaces");
  if (namespaces != nullptr && namespaces->IsArray()) {
    for (const JsonValue& item : namespaces->GetArray()) {
      auto type = StringMember(item, "type");
      if (!type) continue;
      const char* name = NamespaceOfRunc(*type);
      if (name == nullptr) return Corrupt(path, "unknown namespace " + *type);
      record.namespaces.emplace_back(name);
      if (*type == "NEWPID") record.own_pid_namespace = StringMember(item, "path").value_or("").empty();
    }
  }
  record.has_seccomp = IsNonEmpty(Member(*config, "seccomp"));
  record.no_new_keyring = BoolMember(*config, "no_new_keyring").value_or(false);
  if (auto umask = UintMember(*config, "umask")) record.umask = static_cast<uint32_t>(*umask);
  if (auto score = IntMember(*config, "oom_score_adj")) record.oom_score_adj = static_cast<int>(*score);
  if (const JsonValue* personality = Member(*config, "personality")) {
    record.personality = static_cast<uint32_t>(UintMember(*personality, "domain").value_or(0));
  }
  record.mount_label = StringMember(*config, "mount_label").value_or("");
  record.intel_rdt_path = StringMember(json, "intel_rdt_path").value_or("");
  record.has_memory_policy = IsNonEmpty(Member(*config, "memory_policy"));
  if (const JsonValue* cgroups = Member(*config, "cgroups")) {
    record.systemd_cgroup =
        BoolMember(*cgroups, "Systemd").value_or(false) || BoolMember(*cgroups, "systemd").value_or(false);
  }
  return record;
}

namespace {

// One document at a time: each takes 12 KiB of the stack.
[[gnu::noinline]] Status ReadStatus(std::string_view status, const std::string& path, RuntimeRecord* record) {
  JsonDocument json;
  if (!ParseJson(status, &json) || !json.IsObject()) return Corrupt(path, "not a JSON object");
  auto pid = IntMember(json, "pid");
  auto start = UintMember(json, "process-start-time");
  if (!pid || *pid < 0 || *pid > INT32_MAX) return Corrupt(path, "pid is missing or no pid");
  record->init_pid = static_cast<pid_t>(*pid);
  record->init_start = start.value_or(0);
  record->cgroup_path = StringMember(json, "cgroup-path").value_or("");
  record->systemd_cgroup = BoolMember(json, "systemd-cgroup").value_or(false);
  return Ok();
}

[[gnu::noinline]] Status ReadConfig(std::string_view config, const std::string& path, RuntimeRecord* record) {
  JsonDocument oci;
  if (!ParseForeignJson(std::string(config), &oci) || !oci.IsObject())
    return Corrupt(path, "the saved config.json is not a JSON object");
  const JsonValue* linux_config = Member(oci, "linux");
  if (linux_config != nullptr) {
    const JsonValue* namespaces = Member(*linux_config, "namespaces");
    if (namespaces != nullptr && namespaces->IsArray()) {
      for (const JsonValue& item : namespaces->GetArray()) {
        auto type = StringMember(item, "type");
        if (!type) continue;
        if (*type == "pid") record->own_pid_namespace = StringMember(item, "path").value_or("").empty();
        record->namespaces.push_back(std::move(*type));
      }
    }
    record->has_seccomp = IsNonEmpty(Member(*linux_config, "seccomp"));
    record->mount_label = StringMember(*linux_config, "mountLabel").value_or("");
    if (const JsonValue* rdt = Member(*linux_config, "intelRdt")) {
      std::string name = StringMember(*rdt, "closID").value_or(path.substr(0, path.rfind('/')));
      record->intel_rdt_path = "/sys/fs/resctrl/" + name.substr(name.rfind('/') + 1);
    }
    record->has_memory_policy = IsNonEmpty(Member(*linux_config, "memoryPolicy"));
    if (const JsonValue* personality = Member(*linux_config, "personality")) {
      record->personality = StringMember(*personality, "domain").value_or("LINUX") == "LINUX32" ? 8U : 0U;
    }
  }
  if (const JsonValue* process = Member(oci, "process")) {
    if (auto score = IntMember(*process, "oomScoreAdj")) record->oom_score_adj = static_cast<int>(*score);
    if (const JsonValue* user = Member(*process, "user")) {
      if (auto umask = UintMember(*user, "umask")) record->umask = static_cast<uint32_t>(*umask);
    }
  }
  return Ok();
}

}  // namespace

Result<RuntimeRecord> ParseCrunStatus(std::string_view status, std::string_view config,
                                      const std::string& path) {
  RuntimeRecord record;
  record.kind = RuntimeRecord::Kind::kCrun;
  auto read = ReadStatus(status, path, &record);
  if (read) read = ReadConfig(config, path, &record);
  if (!read) return read.error();
  return record;
}

Result<RuntimeRecord> LoadRuntimeRecord(const std::vector<std::string>& roots, const std::string& id) {
  for (const std::string& root : roots) {
    std::string directory = root + "/" + id;
    std::string runc_path = directory + "/state.json";
    auto runc = ReadFile(runc_path);
    if (runc) {
      auto record = ParseRuncState(*runc, runc_path);
      if (record) record->directory = directory;
      return record;
    }
    if (runc.error().err != ENOENT && runc.error().err != ENOTDIR) return runc.error();
    std::string crun_path = directory + "/status";
    auto status = ReadFile(crun_path);
    if (status) {
      auto config = ReadFile(directory + "/config.json");
      if (!config) return config.error();
      auto record = ParseCrunStatus(*status, *config, crun_path);
      if (record) record->directory = directory;
      return record;
    }
    if (status.error().err != ENOENT && status.error().err != ENOTDIR) return status.error();
  }
  return Error::Of(ENOENT, "open", roots.empty() ? id : roots.front() + "/" + id);
}

}  // namespace lc
