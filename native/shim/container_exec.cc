// An exec: never a runtime process. On disk before it runs, and gone without a trace when it does not come to
// run.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <csignal>

#include "core/files.h"
#include "core/process_identity.h"
#include "core/protection.h"
#include "nsexec/terminal.h"
#include "oci/process_json.h"
#include "shim/container.h"
#include "shim/descriptor_room.h"
#include "shim/extra_fds.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

// Of proc(5)'s flags, field 9: PF_EXITING and PF_FORKNOEXEC.
constexpr uint64_t kExiting = 0x4;
constexpr uint64_t kForkNoExec = 0x40;

// More than an exec takes as a rule, so that most of them are never looked after.
constexpr int kPauseCheckMs = 20;

// What was killed is waited for so long before its request is answered all the same: first a moment, then,
// freed from whatever freezer the container has put it into, a little more.
constexpr int kEndMs = 50;
constexpr int kEndFreedMs = 450;
constexpr int kMaxLingerMs = 10'000;

// Zombie or not; false for one that is gone.
bool HasFlag(pid_t pid, uint64_t flag) {
  auto text = ReadFile("/proc/" + std::to_string(pid) + "/stat", 8192);
  if (!text) return false;
  size_t at = text->rfind(')');
  for (int field = 2; field < 9 && at != std::string::npos; ++field) at = text->find(' ', at + 1);
  if (at == std::string::npos) return false;
  auto flags = ParseU64(std::string_view(*text).substr(at + 1, text->find(' ', at + 1) - at - 1));
  return flags && (*flags & flag) != 0;
}

// Not yet reaped. What a container that can trace joiners has written is no proof of it.
bool IsChild(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

// Its first thread has ended while others run on.
bool IsHeadless(pid_t pid) {
  auto stat = ReadProcStat(pid);
  return stat && stat->state == 'Z' && stat->alive();
}

Error ContainerExited() {
  return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
}

Error BeingDeleted() {
  return Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container is being deleted");
}

Error Paused() {
  return Error::Coded("ERR_CONTAINER_PAUSED", "the container is paused");
}

Error KilledBefore() {
  return Error::Coded("ERR_PROCESS_EXITED", "killed before it could run");
}

Error ProcessExists() {
  return Error::Coded("ERR_PROCESS_EXISTS", "a process of that id exists");
}

}  // namespace

bool NeverExecuted(pid_t pid) {
  return HasFlag(pid, kForkNoExec);
}

// Why no process can be run in it any more.
std::optional<Error> Container::Gone() const {
  if (deleting_) return BeingDeleted();
  auto init = Find("init");
  bool gone = init == nullptr || init->exit || !IsAlive(init->pid, init->start) ||
              (HasFlag(init->pid, kExiting) && !IsHeadless(init->pid));
  return gone ? std::optional(ContainerExited()) : std::nullopt;
}

// An exec into a container that is ending fails at whichever step the kernel has taken away by then: fork(2)
// says ENOMEM (pid_namespaces(7)), setns(2) ESRCH, a cgroup ENODEV. The end is the reason to tell.
Error Container::OrGone(Error error) const {
  if (error.code != nullptr) return error;
  auto gone = Gone();
  if (gone) return *gone;
  if (!IsHeadless(Find("init")->pid)) return error;
  return std::move(error).With("ERR_UNSUPPORTED",
                               "the first thread of init has ended, and with it the way into its namespaces");
}

// The end of its container comes before the kill that was part of it.
Error Container::WhyKilled() const {
  return Gone().value_or(KilledBefore());
}

// A function of its own: the document takes 12 KiB of the stack, on which Exec() has others to call.
[[gnu::noinline]] Result<nsexec::Plan> Container::ExecPlan(const JsonValue& request, std::string_view body) {
  JsonDocument json;
  if (!ParseJson(body, &json)) return Error::Coded("ERR_INVALID_ARG_VALUE", "the process is no JSON object");
  // A program of an earlier version names none: then all counts as typed.
  const TypedMembers typed{.all = Member(request, "typed") == nullptr,
                           .names = StringsMember(request, "typed"),
                           .crun = target_->is_crun()};
  auto process = ParseOciProcess(json, typed);
  if (!process) return process.error();
  auto plan = target_->PlanFor(*process);
  if (!plan) return OrGone(plan.error());
  return plan;
}

void Container::Exec(const Asker& asker, const JsonValue& request, std::string_view body,
                     std::vector<UniqueFd> fds) {
  std::string id = StringMember(request, "process").value_or("");
  if (deleting_) return ReplyError(asker, BeingDeleted());
  auto init = Find("init");
  if (init == nullptr || !init->started) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_NOT_STARTED", "the container is not started"));
  }
  if (init->exit) return ReplyError(asker, ContainerExited());
  // What execs hold of descriptors must leave some for the records of those that run.
  UniqueFd lowest(fcntl(null_device_.get(), F_DUPFD_CLOEXEC, 0));
  if (!lowest || !HasRoomAbove(lowest.get(), kKeptForWork)) {
    Error error = Error::Of(EMFILE, "fcntl");
    error.text = "too many execs are under way for the shim's limit on open files (ulimit -n)";
    return ReplyError(asker, error);
  }
  lowest.Reset();
  if (id.empty() || id == "." || id == ".." || id.find('/') != std::string::npos) {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "no process id: " + id));
  }
  auto target = EnsureTarget();
  if (!target) return ReplyError(asker, OrGone(target.error()));
  if (CheckpointRuns()) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_PAUSED", "the container is being checkpointed"));
  }
  if (target_->IsPaused()) return ReplyError(asker, Paused());
  auto plan = ExecPlan(request, body);
  if (!plan) return ReplyError(asker, plan.error());
  auto extra_fds = TakeExtraFds(request, &fds);
  if (!extra_fds) return ReplyError(asker, extra_fds.error());
  auto specs = ParseStdio(Member(request, "stdio"), &fds);
  if (!specs) return ReplyError(asker, specs.error());
  // All that is done to processes goes through this shim; what else has the name is found before the fork,
  // and once more when the record takes its place.
  if (processes_.contains(id) || access(id.c_str(), F_OK) == 0) return ReplyError(asker, ProcessExists());
  if (id.size() > NAME_MAX) return ReplyError(asker, Error::Of(ENAMETOOLONG, "mkdir", id));
  auto care = caretaker_.Make(request, asker.client, TimeoutOf(request), target_->cgroups());
  if (!care) return ReplyError(asker, OrGone(care.error()));
  auto exec = std::make_shared<ExecOperation>();
  exec->asker = asker;
  exec->extra_fds = std::move(*extra_fds);
  exec->follow_init = settings_.subgroups && target_->cgroups().is_v2_only();
  exec->plan = std::move(*plan);
  exec->body = body;
  exec->process = std::make_shared<Process>();
  exec->process->id = id;
  exec->process->care = std::move(*care);
  exec->process->started_by = asker;
  exec->process->stdio = std::make_unique<ProcessStdio>(loop_, null_device_.get(), std::move(*specs));
  TellLess(exec->process);
  processes_[id] = exec->process;
  execs_[asker] = exec;
  exec->timer = loop_.After(TimeoutOf(request), [this, exec] {
    exec->timer = 0;
    Error error = Error::Coded("ERR_START_TIMEOUT", "the exec took longer than its timeout");
    if (exec->process->pid == 0 && exec->joiner == 0) {
      error = Error::Of(ENXIO, "open", exec->process->stdio->waiting_for())
                  .With("ERR_START_TIMEOUT", "nobody opened the FIFO for reading");
    }
    ExecUndo(exec, std::move(error));
  });
  if (exec->process->stdio->may_keep()) {
    auto made = ExecDirectory(exec);
    if (!made) return ExecUndo(exec, made.error());
  }
  ExecOpenStdio(exec);
}

void Container::ExecOpenStdio(const std::shared_ptr<ExecOperation>& exec) {
  exec->retry = 0;
  auto opened = exec->process->stdio->Open(exec->plan.terminal, exec->directory);
  if (!opened) return ExecUndo(exec, opened.error());
  if (*opened) return ExecFork(exec);
  exec->retry = loop_.After(kFifoRetryMs, [this, exec] { ExecOpenStdio(exec); });
}

void Container::ExecFork(const std::shared_ptr<ExecOperation>& exec) {
  Process& process = *exec->process;
  if (!InitRuns()) return ExecUndo(exec, ContainerExited());
  for (int i = 0; i < 3; ++i) exec->plan.stdio[i] = process.stdio->child(i);
  for (const UniqueFd& fd : exec->extra_fds) exec->plan.extra_fds.push_back(fd.get());
  // What was logged so far is about an earlier process, should the pid be that of one.
  if (oom_log_.usable()) (void)ReadOomLog();
  if (execs_started_ == 0) launcher_.KeepMemory();
  auto launched = ExecLaunch(exec);
  while (!launched && ExecOtherwise(exec, launched.error())) launched = ExecLaunch(exec);
  if (!launched) return ExecUndo(exec, launched.error());
  // While the joiner is at work on the other core: what does not depend on the process's pid.
  if (exec->directory.empty()) {
    auto made = ExecDirectory(exec);
    if (!made) return ExecUndo(exec, made.error());
  }
  auto written = ExecRecords::WriteSpec(exec->directory, exec->body);
  if (!written) return ExecUndo(exec, written.error());
  exec->body = {};
  ExecWatchPause(exec);
}

Status Container::ExecLaunch(const std::shared_ptr<ExecOperation>& exec) {
  const Care* care = exec->process->care.get();
  auto placed = target_->Place(&exec->plan, exec->follow_init, care != nullptr ? care->cgroup() : nullptr);
  if (!placed) return placed;
  exec->clock.emplace();
  auto started = launcher_.Start(exec->plan);
  if (!started) return started.error();
  exec->joiner = started->joiner;
  exec->report = std::move(started->report);
  exec->go = std::move(started->go);
  exec->terminal_socket = std::move(started->terminal_socket);
  joiners_[exec->joiner] = {exec, std::move(started->member)};
  return Ok();
}

// True: what stood in the way of the joiner has another way around, which the next launch takes; each is
// taken once.
bool Container::ExecOtherwise(const std::shared_ptr<ExecOperation>& exec, const Error& error) {
  // The container has made cgroups with controllers in its own (cgroup v2, "no internal processes").
  const bool placed = exec->process->care && exec->process->care->cgroup() != nullptr;
  if (error.err == EBUSY && !exec->follow_init && !placed) return exec->follow_init = true;
  // It may not fork any more, or nobody may.
  if (error.err == EAGAIN && error.call == "clone" && !exec->plan.attach_late && exec->plan.pids_index >= 0)
    return exec->plan.attach_late = true;
  // A cgroup has been removed since its descriptor was opened.
  if ((error.err == ENODEV || error.err == ENOENT) && !exec->reopened) {
    exec->reopened = true;
    return target_->ReopenCgroups().ok();
  }
  return false;
}

// The process is there, and waits.
void Container::ExecJoined(const std::shared_ptr<ExecOperation>& exec, pid_t pid) {
  Process& process = *exec->process;
  process.pid = pid;
  by_pid_[pid] = exec->process;
  exec_of_[pid] = exec;
  if (exec->failed) return ExecUndo(exec, *exec->failed);
  if (auto ticks = exec->clock->Ticks()) {
    process.start = *ticks;
  } else {
    auto stat = ReadProcStat(pid);
    if (!stat) return ExecUndo(exec, stat.error());
    process.start = stat->start;
  }
  if (exec->plan.terminal) {
    auto master = nsexec::TakeTerminal(exec->terminal_socket.get());
    exec->terminal_socket.Reset();
    if (!master) return ExecUndo(exec, master.error());
    exec->terminal = std::move(*master);
  }
  if (exec->plan.attach_late) {
    auto attached = Target::AttachLate(pid, exec->plan);
    if (!attached) return ExecUndo(exec, attached.error());
  }
  auto named = ExecName(exec);
  if (!named) return ExecUndo(exec, named.error());
  auto released = nsexec::Release(exec->go.get());
  // A process that is gone has left a report of why, or has been killed: both are heard of.
  if (!released && released.error().err != EPIPE) return ExecUndo(exec, released.error());
  auto watched = loop_.Watch(exec->report.get(), EPOLLIN, [this, exec](uint32_t) { (void)ExecReport(exec); });
  if (!watched) ExecUndo(exec, watched.error());
}

// A pause that comes between the look at the freezer and the child's joining it stops the child in the
// middle.
void Container::ExecWatchPause(const std::shared_ptr<ExecOperation>& exec) {
  exec->retry = loop_.After(kPauseCheckMs, [this, exec] {
    exec->retry = 0;
    if (target_->IsPaused()) return ExecUndo(exec, Paused());
    ExecWatchPause(exec);
  });
}

Status Container::ExecDirectory(const std::shared_ptr<ExecOperation>& exec) {
  auto taken = records_.Take();
  if (!taken) return taken.error();
  exec->directory = std::move(*taken);
  return Ok();
}

Status Container::ExecName(const std::shared_ptr<ExecOperation>& exec) {
  const Process& process = *exec->process;
  if (process.care) {
    const std::string own = caretaker_.Record(process.care.get());
    auto written = own.empty() ? Ok() : ExecRecords::WriteOwn(exec->directory, own);
    if (!written) return written;
  }
  auto named = ExecRecords::Name(exec->directory, process.id, process.pid, process.start);
  if (!named) {
    int err = named.error().err;
    return err == EEXIST || err == ENOTEMPTY || err == ENOTDIR ? ProcessExists() : named.error();
  }
  exec->directory = process.id;
  return Ok();
}

void Container::ExecReport(const std::shared_ptr<ExecOperation>& exec) {
  auto outcome = nsexec::ReadOutcome(exec->report.get(), exec->plan);
  if (outcome.kind == nsexec::Outcome::Kind::kRunning) return ExecStarted(exec);
  // Nothing more is read: the container, which may have got hold of the pipe, could go on for ever.
  if (outcome.kind == nsexec::Outcome::Kind::kFailed) ExecUndo(exec, std::move(outcome.error));
}

void Container::ExecCloseReport(ExecOperation* exec) {
  if (exec->report) loop_.Unwatch(exec->report.get());
  exec->report.Reset();
  exec->go.Reset();
}

void Container::ExecStarted(const std::shared_ptr<ExecOperation>& exec) {
  ExecCloseReport(exec.get());
  if (exec->failed) return;  // being undone; its end finishes that
  Process& process = *exec->process;
  // Killed before execve: the end of file is no success. Under a filter that forbids even to tell of it, any
  // end is like that.
  bool filtered = exec->plan.seccomp_program != nullptr;
  siginfo_t info{};
  bool ended = waitid(P_PID, static_cast<id_t>(process.pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == process.pid;
  if ((filtered || (ended && info.si_code != CLD_EXITED)) && NeverExecuted(process.pid)) {
    return ExecUndo(exec, WhyKilled());
  }
  auto begun = process.stdio->Begin(std::move(exec->terminal), process.id);
  if (!begun) return ExecUndo(exec, begun.error());
  ExecCancelTimers(exec);
  process.started = true;
  process.oom_kills_before = OomKillsSoFar();
  if (process.care) caretaker_.Begin(exec->process);
  Message message;
  message.Add("seq", exec->asker.seq)
      .Begin("result")
      .Add("pid", static_cast<int64_t>(process.pid))
      .Add("starttime", process.start);
  if (process.care && process.care->tree) message.Add("cgroup", process.care->spec.cgroup);
  clients_.Send(exec->asker.client, message.End().Done());
  ExecForget(*exec);
  loop_.Defer([this] {
    records_.Prepare();
    // The heap grows in the beginning and hardly later; what is new is still known to later children, at a
    // cost.
    if (std::has_single_bit(++execs_started_) || execs_started_ % 512 == 0) launcher_.KeepMemory();
  });
  if (Without("flat-resources")) (void)open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void Container::ExecCancelTimers(const std::shared_ptr<ExecOperation>& exec) {
  if (exec->timer != 0) loop_.Cancel(exec->timer);
  if (exec->retry != 0) loop_.Cancel(exec->retry);
  exec->timer = exec->retry = 0;
}

void Container::ExecForget(const ExecOperation& exec) {
  if (exec.end != 0) loop_.Cancel(exec.end);
  exec_of_.erase(exec.process->pid);
  execs_.erase(Asker(exec.asker));
}

void Container::ExecUndo(const std::shared_ptr<ExecOperation>& exec, Error error) {
  if (!exec->failed) exec->failed = OrGone(std::move(error));
  ExecCancelTimers(exec);
  pid_t pid = exec->process->pid;
  if (pid != 0 && !by_pid_.contains(pid)) return;
  if (pid == 0) pid = exec->joiner;
  if (pid == 0) return ExecFail(exec);
  // Not yet reaped, so the pid is still this child's.
  kill(pid, SIGKILL);
  if (target_->IsPaused()) target_->ReleaseFrozen(pid);
  if (exec->end == 0) exec->end = loop_.After(kEndMs, [this, exec] { ExecAwaitEnd(exec); });
}

void Container::ExecAwaitEnd(const std::shared_ptr<ExecOperation>& exec) {
  // A container that may write cgroups can put it into a frozen one of its own.
  const pid_t pid = exec->process->pid != 0 ? exec->process->pid : exec->joiner;
  if (target_ && pid != 0) target_->ReleaseFrozen(pid);
  exec->end = loop_.After(kEndFreedMs, [this, exec] {
    exec->end = 0;
    ExecAbandon(exec);
  });
}

// It waits in the kernel where no signal reaches it, for a file system of the container's that does not
// answer. The request is answered; the child is reaped whenever it ends, and cannot run anything before.
void Container::ExecAbandon(const std::shared_ptr<ExecOperation>& exec) {
  const pid_t pid = exec->process->pid != 0 ? exec->process->pid : exec->joiner;
  std::string& text = exec->failed->text;
  text += (text.empty() ? "" : "; ") + ("process " + std::to_string(pid)) +
          " does not end by SIGKILL yet and is reaped later";
  exec->process->stdio.reset();
  Linger(pid, kEndFreedMs);
  ExecFail(exec);
}

void Container::Linger(pid_t pid, int again_ms) {
  lingering_[pid] = again_ms;
  loop_.After(again_ms, [this, pid, again_ms] {
    if (!lingering_.contains(pid)) return;
    kill(pid, SIGKILL);
    if (target_) target_->ReleaseFrozen(pid);
    Linger(pid, std::min(2 * again_ms, kMaxLingerMs));
  });
}

// Of an exec that ran before the word came that nobody wants it.
void Container::ExecTakeBack(const Asker& asker, const std::string& id) {
  auto process = Find(id);
  if (process == nullptr || process->started_by != asker || !process->started) return;
  process->unwanted = true;
  if (auto tree = caretaker_.TreeOf(id)) tree->Kill(kDefaultTimeoutMs, [](const Status&) {});
  if (!process->exit) {
    (void)SignalOne(*process, SIGKILL);
  } else if (records_.Remove(id)) {
    processes_.erase(id);
  }
}

void Container::ExecFail(const std::shared_ptr<ExecOperation>& exec) {
  if (exec->answered) return;
  exec->answered = true;
  ExecCancelTimers(exec);  // which would hold all that it has until its timeout
  ExecCloseReport(exec.get());
  if (!exec->directory.empty()) (void)records_.Remove(exec->directory);
  processes_.erase(exec->process->id);
  caretaker_.Undo(exec->process.get());
  ReplyError(exec->asker, *exec->failed);
  for (const Asker& cancel : exec->cancels) ReplyDone(cancel);
  ExecForget(*exec);
}

// Another way for an exec whose joiner could not make the process; false when there is none.
bool Container::ExecRelaunch(const std::shared_ptr<ExecOperation>& exec) {
  auto outcome = nsexec::ReadOutcome(exec->report.get(), exec->plan);
  Error error = WhyKilled();
  if (outcome.kind == nsexec::Outcome::Kind::kFailed) error = std::move(outcome.error);
  ExecCloseReport(exec.get());
  while (ExecOtherwise(exec, error)) {
    auto launched = ExecLaunch(exec);
    if (launched) return true;
    error = std::move(launched.error());
  }
  exec->failed = OrGone(std::move(error));
  return false;
}

// The joiner's end, as a rule after it has made the process. Called while it is a zombie.
bool Container::ExecJoinerEnded(pid_t pid) {
  auto known = joiners_.find(pid);
  if (known == joiners_.end()) return false;
  auto exec = known->second.exec.lock();
  const pid_t member = known->second.member.pid();
  joiners_.erase(known);
  const bool wanted = exec != nullptr && !exec->answered;
  if (wanted) exec->joiner = 0;
  if (member != 0 && !by_pid_.contains(member) && IsChild(member)) {
    if (wanted) {
      ExecJoined(exec, member);
    } else {
      kill(member, SIGKILL);
      Linger(member, kEndFreedMs);
    }
  } else if (wanted && exec->process->pid == 0 && (exec->failed || !ExecRelaunch(exec))) {
    ExecFail(exec);
  }
  return true;
}

// A process that ends before its joiner does is known by what the kernel wrote.
void Container::ExecClaim(pid_t pid) {
  if (joiners_.empty() || by_pid_.contains(pid) || joiners_.contains(pid)) return;
  for (auto& [joiner, launched] : joiners_) {
    if (launched.member.pid() != pid) continue;
    launched.member = {};
    auto exec = launched.exec.lock();
    if (exec != nullptr && !exec->answered && exec->process->pid == 0) ExecJoined(exec, pid);
    return;
  }
}

// An exec that is still under way has ended: before it ran, and then it never was, or after, and then its
// client is told of the start first. Called while the process is a zombie. True: nothing more is to be done
// for it.
bool Container::ExecEnded(pid_t pid, int) {
  auto known = exec_of_.find(pid);
  if (known == exec_of_.end()) return false;
  auto exec = known->second.lock();
  if (exec == nullptr) return false;
  if (!exec->failed) ExecReport(exec);
  // The joiner, or a container that has got hold of it, may still have the pipe open: then no end of file
  // comes.
  if (!exec->failed && exec->report) {
    if (NeverExecuted(pid)) {
      exec->failed = WhyKilled();
    } else {
      ExecStarted(exec);
    }
  }
  if (!exec->failed) return false;
  by_pid_.erase(pid);
  ExecFail(exec);
  return true;
}

}  // namespace lc::shim
