// How often the kernel killed a process of a cgroup for want of memory.
#pragma once

#include <cstdint>
#include <optional>

#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

// v1 memory.oom_control (Linux 4.13), v2 memory.events, both `oom_kill`. Nothing where the kernel does not
// count or there is no memory controller; ERR_CONTAINER_EXITED when the cgroup is gone, and the count with
// it.
Result<std::optional<uint64_t>> ReadOomKills(const CgroupPaths& paths);

}  // namespace lc
