// How a process is looked after beyond its exit: its own cgroup, how long it may run, and whom it belongs to.
#pragma once

#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/json.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/event_loop.h"
#include "shim/exit_record.h"
#include "shim/process_tree.h"

namespace lc::shim {

// What `exec` says of it, and own.json. Both have the same names.
struct CareSpec {
  std::string cgroup;         // of its own, relative to the container's; empty: none
  bool bound = false;         // it ends with the client that asked for it
  bool sweep = false;         // its own cgroup is killed before its exit is told
  int64_t run_ms = 0;         // 0: no limit
  int64_t deadline_ms = 0;    // on CLOCK_MONOTONIC; 0: none
  int kill_signal = SIGKILL;  // what ends it then
  int64_t grace_ms = 0;       // from there to SIGKILL
  pid_t owner_pid = 0;        // of `bound`: the client's process
  uint64_t owner_start = 0;

  bool plain() const { return cgroup.empty() && !bound && !sweep && run_ms == 0 && deadline_ms == 0; }

  // ERR_INVALID_ARG_VALUE for numbers that make no sense.
  static Result<CareSpec> FromRequest(const JsonValue& request);
  // Of another shim. What cannot be read is as if there were none.
  static CareSpec FromFile(const std::string& text);
  std::string ToJson() const;
};

// A process that ends before its time.
enum class EndCause : uint8_t { kNone, kTimeout, kAsked, kOwner };

struct Usage {
  int64_t started_ns = 0;  // on CLOCK_MONOTONIC
  int64_t duration_usec = 0;
  uint64_t max_rss_bytes = 0;
  OwnCgroupUsage cgroup;
  bool left = false;  // of a sweep: not all ended in time
};

struct Care {
  CareSpec spec;
  std::shared_ptr<ProcessTree> tree;  // with an own cgroup
  std::unique_ptr<OwnCgroup> joined;  // a cgroup that was there, until the process is in it
  int64_t timeout_ms = 15'000;        // for what a kill may take
  uint64_t client = 0;                // of `bound`; 0: nobody has claimed it since this shim took over
  UniqueFd owner;                     // of `bound`, of another shim: pidfd of the client's process
  EndCause cause = EndCause::kNone;
  Usage usage;
  EventLoop::TimerId deadline = 0;
  EventLoop::TimerId grace = 0;
  std::optional<ExitRecord> exit;  // while it is swept

  OwnCgroup* cgroup() const { return joined ? joined.get() : tree ? &tree->cgroup() : nullptr; }
};

int64_t MonotonicNs();

}  // namespace lc::shim
