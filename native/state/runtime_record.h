// What the OCI runtime wrote down about a container: runc's state.json, crun's status and config.json.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

struct RuntimeRecord {
  enum class Kind { kRunc, kCrun };

  Kind kind = Kind::kRunc;
  std::string directory;  // <runtime root>/<id>
  pid_t init_pid = 0;
  uint64_t init_start = 0;  // clock ticks since boot

  CgroupPaths cgroups;      // runc: absolute paths as recorded
  std::string cgroup_path;  // crun: relative to each hierarchy's root
  bool systemd_cgroup = false;

  // OCI names ("pid", "network", "ipc", "uts", "mount", "user", "cgroup", "time") that the config asks for,
  // whether new or joined by path. The rest are the host's.
  std::vector<std::string> namespaces;
  // Init is the first process of a pid namespace made for it: none of the others outlives it.
  bool own_pid_namespace = false;

  // Confinement that the container imposes on every process in it, beside what its own spec says.
  bool has_seccomp = false;
  bool no_new_keyring = false;
  std::optional<uint32_t> umask;
  std::optional<int> oom_score_adj;
  std::optional<uint32_t> personality;
  std::string mount_label;
  std::string intel_rdt_path;  // of its class in resctrl
  bool has_memory_policy = false;
};

// Where a runtime keeps `id`: --root from its global flags, else the default of the runtime by that name.
// All three spellings (`--root=/x`, `--root /x`, `-root /x`) count, the last one wins. The order is that of
// likelihood; a directory need not exist.
std::vector<std::string> RuntimeRoots(const std::string& runtime,
                                      const std::vector<std::string>& runtime_args);

// ENOENT where no root holds the container; ERR_STATE_CORRUPT, with the path, where a record is garbled.
Result<RuntimeRecord> LoadRuntimeRecord(const std::vector<std::string>& roots, const std::string& id);

Result<RuntimeRecord> ParseRuncState(std::string_view text, const std::string& path);
Result<RuntimeRecord> ParseCrunStatus(std::string_view status, std::string_view config,
                                      const std::string& path);

}  // namespace lc
