// All that runs in a process's own cgroup: killed, signalled, waited for, and the cgroup removed after the
// last one.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cgroup/own_cgroup.h"
#include "cgroup/tree_kill.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/event_loop.h"
#include "shim/own_cgroup.h"

namespace lc::shim {

class ProcessTree : public std::enable_shared_from_this<ProcessTree> {
 public:
  // Takes a process out of every v1 freezer, so that a SIGKILL can take effect while the container is paused.
  using ReleaseFrozen = std::function<void(pid_t)>;
  using Done = std::function<void(const Status&)>;

  ProcessTree(EventLoop& loop, std::unique_ptr<OwnCgroup> cgroup, ReleaseFrozen release_frozen)
      : loop_(loop), cgroup_(std::move(cgroup)), release_frozen_(std::move(release_frozen)) {}
  ~ProcessTree();

  OwnCgroup& cgroup() { return *cgroup_; }
  bool removed() const { return removed_; }
  OwnCgroupUsage Usage() const { return ReadOwnCgroupUsage(cgroup_->paths()); }

  // Ends all of it by SIGKILL. `done` is called, maybe at once, when nothing is left, or with
  // ERR_KILL_TIMEOUT after `timeout_ms`.
  void Kill(int64_t timeout_ms, Done done);
  // Signals each process that is in it now.
  Status Signal(int signal);
  // The process itself has exited: from now on the cgroup goes with the last one in it.
  void LetGo();
  // `done` is called when it has gone, maybe at once.
  void OnRemoved(Done done);
  // By the OOM killer, in it alone, as far as was seen.
  uint64_t OomKills();
  // Whether no process is left in it.
  bool IsEmpty() const;

 private:
  struct Killer {
    Done done;
    EventLoop::TimerId timer = 0;
  };

  void KillSome();
  void AnswerKillers();
  void Look();
  void WatchEvents();
  void StopWatching();
  void Conclude();

  EventLoop& loop_;
  std::unique_ptr<OwnCgroup> cgroup_;
  ReleaseFrozen release_frozen_;
  std::vector<std::shared_ptr<Killer>> killers_;
  std::vector<Done> waiters_;
  std::unique_ptr<TreeKill> kill_;
  UniqueFd events_;
  EventLoop::TimerId kill_timer_ = 0;
  EventLoop::TimerId look_timer_ = 0;
  int look_ms_ = 1;
  uint64_t oom_kills_ = 0;
  bool may_go_ = false;  // the process itself has exited
  bool removed_ = false;
};

}  // namespace lc::shim
