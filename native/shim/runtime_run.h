// One run of the OCI runtime binary, and what came of it.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "nsexec/bounding.h"

namespace lc::shim {

struct RuntimeRun {
  pid_t pid = 0;
  std::string name;  // "create", "start", "delete"
  std::string log_path;
  UniqueFd output;  // what it printed, where its stdio is not the container's

  // `fds` are its standard streams; -1 is /dev/null for input and a memory file for output. The run is a
  // session of its own, so that all of it can be ended at once, and may hold every capability that this
  // process was started with. ERR_RUNTIME where the binary cannot be executed.
  static Result<RuntimeRun> Start(const std::string& runtime, const std::vector<std::string>& args,
                                  std::string name, std::string log_path, const int fds[3],
                                  nsexec::Bounding* bounding);

  void KillAll() const;

  // The whole log, bounded, or else what it printed.
  std::string Log() const;
  // ERR_RUNTIME for a wait(2) status that is no success; the log's last error is in its text.
  Error FailureOf(int wait_status, const std::string& log) const;
};

}  // namespace lc::shim
