// The one container of this shim: its processes, and the verbs that clients ask for.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "cgroup/kill.h"
#include "cgroup/remove.h"
#include "core/frame_socket.h"
#include "core/json.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "nsexec/parent.h"
#include "shim/caretaker.h"
#include "shim/event_loop.h"
#include "shim/exec_records.h"
#include "shim/exit_record.h"
#include "shim/oom_log.h"
#include "shim/process.h"
#include "shim/runtime_run.h"
#include "shim/settings.h"
#include "shim/stdio.h"
#include "shim/target.h"

namespace lc::shim {

class Message;
// The way back to the clients.
class Clients {
 public:
  virtual ~Clients() = default;
  virtual void Send(ClientId client, const std::string& message) = 0;
  virtual void Broadcast(const std::string& message) = 0;
  virtual size_t count() const = 0;
  // The process at the other end; 0 if that is not known.
  virtual pid_t ProcessOf(ClientId client) const = 0;
};

// What is to go with a container.
struct LeftCgroups {
  std::vector<std::string> directories;
  bool sure = false;  // a record says that they are its own: all that is below them goes too
};

class Container : private CareHost {
 public:
  // `null_device` is what stdio that nobody asked for leads to.
  Container(EventLoop& loop, Clients& clients, Settings settings, UniqueFd null_device);
  ~Container() override;

  // Takes over what an earlier shim left, and finishes or undoes what it was in the middle of; then calls
  // `ready`, unless what there was to finish was the container's end. `refuse`, and nothing was done, where
  // it cannot be seen now what there is: to take a process for gone, or a start for cut off, would be to lose
  // it.
  void TakeOver(std::function<void()> ready, std::function<void(const Error&)> refuse);

  // The first page of the processes; where there are `more` of them, List() goes on.
  std::string Hello() const;
  // What came in one go. A request that was cancelled before it was read is not begun.
  void HandleAll(ClientId client, std::vector<Frame> frames);
  // `broken`: let go by the server; the program at the other end may be alive.
  void ClientGone(ClientId client, bool broken);
  void OnChildSignal();
  bool finished() const { return finished_; }
  // The last of a delete, once everybody has been answered.
  void RemoveGrave();

 private:
  // container.cc
  void ReplyError(const Asker& asker, const Error& error, std::string_view runtime_log = {});
  void ReplyDone(const Asker& asker);
  void AddProcesses(Message* message, const std::string& after) const;
  void List(const Asker& asker, const std::string& after);
  void Handle(const Asker& asker, const JsonValue& request, std::string_view body, std::vector<UniqueFd> fds);
  void OwnerLost(bool broken);
  void Reap(pid_t pid, int status, uint64_t max_rss_bytes);
  void ProcessEnded(const std::shared_ptr<Process>& process, ExitRecord exit, uint64_t max_rss_bytes = 0);
  void TellExit(const std::shared_ptr<Process>& process, const ExitRecord& exit);
  void Forget(const std::shared_ptr<Process>& process);
  void DropLeaving();
  // Of one that a SIGKILL ended.
  bool WasOomKilled(const Process& process);
  // Whether the whole log was read.
  bool ReadOomLog();
  void RecordExit(const std::shared_ptr<Process>& process);
  void LeaveIfIdle();
  bool InitRuns() const;
  std::shared_ptr<Process> Find(const std::string& id) const;
  Status WriteIdentity(const Process& process);
  void Remove(const Asker& asker, const std::string& id);
  void Resize(const Asker& asker, const JsonValue& request);
  void Follow(const Asker& asker, const JsonValue& request, std::vector<UniqueFd> fds);
  void CloseStdin(const Asker& asker, const std::string& id);
  void Cancel(const Asker& asker, const JsonValue& request);
  Status EnsureTarget();
  void TellLess(const std::shared_ptr<Process>& process);

  // container_care.cc
  Status SignalOne(const Process& process, int signal) override;
  void ReleaseFrozen(pid_t pid) override;
  pid_t ProcessOf(ClientId client) override;
  void SweepEnded(const std::shared_ptr<Process>& process) override;
  void TreesEnded() override;
  std::optional<uint64_t> OomKillsSoFar();
  void Own(const Asker& asker, const std::string& id);
  void EndProcess(const Asker& asker, const std::string& id);
  void SignalTree(const Asker& asker, const JsonValue& request);
  void AwaitEmpty(const Asker& asker, const std::string& id);
  void BoundClientGone(ClientId client, bool broken);

  // container_takeover.cc
  std::vector<pid_t> Members() const;
  Status LoadProcesses();
  Status LoadProcess(const std::string& id, std::vector<std::shared_ptr<Process>>* found);
  void TakeProcess(const std::shared_ptr<Process>& process);
  void AwaitRuntime(int64_t patience_ms, std::function<void()> then);
  void SettleStart();
  Status WatchOwner();
  void Ready();
  void Adopt(const std::shared_ptr<Process>& process);
  void AdoptedEnded(const std::shared_ptr<Process>& process, int64_t patience_ms);

  // container_start.cc
  struct StartOperation;
  void Start(const Asker& asker, const JsonValue& request, std::string_view body, std::vector<UniqueFd> fds);
  void StartOpenStdio();
  void StartListenConsole();
  void StartRunCreate();
  void StartCreated(int status);
  void StartProceed();
  void StartRunStart();
  void StartFinished(int status);
  void StartUndo(Error error, std::string log = {});
  bool RuntimeKnowsId() const;
  // The runtime's record under this id is of this container, and not of another that took the id.
  bool IsOurs(const RuntimeRecord& record) const;
  bool StartOwnsRecord() const;
  // ERR_RUNTIME unless it is proven that `pid` is the init that the runtime has just made.
  Result<uint64_t> StartOfInit(pid_t pid) const;
  std::string AbsentCgroups() const;
  LeftCgroups MadeCgroups() const;
  void StartUndoDelete();
  void StartAnswer();
  void StartUndoDone();

  // container_restore.cc
  void RestoreAddArguments(std::vector<std::string>* args) const;
  bool RestoreWriteConfig() const;
  Status RestoreCheckCgroup(pid_t pid) const;
  Status RestoreRun(const std::vector<std::string>& args, const int fds[3]);
  void RestoreFailed(int status);

  // container_checkpoint.cc
  struct CheckpointOperation;
  void Checkpoint(const Asker& asker, const JsonValue& request, std::string_view body);
  Status CheckpointReady();
  void CheckpointRun();
  bool CheckpointRuns() const;
  void CheckpointDumped(int status);
  void CheckpointInitEnded();
  void CheckpointCommit();
  void CheckpointEnd(std::optional<Error> error, const std::string& log = {});
  void CheckpointAbort();
  void SettleCheckpoint();
  Error CriuFailure(int status, const std::string& criu_log, std::string* log) const;

  // container_exec.cc
  struct ExecOperation;
  std::optional<Error> Gone() const;
  Error OrGone(Error error) const;
  Error WhyKilled() const;
  void Exec(const Asker& asker, const JsonValue& request, std::string_view body, std::vector<UniqueFd> fds);
  Result<nsexec::Plan> ExecPlan(const JsonValue& request, std::string_view body);
  void ExecOpenStdio(const std::shared_ptr<ExecOperation>& exec);
  void ExecFork(const std::shared_ptr<ExecOperation>& exec);
  Status ExecLaunch(const std::shared_ptr<ExecOperation>& exec);
  bool ExecOtherwise(const std::shared_ptr<ExecOperation>& exec, const Error& error);
  void ExecJoined(const std::shared_ptr<ExecOperation>& exec, pid_t pid);
  bool ExecJoinerEnded(pid_t pid);
  bool ExecRelaunch(const std::shared_ptr<ExecOperation>& exec);
  void ExecClaim(pid_t pid);
  void ExecCloseReport(ExecOperation* exec);
  Status ExecDirectory(const std::shared_ptr<ExecOperation>& exec);
  Status ExecName(const std::shared_ptr<ExecOperation>& exec);
  void ExecReport(const std::shared_ptr<ExecOperation>& exec);
  void ExecStarted(const std::shared_ptr<ExecOperation>& exec);
  void ExecWatchPause(const std::shared_ptr<ExecOperation>& exec);
  void ExecCancelTimers(const std::shared_ptr<ExecOperation>& exec);
  void ExecUndo(const std::shared_ptr<ExecOperation>& exec, Error error);
  void ExecFail(const std::shared_ptr<ExecOperation>& exec);
  void ExecForget(const ExecOperation& exec);
  void ExecAwaitEnd(const std::shared_ptr<ExecOperation>& exec);
  void ExecAbandon(const std::shared_ptr<ExecOperation>& exec);
  void ExecTakeBack(const Asker& asker, const std::string& id);
  void Linger(pid_t pid, int again_ms);
  bool ExecEnded(pid_t pid, int status);

  // container_delete.cc
  struct Sweep;
  void Delete(const Asker& asker, bool force);
  void DeleteUnlessAlive(const Asker& asker, std::shared_ptr<CgroupLife> life, const WalkDeadline& deadline);
  void Teardown();
  void DeleteKill();
  std::optional<RuntimeRecord> OwnRecord() const;
  std::unique_ptr<Sweep> NewSweep() const;
  void DeleteSweep();
  void DeleteRunRuntime();
  void DeleteRun();
  void DeleteDone(int status);
  LeftCgroups LikelyCgroups() const;
  void ClearCgroups(const LeftCgroups& left, int tries, std::function<void()> then);
  void ClearSome(std::function<CgroupRemoval()> anew, std::shared_ptr<CgroupRemoval> removal, int tries,
                 std::function<void()> then);
  void DeleteDirectory();
  void DeleteFail(const Error& error, const std::string& log = {});

  using RunDone = std::function<void(int status)>;
  struct RunInFlight {
    RuntimeRun run;
    RunDone done;
  };
  // Starts the runtime with the container's global flags; `done` gets the wait(2) status.
  Status RunRuntime(const std::string& name, const std::vector<std::string>& args, const int fds[3],
                    RunDone done);
  std::string LogPath() const { return settings_.directory + "/log.json"; }

  EventLoop& loop_;
  Clients& clients_;
  Settings settings_;
  UniqueFd null_device_;
  std::map<std::string, std::shared_ptr<Process>> processes_;
  std::unordered_map<pid_t, std::shared_ptr<Process>> by_pid_;   // children of this shim
  std::unordered_map<pid_t, std::shared_ptr<Process>> adopted_;  // others that it watches
  // Children of failed execs that have yet to die of a SIGKILL, and when each is looked after again.
  std::map<pid_t, int> lingering_;
  std::map<pid_t, RunInFlight> runs_;
  std::optional<RuntimeRun> last_run_;
  std::map<pid_t, int> orphans_;  // ended children that nobody knew yet, while a start is under way
  std::unique_ptr<Target> target_;
  uint64_t oom_kills_ = 0;  // the container's counter when it was last looked at
  OomLog oom_log_;
  int unrecorded_ = 0;  // exits that could not be written yet
  std::unique_ptr<StartOperation> start_;
  std::map<Asker, std::shared_ptr<ExecOperation>> execs_;
  // First tasks of execs, until they are reaped, each with what it makes.
  struct Joiner {
    std::weak_ptr<ExecOperation> exec;
    nsexec::PidSlot member;
  };
  std::unordered_map<pid_t, std::weak_ptr<ExecOperation>>
      exec_of_;  // execs whose process is there, until it runs or is reaped
  ExecRecords records_;
  // Anonymous processes that have exited and are forgotten, while their streams are copied to the end.
  std::vector<std::shared_ptr<Process>> leaving_;
  Caretaker caretaker_{loop_, *this};
  nsexec::Bounding bounding_;
  nsexec::Launcher launcher_{bounding_};
  std::unordered_map<pid_t, Joiner> joiners_;
  uint32_t execs_started_ = 0;
  std::deque<std::unique_ptr<CheckpointOperation>> checkpoints_;  // the first one is under way
  std::vector<Asker> deleters_;
  bool deleting_ = false;
  bool all_ended_ = false;        // and its processes have come to their end
  LeftCgroups left_cgroups_;      // of the container that is being deleted
  std::unique_ptr<Sweep> sweep_;  // while its processes are being ended
  int looks_ = 0;                 // deletes that look whether anything of the container runs
  EventLoop::TimerId delete_timer_ = 0;
  bool finished_ = false;
  std::string grave_;   // of the state directory, where it is still to be removed
  ClientId owner_ = 0;  // of an ephemeral container: when it goes, so does the container
  UniqueFd owner_pidfd_;
  std::function<void()> ready_;  // set while an earlier shim's work is being finished or undone
  std::function<void(const Error&)> refuse_;
  bool teardown_ = false;  // and the container's end is part of it
};

}  // namespace lc::shim
