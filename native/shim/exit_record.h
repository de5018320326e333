// How a process ended, and its files: exitStatus (containerd's, one number) and, where that is not all,
// exit.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/result.h"
#include "shim/message.h"

namespace lc::shim {

struct ExitRecord {
  int exit_code = 255;  // 0..255; 128 + n for signal n; 255 when unknown
  int signal = 0;
  int64_t exited_at_ms = 0;  // since the epoch
  bool oom_killed = false;
  bool known = true;
  bool timed_out = false;
  std::optional<uint64_t> oom_kills;            // in its own cgroup
  std::optional<uint64_t> container_oom_kills;  // in the container, while it ran

  // From a wait(2) status.
  static ExitRecord FromWait(int status);
  static ExitRecord Unknown();
};

// exitStatus has the time of the exit as its modification time. A signal, an OOM kill, a timeout or an
// unknown end are in exit.json, which is written first: whoever sees exitStatus finds the rest.
Status WriteExit(const std::string& process_directory, const ExitRecord& exit);
// Nothing where there is none: it runs, or nobody saw its end. An error where that cannot be told now.
Result<std::optional<ExitRecord>> ReadExit(const std::string& process_directory);

void AddExit(Message* message, const ExitRecord& exit);

}  // namespace lc::shim
