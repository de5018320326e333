// A process of the container, as the shim knows it.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/unique_fd.h"
#include "shim/care.h"
#include "shim/exit_record.h"
#include "shim/stdio.h"

namespace lc::shim {

using ClientId = uint64_t;

// A request is known by who asked and the number they gave it.
struct Asker {
  ClientId client = 0;
  int64_t seq = 0;
  auto operator<=>(const Asker&) const = default;
};

struct Process {
  std::string id;
  pid_t pid = 0;
  uint64_t start = 0;
  bool oom_killed = false;  // the kernel's log says so
  bool started = false;     // the user's program runs, or ran
  std::unique_ptr<ProcessStdio> stdio;
  std::optional<ExitRecord> exit;
  UniqueFd adopted;       // pidfd of one that is not this shim's child: an earlier shim's
  Asker started_by;       // of an exec of this shim
  bool unwanted = false;  // who asked for it has been told that it failed: removed when it ends
  std::optional<uint64_t> oom_kills_before;  // of the container, when it began
  std::unique_ptr<Care> care;                // where there is more to it than its exit

  // exec() was called without an id: nothing of it stays after its exit.
  bool anonymous() const { return id.starts_with('~'); }
};

}  // namespace lc::shim
