// The exit status of a process that someone else has reaped, or will: PIDFD_GET_INFO of Linux 6.15.
#pragma once

#include <optional>

namespace lc::shim {

struct PidfdExit {
  std::optional<int> status;  // of wait(2); nothing before Linux 6.15
  bool later = false;         // known only once the process has been reaped by whoever its parent is now
};

// Of a process that has ended.
PidfdExit ExitStatusOf(int pidfd);

}  // namespace lc::shim
