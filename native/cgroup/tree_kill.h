// Ends every process of a cgroup and of all cgroups below it, those that are forked meanwhile included.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cgroup/kill.h"
#include "cgroup/walk.h"
#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

// By cgroup.kill (Linux 5.14) where the cgroup is in the v2 hierarchy. Else by the v1 freezer: what stands
// still cannot fork. Frozen, signalled, thawed. A process that the container has moved out of the cgroup in
// one hierarchy is found in another one.
class TreeKill {
 public:
  explicit TreeKill(CgroupPaths paths);

  // One attempt. True: nothing is left. False: killed processes have yet to end, or the moment has come; call
  // it again.
  Result<bool> Work(const WalkDeadline& until);

 private:
  static constexpr int kMaxRestless = 20;

  bool KillByKernel();
  bool StandsStill(const WalkDeadline& until);
  Result<bool> KillFrozen(const WalkDeadline& until);
  Result<bool> IsEmpty(const WalkDeadline& until);

  const CgroupPaths paths_;
  std::vector<CgroupPaths> hierarchies_;  // of each, its part of `paths_`
  int restless_ = 0;
};

// Whether a process is in the cgroup or in one below it, by cgroup.events (cgroup-v2.rst: populated). Nothing
// where there is no such file: the cgroup is gone, or of v1.
std::optional<bool> IsPopulated(const std::string& unified);

}  // namespace lc
