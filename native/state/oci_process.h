// The OCI runtime-spec `process` object, parsed and range-checked.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/result.h"

namespace lc {

struct CapabilitySets {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t inheritable = 0;
  uint64_t permitted = 0;
  uint64_t ambient = 0;
};

struct ResourceLimit {
  int resource = 0;  // RLIMIT_*
  uint64_t soft = 0;
  uint64_t hard = 0;
};

struct SchedulerSpec {
  uint32_t policy = 0;  // SCHED_*
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t flags = 0;
  uint64_t runtime = 0;  // nanoseconds, as are the next two
  uint64_t deadline = 0;
  uint64_t period = 0;
};

struct OciProcess {
  bool terminal = false;
  uint16_t rows = 0;  // consoleSize; 0 leaves the kernel's own
  uint16_t columns = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  std::optional<mode_t> umask;
  std::vector<std::string> args;
  std::vector<std::string> env;
  std::string cwd = "/";
  CapabilitySets capabilities;  // none named: none held, as runc and crun do it
  std::vector<ResourceLimit> rlimits;
  bool no_new_privileges = false;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<int> oom_score_adj;
  std::optional<int> io_priority;  // the value of ioprio_set(2)
  std::optional<SchedulerSpec> scheduler;
  std::string affinity_initial;  // execCPUAffinity, a CPU list
  std::string affinity_final;
};

// Which members of a process its caller typed. All others come from the container's config.json, which the
// runtime has accepted: they are taken as the runtime takes them, and what it ignores is ignored.
struct TypedMembers {
  bool all = true;
  std::vector<std::string> names;
  bool crun = false;  // whose config.json it is

  bool Has(std::string_view name) const {
    return all || std::find(names.begin(), names.end(), name) != names.end();
  }
};

// ERR_INVALID_ARG_VALUE, naming the field, for what the specification does not allow.
Result<OciProcess> ParseOciProcess(const JsonValue& json, const TypedMembers& typed = {});

// "CAP_KILL" -> 5; none for an unknown name.
std::optional<int> CapabilityNumber(const std::string& name);

// "0-2,5" -> {0,1,2,5}. Bounded: CPU numbers up to 8191.
Result<std::vector<int>> ParseCpuList(const std::string& text);

}  // namespace lc
