// The shim's side of an exec: prepares memory, starts the joiner, and reads what it and the process report.
#pragma once

#include <sys/types.h>

#include "core/result.h"
#include "core/unique_fd.h"
#include "nsexec/bounding.h"
#include "nsexec/child_memory.h"
#include "nsexec/pid_slots.h"
#include "nsexec/plan.h"

namespace lc::nsexec {

struct Started {
  pid_t joiner = 0;  // in the caller's pid namespace; the caller is its parent and must reap it
  PidSlot member;    // the pid of the process, another child of the caller's, once the joiner has made it
  UniqueFd report;   // ReadOutcome() reads it; it never waits
  UniqueFd go;       // for Release(); when it is closed instead, the process exits
  UniqueFd terminal_socket;  // for TakeTerminal(), with `terminal` in the plan
};

// Starts execs, one after the other, out of one block of memory.
class Launcher {
 public:
  // Which task of this process makes the joiners: see bounding.h.
  explicit Launcher(Bounding& bounding) : bounding_(bounding) {}

  // Starts the joiner. It makes the process, which sets itself up and waits, before execve, for Release():
  // what must be on disk before the program runs is written in between. The joiner then ends, and only then
  // `member` and the report are final: whatever comes into the pipe while there is no process is the joiner's
  // own. Signals: the process clears the mask; dispositions must be the default ones already. The bounding
  // set is narrowed to what the first plan asks for.
  Result<Started> Start(const Plan& plan);

  // Keeps the memory that this process has now from later children: see ChildMemory::KeepRest().
  void KeepMemory();

 private:
  Bounding& bounding_;
  ChildMemory memory_;
  PidSlots slots_;
};

Status Release(int go);

struct Outcome {
  enum class Kind { kAgain, kRunning, kFailed };
  Kind kind = Kind::kAgain;
  Error error;  // with kFailed
};

// Reads one report without waiting. kRunning is the end of file: either execve succeeded, or the process was
// killed before it, which its parent learns from wait. A container may hold the other end of the pipe and
// write what it likes: any number of reports may come.
Outcome ReadOutcome(int report, const Plan& plan);

}  // namespace lc::nsexec
