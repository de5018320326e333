// The running container as the kernel shows it: what an exec joins, whether it is frozen, what the OOM killer
// did.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cgroup/layout.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "nsexec/plan.h"
#include "oci/process.h"
#include "shim/own_cgroup.h"
#include "shim/seccomp_filter.h"
#include "shim/settings.h"
#include "state/runtime_record.h"

namespace lc::shim {

// A line of /proc/<pid>/uid_map, user_namespaces(7).
struct IdRange {
  uint64_t inside = 0;
  uint64_t outside = 0;
  uint64_t count = 0;
};

class Target {
 public:
  // From the runtime's own record, which must be about this very init process.
  static Result<std::unique_ptr<Target>> Open(const Settings& settings, pid_t init_pid, uint64_t init_start);

  // True for a container that is frozen, by itself or with an ancestor.
  bool IsPaused() const;
  // So that a SIGKILL can take effect: a v1 freezer holds even dying processes.
  void Thaw() const;
  // The same for one process: takes it out of a v1 freezer, the container's or one below it that is frozen by
  // whomever, into this shim's own.
  void ReleaseFrozen(pid_t pid) const;
  // How many processes of the container the OOM killer has ended so far; 0 where the kernel does not count.
  uint64_t OomKills();
  bool counts_oom_kills() const { return static_cast<bool>(oom_); }
  // ContainerOptions.subgroups, of v2: moves init, whose program does not run yet, to a cgroup of its own
  // below the container's, and passes all controllers on. Nothing on v1.
  Status MakeSubgroups();

  // ERR_UNSUPPORTED for confinement that cannot be applied: rather no process than one that is less confined.
  // The plan points into this object.
  Result<nsexec::Plan> PlanFor(const OciProcess& process);
  // Where the plan's process goes. `follow_init`, for a v2 cgroup that takes no process any more, since the
  // container has made cgroups with controllers in it: the one that init is in now, if that is below the
  // container's own. To be called right before each start: the descriptors are this object's.
  // `cgroup`, if there is one, takes the place of the container's in the hierarchies that it is in.
  Status Place(nsexec::Plan* plan, bool follow_init, const OwnCgroup* cgroup);
  // Moves a process into the cgroup that its plan left out (Plan::attach_late).
  static Status AttachLate(pid_t pid, const nsexec::Plan& plan);
  // Looks for the cgroups anew, after one that was there has been removed.
  Status ReopenCgroups();

  const CgroupPaths& cgroups() const { return cgroups_; }
  bool is_crun() const { return record_.kind == RuntimeRecord::Kind::kCrun; }

 private:
  Status OpenCgroups();
  Result<UniqueFd> OpenProcs(const std::string& controller, std::string* directory) const;
  Result<CgroupPaths> InitCgroups(const CgroupLayout& layout) const;
  Status FollowInit(nsexec::Plan* plan);
  std::optional<uid_t> HostUid(uid_t uid) const;

  RuntimeRecord record_;
  std::string id_;
  pid_t init_pid_ = 0;
  uint64_t init_start_ = 0;
  int namespaces_ = 0;
  UniqueFd init_pidfd_;
  UniqueFd root_;  // of a container without a mount namespace
  std::vector<IdRange> uid_map_;
  std::vector<UniqueFd> cgroup_procs_;
  std::vector<std::string> cgroup_directories_;  // of each of them
  int pids_index_ = -1;                          // of cgroup_procs_: of the hierarchy that counts processes
  UniqueFd unified_directory_;
  UniqueFd init_directory_;  // of FollowInit()
  UniqueFd init_procs_;
  UniqueFd rdt_tasks_;
  std::optional<SeccompFilter> seccomp_;
  UniqueFd freezer_;  // v1 freezer.state, v2 cgroup.events
  bool freezer_v2_ = false;
  UniqueFd oom_;  // v1 memory.oom_control, v2 memory.events: both have a line "oom_kill N"
  std::string oom_path_;
  uint64_t oom_last_ = 0;
  uint64_t oom_kills_ = 0;
  CgroupPaths cgroups_;
};

}  // namespace lc::shim
