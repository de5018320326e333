// The cgroups that a runtime's record names as a container's.
#pragma once

#include <string>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/result.h"
#include "state/runtime_record.h"

namespace lc {

// runc records absolute paths, crun one path below each hierarchy's root. Empty if crun was told to make no
// cgroup: it records an empty path then, which is not that of the whole machine.
Result<CgroupPaths> RecordedCgroups(const RuntimeRecord& record);

// Each once: hierarchies may be mounted together.
std::vector<std::string> Directories(const CgroupPaths& paths);

}  // namespace lc
