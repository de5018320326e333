// The near side of an exec: prepares memory, starts the joiner, and hears of the process that it makes.
#pragma once

#include <sys/types.h>

#include <string>

#include "core/result.h"
#include "core/unique_fd.h"
#include "nsexec/bounding.h"
#include "nsexec/child_memory.h"
#include "nsexec/plan.h"

namespace lc::nsexec {

struct Started {
  pid_t joiner = 0;  // in the caller's pid namespace; the caller is its parent and must reap it
  UniqueFd channel;  // SOCK_SEQPACKET; reports come out of it, Release() goes into it
};

// Starts the joiner, out of `memory`, which may be used again at once. It makes the process, another child of
// the caller's, which sets itself up and waits, before execve, for Release(): what must be on disk before the
// program runs is written in between. When the channel is closed instead, the process exits. Signals: the
// process clears the mask; dispositions must be the default ones already. `bounding` says by which task; it
// is narrowed to what the first plan wants.
Result<Started> Start(const Plan& plan, ChildMemory* memory, Bounding* bounding);

Status Release(int channel);

struct Outcome {
  enum class Kind { kAgain, kJoined, kTerminal, kRunning, kFailed };
  Kind kind = Kind::kAgain;
  pid_t pid = 0;           // with kJoined: the process, which waits; the joiner ends
  UniqueFd terminal;       // with kTerminal: the master side
  Error error;             // with kFailed
  bool by_joiner = false;  // with kFailed: it says so itself, and there is no process
};

// Reads one report without waiting. kRunning is the end of file: either execve succeeded, or the process was
// killed before it, which its parent learns from wait. A container may hold the other end of the channel and
// send what it likes: kJoined comes from the joiner alone, and any number of the others may come.
Outcome ReadOutcome(int channel, const Plan& plan, pid_t joiner);

}  // namespace lc::nsexec
