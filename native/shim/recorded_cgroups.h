// The cgroups that a runtime's record names as a container's.
#pragma once

#include <string>
#include <vector>

#include "cgroup/mode.h"
#include "core/result.h"
#include "state/runtime_record.h"

namespace lc::shim {

// runc records where they are, crun a path below each hierarchy's root.
Result<CgroupPaths> RecordedCgroups(const RuntimeRecord& record);

// Each once: hierarchies may be mounted together.
std::vector<std::string> Directories(const CgroupPaths& paths);

// With all below them. False while one is left, since a process in it has not ended yet.
bool RemoveCgroupTrees(const std::vector<std::string>& directories);

}  // namespace lc::shim
