// The OCI runtime-spec `process` object and its parts, as plain values: one set for whoever parses, plans and
// applies them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lc {

struct CapabilitySets {
  uint64_t bounding = 0;
  uint64_t effective = 0;
  uint64_t inheritable = 0;
  uint64_t permitted = 0;
  uint64_t ambient = 0;
};

struct Rlimit {
  int resource = 0;  // RLIMIT_*
  uint64_t soft = 0;
  uint64_t hard = 0;
};

// struct sched_attr of sched_setattr(2) in its first published layout, so that the kernel takes it as it is.
struct Scheduler {
  uint32_t size = 48;
  uint32_t policy = 0;  // SCHED_*
  uint64_t flags = 0;
  int32_t nice = 0;
  uint32_t priority = 0;
  uint64_t runtime = 0;  // nanoseconds, as are the next two
  uint64_t deadline = 0;
  uint64_t period = 0;
};
static_assert(sizeof(Scheduler) == 48);

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
  std::vector<Rlimit> rlimits;
  bool no_new_privileges = false;
  std::string apparmor_profile;
  std::string selinux_label;
  std::optional<int> oom_score_adj;
  std::optional<int> io_priority;  // the value of ioprio_set(2)
  std::optional<Scheduler> scheduler;
  std::string affinity_initial;  // execCPUAffinity, a CPU list
  std::string affinity_final;
};

}  // namespace lc
