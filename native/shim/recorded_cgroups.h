// The cgroups that a runtime's record names as a container's.
#pragma once

#include <string>
#include <vector>

#include "cgroup/mode.h"
#include "core/result.h"
#include "state/runtime_record.h"

namespace lc::shim {

// runc records where they are, crun a path below each hierarchy's root. None where crun was told to make
// none.
Result<CgroupPaths> RecordedCgroups(const RuntimeRecord& record);

// Each once: hierarchies may be mounted together.
std::vector<std::string> Directories(const CgroupPaths& paths);

// What is to go with a container.
struct LeftCgroups {
  std::vector<std::string> directories;
  bool sure = false;  // a record says that they are its own: all that is below them goes too
};

// Those that are empty, and nothing below them.
void RemoveCgroups(const LeftCgroups& left);

}  // namespace lc::shim
