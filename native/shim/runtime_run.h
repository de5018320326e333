// One run of the OCI runtime binary, and what came of it.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "nsexec/bounding.h"

namespace lc::shim {

// What is to be run, and how.
struct RuntimeCommand {
  std::string runtime;            // name or path
  std::vector<std::string> args;  // all of them
  std::string name;               // "create", "start", "delete"
  std::string log_path;
  int fds[3] = {-1, -1, -1};  // standard streams; -1 is `null_device` for input, a memory file for output
  int null_device = -1;
  mode_t umask = 022;
  std::string record;  // where the run is recorded before it executes anything: `<pid> <start time>`
};

struct RuntimeRun {
  pid_t pid = 0;
  std::string name;  // "create", "start", "delete"
  std::string log_path;
  UniqueFd output;  // what it printed, where its stdio is not the container's

  // The run has a session of its own, so that all of it can be ended at once. It may hold every capability
  // that this process was started with. A delete goes on where there is no room for its record: a full disk
  // is no reason not to delete. ERR_RUNTIME where the binary cannot be executed.
  static Result<RuntimeRun> Start(const RuntimeCommand& command, nsexec::Bounding* bounding);

  void KillAll() const;

  // The log, its last 64 KiB, or else what it printed.
  std::string Log() const;
  // ERR_RUNTIME for a wait(2) status that is no success; the log's last error is in its text.
  Error FailureOf(int wait_status, const std::string& log) const;
};

}  // namespace lc::shim
