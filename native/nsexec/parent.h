// The near side of an exec: prepares memory, forks into the container's pid namespace, and lets go.
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
  pid_t pid = 0;     // in the caller's pid namespace; the caller is the parent and must reap it
  UniqueFd channel;  // SOCK_SEQPACKET; reports come out of it, Release() goes into it
};

// Starts the child, out of `memory`, which may be used again at once. It sets itself up and waits, before
// execve, for Release(): what must be on disk before the program runs is written in between. When the channel
// is closed instead, the child exits. Signals: the child clears the mask; dispositions must be the default
// ones already. `bounding` says by which task; it is narrowed to what the first plan wants.
Result<Started> Start(const Plan& plan, ChildMemory* memory, Bounding* bounding);

Status Release(int channel);

struct Outcome {
  enum class Kind { kAgain, kTerminal, kRunning, kFailed };
  Kind kind = Kind::kAgain;
  UniqueFd terminal;  // with kTerminal: the master side
  Error error;        // with kFailed
};

// Reads one report without waiting. kRunning is the end of file: either execve succeeded, or the child was
// killed before it, which its parent learns from wait.
Outcome ReadOutcome(int channel, const Plan& plan);

}  // namespace lc::nsexec
