// A delete: the processes ended where that was asked for, the runtime's delete, then the state directory.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "container/recorded_cgroups.h"
#include "core/files.h"
#include "core/process_identity.h"
#include "shim/container.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

constexpr int kCgroupRetryMs = 10;
// How long the container's cgroups may hold this thread at a time: they may be many.
constexpr int kSliceMs = 5;
constexpr int kBetweenSlicesMs = 1;

Error StillRuns() {
  return Error::Coded("ERR_CONTAINER_NOT_STOPPED",
                      "init has ended, but other processes of the container still run: kill() with all, or "
                      "delete() with force ends them");
}
// The records of more are removed after the answer: on a disk that may take minutes, and the shim does
// nothing else meanwhile.
constexpr size_t kMostBeforeAnswer = 1000;

// `.n4026531836` of `pid:[4026531836]`, as lib/state/trash.ts has it.
std::string NamespaceInNames() {
  auto pid_namespace = PidNamespace();
  if (!pid_namespace) return {};
  size_t begin = pid_namespace->find_first_of("0123456789");
  if (begin == std::string::npos) return {};
  return ".n" + pid_namespace->substr(begin, pid_namespace->find(']') - begin);
}

}  // namespace

void Container::Delete(const Asker& asker, bool force) {
  if (!force && (start_ || InitRuns())) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_NOT_STOPPED", "the container is not stopped"));
  }
  auto record = force || deleting_ ? std::nullopt : OwnRecord();
  if (record && !record->own_pid_namespace) {
    auto cgroups = RecordedCgroups(*record);
    if (!cgroups) return ReplyError(asker, cgroups.error());
    ++looks_;
    return DeleteUnlessAlive(asker, std::make_shared<CgroupLife>(*cgroups), WalkDeadline());
  }
  deleters_.push_back(asker);
  Teardown();
}

// Others may outlive init: who did not ask for their end does not get it.
void Container::DeleteUnlessAlive(const Asker& asker, std::shared_ptr<CgroupLife> life,
                                  const WalkDeadline& deadline) {
  auto lives = life->Work(WalkDeadline(kSliceMs));
  if (lives && !*lives && !deadline.passed()) {
    loop_.After(kBetweenSlicesMs, [this, asker, life = std::move(life), deadline] {
      DeleteUnlessAlive(asker, life, deadline);
    });
    return;
  }
  --looks_;
  loop_.Defer([this] { LeaveIfIdle(); });
  if (!lives) return ReplyError(asker, lives.error());
  if (lives->value_or(true) || start_ || InitRuns()) return ReplyError(asker, StillRuns());
  deleters_.push_back(asker);
  Teardown();
}

void Container::Teardown() {
  if (deleting_) return;
  deleting_ = true;
  all_ended_ = false;
  // So that it is finished should this shim be killed. A full disk is no reason not to delete.
  UniqueFd mark(open(kDeleting, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  delete_timer_ = loop_.After(kDefaultTimeoutMs, [this] {
    delete_timer_ = 0;
    DeleteFail(Error::Coded("ERR_CONTAINER_NOT_STOPPED", "its processes did not end in 15 s after SIGKILL"));
  });
  if (CheckpointRuns()) return CheckpointAbort();  // its end goes on with DeleteKill
  if (!start_) return DeleteKill();
  start_->after_undo.push_back([this] { DeleteKill(); });
  StartUndo(Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container was deleted while it started"));
}

void Container::DeleteKill() {
  if (!deleting_ || all_ended_ || !runs_.empty()) return;  // given up, or the runtime's delete is under way
  if (target_) target_->Thaw();
  bool left = false;
  for (const auto& [id, process] : processes_) {
    if (process->exit || process->pid == 0) continue;
    // With a pid namespace init's end is the end of all; without one each is ended for itself.
    auto killed = SignalOne(*process, SIGKILL);
    if (!killed && killed.error().err != ESRCH) return DeleteFail(killed.error());
    if (id == "init") left = true;
  }
  if (!sweep_) sweep_ = NewSweep();
  if (sweep_ && sweep_->timer != 0 && (left || sweep_->kill)) return;  // goes on by itself
  if (sweep_ && sweep_->kill) return DeleteSweep();
  if (!left) return DeleteRunRuntime();
  // Most often it ends at once.
  if (sweep_) sweep_->timer = loop_.After(kCgroupRetryMs, [this] { DeleteSweep(); });
}

// The runtime's record, where it is about this very container.
std::optional<RuntimeRecord> Container::OwnRecord() const {
  auto record = LoadRuntimeRecord(RuntimeRoots(settings_.runtime, settings_.runtime_args), settings_.id);
  if (!record || !IsOurs(*record)) return std::nullopt;
  return std::move(*record);
}

std::unique_ptr<Container::Sweep> Container::NewSweep() const {
  auto record = OwnRecord();
  if (!record) return nullptr;
  auto cgroups = RecordedCgroups(*record);
  if (!cgroups) return nullptr;
  auto sweep = std::make_unique<Sweep>(Sweep{std::nullopt, CgroupThaw(*cgroups)});
  if (!record->own_pid_namespace) sweep->kill.emplace(std::move(*cgroups), SIGKILL);
  return sweep;
}

void Container::DeleteSweep() {
  sweep_->timer = 0;
  auto round =
      sweep_->kill ? sweep_->kill->Work(WalkDeadline(kSliceMs)) : sweep_->thaw.Work(WalkDeadline(kSliceMs));
  if (!round && round.error().code == nullptr) return DeleteFail(round.error());
  bool over = !round || *round;  // ERR_UNSUPPORTED: no cgroup of its own, so nobody to be found by it
  bool found = round && sweep_->kill && sweep_->kill->found() > 0;
  if (over && !found && !InitRuns()) return DeleteRunRuntime();
  sweep_->timer = loop_.After(over ? kCgroupRetryMs : kBetweenSlicesMs, [this] { DeleteSweep(); });
}

void Container::DeleteRunRuntime() {
  if (delete_timer_ != 0) loop_.Cancel(delete_timer_);
  delete_timer_ = 0;
  if (sweep_ && sweep_->timer != 0) loop_.Cancel(sweep_->timer);
  sweep_.reset();
  all_ended_ = true;
  auto record = LoadRuntimeRecord(RuntimeRoots(settings_.runtime, settings_.runtime_args), settings_.id);
  left_cgroups_ = {};
  // Deleted by another hand, who has made another container of this id since.
  if (record && !IsOurs(*record)) return DeleteDone(0);
  if (!record && record.error().err == ENOENT) {
    // Never created, or deleted by another hand; or the record alone is gone.
    if (Find("init")) {
      left_cgroups_ = target_ ? LeftCgroups{Directories(target_->cgroups()), true} : LikelyCgroups();
      return DeleteDone(0);
    }
    // Or a create of ours came to its end before it wrote a record, and could not be undone then.
    if (access(kOwnRecord, F_OK) != 0 || !RuntimeKnowsId()) return DeleteDone(0);
    left_cgroups_ = MadeCgroups();
  }
  if (record) {
    if (auto cgroups = RecordedCgroups(*record)) left_cgroups_ = {Directories(*cgroups), true};
  }
  // What the container made below its own cgroups may be deeper and more than a runtime's delete can cope
  // with.
  if (!left_cgroups_.sure) return DeleteRun();
  auto below = [this] { return CgroupRemoval(left_cgroups_.directories, CgroupRemoval::Extent::kBelow); };
  ClearSome(below, std::make_shared<CgroupRemoval>(below()), kCgroupTries, [this] { DeleteRun(); });
}

void Container::DeleteRun() {
  const int fds[3] = {-1, -1, -1};
  auto timer = std::make_shared<EventLoop::TimerId>(0);
  auto given_up = std::make_shared<bool>(false);
  auto run = RunRuntime("delete", {"--force", "--", settings_.id}, fds, [this, timer, given_up](int status) {
    loop_.Cancel(*timer);
    if (!*given_up) return DeleteDone(status);
    if (deleting_) DeleteKill();  // asked for once more
  });
  if (!run) return DeleteFail(run.error());
  *timer = loop_.After(kDefaultTimeoutMs, [this, timer, given_up] {
    for (auto& [pid, flight] : runs_) flight.run.KillAll();
    *timer = loop_.After(kCreateGraceMs, [this, given_up] {
      *given_up = true;
      DeleteFail(Error::Coded("ERR_RUNTIME", "the runtime's delete does not end by SIGKILL"));
    });
  });
}

void Container::DeleteDone(int status) {
  if (status != 0) {
    std::string log = last_run_->Log();
    return DeleteFail(last_run_->FailureOf(status, log), log);
  }
  ClearCgroups(left_cgroups_, kCgroupTries, [this] { DeleteDirectory(); });
}

// Where the container's cgroups are if its record cannot tell. Only an empty cgroup can be removed.
LeftCgroups Container::LikelyCgroups() const {
  auto layout = ReadLayout();
  auto own = ReadFile("/proc/self/cgroup");
  if (!layout || !own) return {};
  std::string wanted = "/" + settings_.id;
  auto text = ReadFile(settings_.bundle + "/config.json");
  JsonDocument config;
  if (text && ParseForeignJson(*text, &config)) {
    if (const JsonValue* linux_config = Member(config, "linux")) {
      std::string path = StringMember(*linux_config, "cgroupsPath").value_or("");
      if (path.find("..") != std::string::npos || path.find(':') != std::string::npos) return {};
      if (!path.empty()) wanted = path[0] == '/' ? path : "/" + path;
    }
  }
  // runc counts from its own cgroup, crun from the root of the hierarchy.
  LeftCgroups out;
  for (const CgroupPaths& paths : {PathsFromProc(*layout, *own), ComposePaths(*layout, "/")}) {
    for (const std::string& directory : Directories(paths)) out.directories.push_back(directory + wanted);
  }
  return out;
}

// runc gives up on a cgroup whose last processes take their time to die, says so in its log, and exits with
// 0. A create that was killed has left cgroups that no record tells of.
void Container::ClearCgroups(const LeftCgroups& left, int tries, std::function<void()> then) {
  auto extent = left.sure ? CgroupRemoval::Extent::kAll : CgroupRemoval::Extent::kTops;
  auto all = [directories = left.directories, extent] { return CgroupRemoval(directories, extent); };
  ClearSome(all, std::make_shared<CgroupRemoval>(all()), tries, std::move(then));
}

void Container::ClearSome(std::function<CgroupRemoval()> anew, std::shared_ptr<CgroupRemoval> removal,
                          int tries, std::function<void()> then) {
  bool over = removal->Work(WalkDeadline(kSliceMs));
  if (over && (!removal->left() || tries <= 0)) return then();
  if (over) {
    removal = std::make_shared<CgroupRemoval>(anew());
    --tries;
  }
  loop_.After(over ? kCgroupRetryMs : kBetweenSlicesMs,
              [this, anew = std::move(anew), removal = std::move(removal), tries, then = std::move(then)] {
                ClearSome(anew, removal, tries, then);
              });
}

void Container::DeleteDirectory() {
  // Out of sight in one step, so that nobody finds half a container; ':' is in no id. By the name's maker it
  // is known whether anybody still works on it: lib/state/trash.ts.
  auto self = ReadProcStat(getpid());
  std::string grave = "../:" + std::to_string(getpid()) + "." +
                      std::to_string(self ? self->start : uint64_t{0}) + NamespaceInNames() + ".shim";
  std::string here = "../" + settings_.id;
  if (rename(here.c_str(), grave.c_str()) != 0 && errno != ENOENT) {
    return DeleteFail(Error::Sys("rename", settings_.directory));
  }
  // From here on it is gone for everybody, and so is what was still being swept.
  std::vector<std::shared_ptr<Process>> swept;
  for (const auto& [id, process] : processes_) {
    if (process->care && process->care->exit) swept.push_back(process);
  }
  for (const auto& process : swept) SweepEnded(process);
  grave_ = std::move(grave);
  if (processes_.size() <= kMostBeforeAnswer) RemoveGrave();
  for (const Asker& asker : deleters_) ReplyDone(asker);
  clients_.Broadcast(Message().Add("event", "deleted").Done());
  finished_ = true;
  loop_.Stop();
}

// What withstands a second try, or is left when this shim is killed, is for the next one that looks there.
void Container::RemoveGrave() {
  if (!grave_.empty() && !RemoveTreeAt(AT_FDCWD, grave_)) (void)RemoveTreeAt(AT_FDCWD, grave_);
  grave_.clear();
}

void Container::DeleteFail(const Error& error, const std::string& log) {
  deleting_ = false;
  if (sweep_ && sweep_->timer != 0) loop_.Cancel(sweep_->timer);
  sweep_.reset();
  unlink(kDeleting);
  for (const Asker& asker : deleters_) ReplyError(asker, error, log);
  deleters_.clear();
  Ready();
  loop_.Defer([this] { LeaveIfIdle(); });
}

}  // namespace lc::shim
