// The exit status of a process that someone else has reaped, or will: PIDFD_GET_INFO of Linux 6.15.
#pragma once

#include <optional>

namespace lc::shim {

// The wait(2) status, where the kernel tells it; nothing before Linux 6.15 or while the process runs.
std::optional<int> ExitStatusOf(int pidfd);

}  // namespace lc::shim
