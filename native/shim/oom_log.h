// Whom the OOM killer ended, as the kernel's log names them: the one place that tells it of a process and not
// of a cgroup.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string_view>

#include "core/unique_fd.h"

namespace lc::shim {

class OomLog {
 public:
  // From here on. Without leave to read it, or in a pid namespace whose pids the log does not know, there is
  // none.
  void Open();
  bool usable() const { return static_cast<bool>(fd_); }

  // All that was logged since the last call. False when some of it was overwritten before it was read.
  bool Read(const std::function<void(pid_t victim)>& on_kill);

 private:
  UniqueFd fd_;
};

// The pid in a record of /dev/kmsg that says that a process was killed; none in any other one, nor in what a
// program wrote there.
std::optional<pid_t> OomVictim(std::string_view record);

}  // namespace lc::shim
