// Who a pid is: its start time tells a process from a later one that got the same number.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

struct ProcStat {
  char state = '?';  // proc(5): R S D Z T t X ...
  pid_t parent = 0;
  int threads = 1;     // field 20; 0 once the process is being released
  uint64_t start = 0;  // field 22, clock ticks since boot
  // Of a process whose first thread has ended (pthread_exit) while others run on, the state is a zombie's.
  bool alive() const { return state == 'Z' ? threads > 1 : state != 'X' && state != 'x'; }
};

// Parses /proc/<pid>/stat. The command in field 2 may hold spaces and parentheses.
Result<ProcStat> ParseProcStat(std::string_view text);
Result<ProcStat> ReadProcStat(pid_t pid);

// True while any thread of that very process runs; a zombie no longer does.
bool IsAlive(pid_t pid, uint64_t start);

// Now, as a process's start time would say it: one that is there already has no later one. UINT64_MAX where
// there is no such clock.
uint64_t TicksNow();

// The start time of a process that is made while this object lives, without a look at /proc, which takes a
// third of the time that the fork took: the kernel has it from the clock that is read here.
class StartClock {
 public:
  StartClock();
  // As field 22; nothing where the clock has passed from one tick to the next meanwhile.
  std::optional<uint64_t> Ticks() const;

 private:
  int64_t begun_ns_;
};

// pidfd first, then the start time: between the two the pid cannot have become another's.
// ESRCH when it is gone or is another process. ENOSYS before Linux 5.3.
Result<UniqueFd> OpenPidfd(pid_t pid, uint64_t start);

// Signals exactly that process. ESRCH when it is gone. Before Linux 5.3 (no pidfd_open) a start time
// check precedes a plain kill(2).
Status SignalProcess(pid_t pid, uint64_t start, int signal);

}  // namespace lc
