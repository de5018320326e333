// A cgroup's counters of memory events, as the kernel's file has them.
#include "cgroup/memory_events.h"

#include "core/keyed_text.h"

namespace lc {

MemoryEvents ParseMemoryEvents(std::string_view text) {
  MemoryEvents events;
  events.oom_kill = ScanKeyed(text, "oom_kill");
  events.oom = ScanKeyed(text, "oom").value_or(0);
  events.high = ScanKeyed(text, "high").value_or(0);
  events.max = ScanKeyed(text, "max").value_or(0);
  events.killer_off = ScanKeyed(text, "oom_kill_disable").value_or(0) == 1;
  return events;
}

std::string MemoryEventsFile(const CgroupPaths& paths) {
  if (const std::string* memory = paths.Find("memory")) return *memory + "/memory.oom_control";
  return paths.unified.empty() ? std::string() : paths.unified + "/memory.events";
}

}  // namespace lc
