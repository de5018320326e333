// Device nodes of the host that a process is given as stdio, out of its reach but for reading and writing.
#pragma once

#include "core/unique_fd.h"

namespace lc::shim {

// The file or device that `fd` is open for, opened again with `flags` through a read-only mount of its own:
// nobody who holds that can change mode or owner of the inode. Empty where it cannot be done (before
// Linux 5.12, or `fd` belongs to another mount namespace).
UniqueFd OpenOnReadOnlyMount(int fd, int flags);

}  // namespace lc::shim
