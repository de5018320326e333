// The terminal of an exec: opened by the joiner, its master sent to the shim.
#pragma once

#include "core/result.h"
#include "core/unique_fd.h"
#include "nsexec/child.h"

namespace lc::nsexec {

// Opens a new terminal in the container's mount namespace, sends the master over `plan.terminal_socket` and
// closes it. The slave's descriptor. By system calls alone, and before the process exists: the container
// never sees a task that holds the master or the socket.
int OpenTerminal(const ChildPlan& plan);

// The master that a joiner sent, once the joiner has ended. EMFILE: there was no number left for it. ENODEV:
// it is no terminal's.
Result<UniqueFd> TakeTerminal(int socket);

}  // namespace lc::nsexec
