// Looks after processes beyond their exit: own cgroups, deadlines, and the programs that they end with.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/json.h"
#include "core/result.h"
#include "shim/care.h"
#include "shim/event_loop.h"
#include "shim/process.h"

namespace lc::shim {

// What the container lends.
class CareHost {
 public:
  virtual ~CareHost() = default;
  // Signals that very process; ESRCH if it is gone.
  virtual Status SignalOne(const Process& process, int signal) = 0;
  // So that a SIGKILL can take effect while the container is paused.
  virtual void ReleaseFrozen(pid_t pid) = 0;
  // The process that is connected as this client; 0 if that is not known.
  virtual pid_t ProcessOf(ClientId client) = 0;
  // `process->care->exit` may be told.
  virtual void SweepEnded(const std::shared_ptr<Process>& process) = 0;
  // No process is left in any own cgroup.
  virtual void TreesEnded() = 0;
};

class Caretaker {
 public:
  Caretaker(EventLoop& loop, CareHost& host) : loop_(loop), host_(host) {}

  // What a request asks for; null where that is nothing. Makes the own cgroup.
  Result<std::unique_ptr<Care>> Make(const JsonValue& request, ClientId client, int64_t timeout_ms,
                                     const CgroupPaths& container);
  // own.json of a process that is about to run; empty if it needs none.
  std::string Record(Care* care) const;
  // Its program runs.
  void Begin(const std::shared_ptr<Process>& process);
  // It never came to run.
  void Undo(Process* process);
  // Of a process that an earlier shim started.
  void TakeOver(const std::shared_ptr<Process>& process, const CgroupPaths& container);
  // Own cgroups that no process has any more.
  void TakeOverStrays(const CgroupPaths& container);

  // Fills in what is known of the exit. True: it is to be told when SweepEnded() is called.
  bool Exited(const std::shared_ptr<Process>& process, ExitRecord* exit, uint64_t max_rss_bytes);
  // Ends a process before its time: by its signal, then SIGKILL.
  void End(const std::shared_ptr<Process>& process, EndCause cause);

  // The client is the program that the process ends with.
  static void Claim(Process* process, ClientId client);

  // The own cgroup of a process that runs, or has left others in it; null where there is none.
  std::shared_ptr<ProcessTree> TreeOf(const std::string& process) const;
  // Kills by the OOM killer in v1 own cgroups, which the container's counter leaves out.
  uint64_t OomKills() const;
  bool idle() const { return trees_.empty(); }

 private:
  void Keep(const std::string& process, const std::shared_ptr<ProcessTree>& tree);
  std::shared_ptr<ProcessTree> NewTree(std::unique_ptr<OwnCgroup> cgroup);
  void KillHard(const std::shared_ptr<Process>& process);
  void ArmDeadline(const std::shared_ptr<Process>& process, int64_t milliseconds);
  void WatchOwner(const std::shared_ptr<Process>& process);
  void CancelTimers(Care* care);

  EventLoop& loop_;
  CareHost& host_;
  std::map<std::string, std::shared_ptr<ProcessTree>> trees_;  // by process
  uint64_t ended_oom_kills_ = 0;
};

}  // namespace lc::shim
