// A cgroup's counters of memory events, as the kernel's file has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/cgroup_paths.h"

namespace lc {

struct MemoryEvents {
  std::optional<uint64_t> oom_kill;  // v1: since Linux 4.13
  uint64_t oom = 0;                  // v2: how often an allocation was about to fail
  uint64_t high = 0;                 // v2: how often memory.high was passed
  uint64_t max = 0;                  // v2: how often memory.max was run into
  bool killer_off = false;           // v1: oom_kill_disable
};

// The text of v1 memory.oom_control or v2 memory.events.
MemoryEvents ParseMemoryEvents(std::string_view text);

// The path of that file; empty without a memory controller.
std::string MemoryEventsFile(const CgroupPaths& paths);

}  // namespace lc
