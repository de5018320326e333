// An exec: never a runtime process. On disk before it runs, and gone without a trace when it does not come to
// run.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "core/files.h"
#include "core/process_identity.h"
#include "shim/container.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

// True for a zombie that never came to execve(2): PF_FORKNOEXEC of proc(5)'s flags, field 9.
bool NeverExecuted(pid_t pid) {
  constexpr uint64_t kForkNoExec = 0x40;
  auto text = ReadFile("/proc/" + std::to_string(pid) + "/stat", 8192);
  if (!text) return false;
  size_t at = text->rfind(')');
  for (int field = 2; field < 9 && at != std::string::npos; ++field) at = text->find(' ', at + 1);
  if (at == std::string::npos) return false;
  auto flags = ParseU64(std::string_view(*text).substr(at + 1, text->find(' ', at + 1) - at - 1));
  return flags && (*flags & kForkNoExec) != 0;
}

Error ContainerExited() {
  return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
}

}  // namespace

void Container::Exec(const Asker& asker, const JsonValue& request, std::string_view body,
                     std::vector<UniqueFd> fds) {
  std::string id = StringMember(request, "process").value_or("");
  if (deleting_) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container is being deleted"));
  }
  auto init = Find("init");
  if (init == nullptr || !init->started) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_NOT_STARTED", "the container is not started"));
  }
  if (init->exit) return ReplyError(asker, ContainerExited());
  if (id.empty() || id.find('/') != std::string::npos || id[0] == '.') {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "no process id: " + id));
  }
  auto target = EnsureTarget();
  if (!target) {
    if (target.error().err == ESRCH) return ReplyError(asker, ContainerExited());
    return ReplyError(asker, target.error());
  }
  if (CheckpointRuns()) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_PAUSED", "the container is being checkpointed"));
  }
  if (target_->IsPaused()) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_PAUSED", "the container is paused"));
  }
  JsonDocument json;
  if (!ParseJson(body, &json)) {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "the process is no JSON object"));
  }
  auto process = ParseOciProcess(json);
  if (!process) return ReplyError(asker, process.error());
  auto plan = target_->PlanFor(*process);
  if (!plan) return ReplyError(asker, plan.error());
  auto specs = ParseStdio(Member(request, "stdio"), &fds);
  if (!specs) return ReplyError(asker, specs.error());
  // The directory is the claim on the id: it is made once, whoever asks.
  if (mkdir(id.c_str(), 0711) != 0) {
    if (errno != EEXIST) return ReplyError(asker, Error::Sys("mkdir", settings_.directory + "/" + id));
    return ReplyError(asker, Error::Coded("ERR_PROCESS_EXISTS", "a process of that id exists"));
  }
  auto exec = std::make_shared<ExecOperation>();
  exec->asker = asker;
  exec->plan = std::move(*plan);
  exec->body = body;
  exec->process = std::make_shared<Process>();
  exec->process->id = id;
  exec->process->stdio = std::make_unique<ProcessStdio>(loop_, std::move(*specs));
  processes_[id] = exec->process;
  execs_[asker] = exec;
  exec->timer = loop_.After(TimeoutOf(request), [this, exec] {
    exec->timer = 0;
    Error error = Error::Coded("ERR_START_TIMEOUT", "the exec took longer than its timeout");
    if (exec->process->pid == 0) {
      error = Error::Of(ENXIO, "open", exec->process->stdio->waiting_for())
                  .With("ERR_START_TIMEOUT", "nobody opened the FIFO for reading");
    }
    ExecUndo(exec, std::move(error));
  });
  ExecOpenStdio(exec);
}

void Container::ExecOpenStdio(const std::shared_ptr<ExecOperation>& exec) {
  exec->retry = 0;
  auto opened = exec->process->stdio->Open(exec->plan.terminal);
  if (!opened) return ExecUndo(exec, opened.error());
  if (*opened) return ExecFork(exec);
  exec->retry = loop_.After(kFifoRetryMs, [this, exec] { ExecOpenStdio(exec); });
}

void Container::ExecFork(const std::shared_ptr<ExecOperation>& exec) {
  Process& process = *exec->process;
  if (!InitRuns()) return ExecUndo(exec, ContainerExited());
  for (int i = 0; i < 3; ++i) exec->plan.stdio[i] = process.stdio->child(i);
  auto started = nsexec::Start(exec->plan);
  if (!started) {
    // A pid namespace whose init is gone takes no more processes: pid_namespaces(7).
    if (started.error().err == ENOMEM || started.error().err == EINVAL)
      return ExecUndo(exec, ContainerExited());
    return ExecUndo(exec, started.error());
  }
  process.pid = started->pid;
  exec->channel = std::move(started->channel);
  by_pid_[process.pid] = exec->process;
  // While the child sets itself up on the other core: what must be known of it if this shim dies now.
  auto stat = ReadProcStat(process.pid);
  if (!stat) return ExecUndo(exec, stat.error());
  process.start = stat->start;
  auto written = WriteWholeAt(AT_FDCWD, process.id + "/process.json", exec->body);
  if (written) written = WriteIdentity(process);
  if (!written) return ExecUndo(exec, written.error());
  exec->body = {};
  auto watched = loop_.Watch(exec->channel.get(), EPOLLIN, [this, exec](uint32_t) { ExecReport(exec); });
  if (!watched) return ExecUndo(exec, watched.error());
  (void)nsexec::Release(exec->channel.get());
}

void Container::ExecReport(const std::shared_ptr<ExecOperation>& exec) {
  for (;;) {
    if (!exec->channel) return;
    auto outcome = nsexec::ReadOutcome(exec->channel.get(), exec->plan);
    switch (outcome.kind) {
      case nsexec::Outcome::Kind::kAgain:
        return;
      case nsexec::Outcome::Kind::kTerminal:
        exec->terminal = std::move(outcome.terminal);
        break;
      case nsexec::Outcome::Kind::kRunning:
        return ExecStarted(exec);
      case nsexec::Outcome::Kind::kFailed:
        return ExecUndo(exec, std::move(outcome.error));
    }
  }
}

void Container::ExecStarted(const std::shared_ptr<ExecOperation>& exec) {
  loop_.Unwatch(exec->channel.get());
  exec->channel.Reset();
  if (exec->failed) return;  // being undone; its end finishes that
  Process& process = *exec->process;
  // Killed before execve: the end of file is no success.
  siginfo_t info{};
  bool ended = waitid(P_PID, static_cast<id_t>(process.pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
               info.si_pid == process.pid;
  if (ended && info.si_code != CLD_EXITED && NeverExecuted(process.pid)) {
    if (deleting_)
      return ExecUndo(exec, Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container is being deleted"));
    auto init = Find("init");
    bool alive = InitRuns() && !deleting_ && IsAlive(init->pid, init->start);
    return ExecUndo(
        exec, alive ? Error::Coded("ERR_PROCESS_EXITED", "killed before it could run") : ContainerExited());
  }
  if (exec->timer != 0) loop_.Cancel(exec->timer);
  process.started = true;
  process.stdio->Begin(std::move(exec->terminal));
  clients_.Send(exec->asker.client, Message()
                                        .Add("seq", exec->asker.seq)
                                        .Begin("result")
                                        .Add("pid", static_cast<int64_t>(process.pid))
                                        .Add("starttime", process.start)
                                        .End()
                                        .Done());
  if (clients_.count() > 1) {
    clients_.Broadcast(Message().Add("event", "started").Add("process", process.id).Done());
  }
  execs_.erase(exec->asker);
}

void Container::ExecUndo(const std::shared_ptr<ExecOperation>& exec, Error error) {
  if (!exec->failed) exec->failed = std::move(error);
  if (exec->timer != 0) loop_.Cancel(exec->timer);
  if (exec->retry != 0) loop_.Cancel(exec->retry);
  exec->timer = exec->retry = 0;
  if (exec->process->pid == 0) return ExecFail(exec);
  // Not yet reaped, so the pid is still this child's.
  if (by_pid_.contains(exec->process->pid)) kill(exec->process->pid, SIGKILL);
}

void Container::ExecFail(const std::shared_ptr<ExecOperation>& exec) {
  if (exec->channel) loop_.Unwatch(exec->channel.get());
  exec->channel.Reset();
  (void)RemoveTreeAt(AT_FDCWD, exec->process->id);
  processes_.erase(exec->process->id);
  ReplyError(exec->asker, *exec->failed);
  for (const Asker& cancel : exec->cancels) ReplyDone(cancel);
  execs_.erase(exec->asker);
}

// An exec that is still under way has ended: before it ran, and then it never was, or after, and then its
// client is told of the start first. Called while the process is a zombie. True: nothing more is to be done
// for it.
bool Container::ExecEnded(pid_t pid, int) {
  auto known = by_pid_.find(pid);
  if (known == by_pid_.end() || execs_.empty()) return false;
  std::shared_ptr<ExecOperation> exec;
  for (const auto& [asker, candidate] : execs_) {
    if (candidate->process == known->second) exec = candidate;
  }
  if (exec == nullptr) return false;
  if (!exec->failed) ExecReport(exec);
  if (!exec->failed) return false;
  by_pid_.erase(pid);
  ExecFail(exec);
  return true;
}

}  // namespace lc::shim
