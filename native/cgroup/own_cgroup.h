// A process's own cgroup, below its container's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

// "lc." and 16 hex digits: nobody else's, and recognized by a shim that takes over.
Result<std::string> NewOwnCgroupName();
bool IsOwnCgroupName(std::string_view name);

// Where the cgroup `name` would be in the hierarchies that every own cgroup has: the v2 hierarchy, pids and
// memory; also freezer and cpuacct unless the v2 hierarchy kills (cgroup.kill, Linux 5.14). The other v1
// hierarchies are left out because a cgroup there takes something from the process or from the container:
// - blkio: throttling is not hierarchical on v1 (cgroup-v1/blkio-controller.rst), so the container's limits
// would not hold.
// - cpu: a new cgroup has no realtime runtime (scheduler/sched-rt-group.rst). devices: a copy of the
// container's rules.
// - cpuset: the container's own set could not shrink below it (cgroup-v1/cpusets.rst).
// - memory without use_hierarchy: the container's limit would not hold.
CgroupPaths OwnCgroupPaths(const CgroupPaths& container, const std::string& name);

// Those of `paths` that exist.
CgroupPaths ExistingPaths(const CgroupPaths& paths);

// Where the cgroup `name` is, in whichever hierarchies of the container it is. Empty if it is in none.
CgroupPaths FindOwnCgroup(const CgroupPaths& container, const std::string& name);

// Makes the directories. If one cannot be made, none is left. A hierarchy in which the container's own cgroup
// is gone is passed over.
Result<CgroupPaths> MakeOwnCgroup(const CgroupPaths& container, const std::string& name);

// Adds the v1 hierarchy of `controller` to an own cgroup whose processes are in `paths` already, and moves
// them there. A new cpuset gets the container's processors and memory nodes. ERR_UNSUPPORTED for blkio.
Status ExtendOwnCgroup(const CgroupPaths& container, const std::string& name, const std::string& controller,
                       CgroupPaths* paths);

// A path relative to a container's cgroup: names that are separated by '/', none of them empty, '.' or '..'.
bool IsRelativeCgroup(std::string_view path);

// What an own cgroup counted. Nothing where the kernel does not count there.
struct OwnCgroupUsage {
  std::optional<uint64_t> oom_kills;
  std::optional<uint64_t> cpu_usec;
  std::optional<uint64_t> memory_peak_bytes;
};
OwnCgroupUsage ReadOwnCgroupUsage(const CgroupPaths& paths);

}  // namespace lc
