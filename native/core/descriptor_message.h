// One descriptor in a message over a Unix socket: how a terminal's master comes from a runtime and from a
// joiner.
#pragma once

#include "core/unique_fd.h"

namespace lc {

// By system calls alone, for a task between fork and execve. False: errno says why.
bool SendDescriptor(int socket, int fd);

// Does not wait. Empty: errno is that of recvmsg(2), ECONNRESET at the end of the stream, or EMFILE for a
// message without a descriptor, which is what the kernel makes of one that there was no number for.
UniqueFd ReceiveDescriptor(int socket);

}  // namespace lc
