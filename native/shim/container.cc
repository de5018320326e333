// The one container of this shim: the registry of its processes, what ends, and the small verbs.
#include "shim/container.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "core/files.h"
#include "core/process_identity.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

constexpr int64_t kRecordRetryMs = 500;
// A page of the list of processes. Far below what a frame may hold: there may be any number of them.
constexpr size_t kPageBytes = 256U << 10U;
constexpr size_t kMaxCancelBytes = 256;
constexpr uint64_t kBytesPerKib = 1024;
constexpr int64_t kLeavingMs = 50;

struct Cancelled {
  int64_t seq;
  size_t at;  // place of the frame that says so
};

// Requests that are cancelled by a frame of the same read. A shim that was stopped finds many a request whose
// caller has given up.
std::vector<Cancelled> CancelledIn(const std::vector<Frame>& frames) {
  constexpr size_t kMost = 64;  // each is compared with each request; what is above is cancelled once begun
  std::vector<Cancelled> out;
  for (size_t i = 1; i < frames.size() && out.size() < kMost; ++i) {
    const std::string& text = frames[i].payload;
    if (text.size() > kMaxCancelBytes || text.find("\"cancel\"") == std::string::npos) continue;
    JsonDocument request;
    if (ParseJson(text, &request) && StringMember(request, "op") == "cancel")
      out.push_back({IntMember(request, "target").value_or(-1), i});
  }
  return out;
}

bool IsCancelled(const std::vector<Cancelled>& cancelled, int64_t seq, size_t at) {
  return std::any_of(cancelled.begin(), cancelled.end(),
                     [&](const Cancelled& one) { return one.seq == seq && one.at > at; });
}

void AddUsage(Message* message, const Care& care) {
  const Usage& usage = care.usage;
  message->Begin("usage").Add("durationUsec", usage.duration_usec).Add("maxRssBytes", usage.max_rss_bytes);
  if (usage.cgroup.cpu_usec) message->Add("cpuUsec", *usage.cgroup.cpu_usec);
  if (usage.cgroup.memory_peak_bytes) message->Add("memoryPeakBytes", *usage.cgroup.memory_peak_bytes);
  if (care.cause == EndCause::kAsked) message->Add("aborted", true);
  if (usage.left) message->Add("left", true);
  message->End();
}

}  // namespace
Container::Container(EventLoop& loop, Clients& clients, Settings settings, UniqueFd null_device)
    : loop_(loop), clients_(clients), settings_(std::move(settings)), null_device_(std::move(null_device)) {
  oom_log_.Open();
}

Container::~Container() = default;

void Container::ReplyError(const Asker& asker, const Error& error, std::string_view runtime_log) {
  clients_.Send(asker.client, Message().Add("seq", asker.seq).AddError(error, runtime_log).Done());
}

void Container::ReplyDone(const Asker& asker) {
  clients_.Send(asker.client, Message().Add("seq", asker.seq).Begin("result").End().Done());
}

std::shared_ptr<Process> Container::Find(const std::string& id) const {
  auto it = processes_.find(id);
  return it == processes_.end() ? nullptr : it->second;
}

bool Container::InitRuns() const {
  auto init = Find("init");
  return init != nullptr && init->pid > 0 && !init->exit;
}

std::string Container::Hello() const {
  Message message;
  message.Add("event", "hello").Add("pid", static_cast<int64_t>(getpid()));
  // Clients of another one cannot make use of pids.
  if (auto pid_namespace = PidNamespace()) message.Add("pidNamespace", *pid_namespace);
  AddProcesses(&message, {});
  return message.Done();
}

// Those whose ids come after `after`, as many as a page holds.
void Container::AddProcesses(Message* message, const std::string& after) const {
  auto it = processes_.upper_bound(after);
  message->BeginArray("processes");
  for (; it != processes_.end() && message->size() < kPageBytes; ++it) {
    const Process& process = *it->second;
    if (!process.started && !process.exit) continue;
    message->BeginItem()
        .Add("id", process.id)
        .Add("pid", static_cast<int64_t>(process.pid))
        .Add("starttime", process.start);
    if (process.care && process.care->tree && !process.care->tree->removed())
      message->Add("cgroup", process.care->spec.cgroup);
    if (process.exit) {
      message->Begin("exit");
      AddExit(message, *process.exit);
      message->End();
    }
    message->End();
  }
  message->EndArray();
  if (it != processes_.end()) message->Add("more", true);
}

void Container::List(const Asker& asker, const std::string& after) {
  Message message;
  message.Add("seq", asker.seq).Begin("result");
  AddProcesses(&message, after);
  clients_.Send(asker.client, message.End().Done());
}

Status Container::WriteIdentity(const Process& process) {
  auto pid = WriteWholeAt(AT_FDCWD, process.id + "/pid", std::to_string(process.pid));
  if (!pid) return pid;
  return WriteWholeAt(AT_FDCWD, process.id + "/starttime", std::to_string(process.start));
}

Status Container::EnsureTarget() {
  if (target_) return Ok();
  auto init = Find("init");
  auto target = Target::Open(settings_, init->pid, init->start);
  if (!target) return target.error();
  target_ = std::move(*target);
  oom_kills_ = OomKillsSoFar().value_or(0);
  return Ok();
}

void Container::OnChildSignal() {
  for (;;) {
    siginfo_t info{};
    // Left waitable for a moment: while it is, its pid is nobody else's.
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) break;
    int status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
    ExecClaim(info.si_pid);
    bool handled = ExecJoinerEnded(info.si_pid) || ExecEnded(info.si_pid, status);
    int ignored = 0;
    rusage usage{};
    wait4(info.si_pid, &ignored, 0, &usage);
    lingering_.erase(info.si_pid);
    if (!handled) Reap(info.si_pid, status, static_cast<uint64_t>(usage.ru_maxrss) * kBytesPerKib);
  }
  LeaveIfIdle();
}

void Container::Reap(pid_t pid, int status, uint64_t max_rss_bytes) {
  auto run = runs_.find(pid);
  if (run != runs_.end()) {
    RunInFlight ended = std::move(run->second);
    runs_.erase(run);
    last_run_ = std::move(ended.run);
    unlink(kRun);
    // A failure's log goes with its error.
    std::string log = status == 0 ? last_run_->Log() : std::string();
    if (!log.empty()) {
      clients_.Broadcast(
          Message().Add("event", "runtimeLog").Add("command", last_run_->name).Add("log", log).Done());
    }
    ended.done(status);
    return;
  }
  auto known = by_pid_.find(pid);
  if (known != by_pid_.end()) {
    auto process = known->second;
    // Until it is dealt with the kernel's log is searched for it by its pid.
    ProcessEnded(process, ExitRecord::FromWait(status), max_rss_bytes);
    by_pid_.erase(pid);
    return;
  }
  if (start_) orphans_[pid] = status;
}

void Container::ProcessEnded(const std::shared_ptr<Process>& process, ExitRecord exit,
                             uint64_t max_rss_bytes) {
  if (Find(process->id) != process) return;  // its start was undone meanwhile
  exit.oom_killed = exit.signal == SIGKILL && WasOomKilled(*process);
  if (process->oom_kills_before) {
    const auto now = OomKillsSoFar();
    if (now) exit.container_oom_kills = *now - std::min(*now, *process->oom_kills_before);
  }
  if (!caretaker_.Exited(process, &exit, max_rss_bytes)) TellExit(process, exit);
}

void Container::TellExit(const std::shared_ptr<Process>& process, const ExitRecord& exit) {
  process->exit = exit;
  ProcessStdio::Written written;
  if (process->stdio) written = process->stdio->ProcessExited();
  // Whole on disk before anyone is told.
  if (!deleting_ && !process->anonymous()) RecordExit(process);
  Message message;
  message.Add("event", "exit")
      .Add("process", process->id)
      .Add("pid", static_cast<int64_t>(process->pid))
      .Add("terminalBytes", written.terminal);
  if (written.kept[1] > 0) message.Add("stdoutBytes", written.kept[1]);
  if (written.kept[2] > 0) message.Add("stderrBytes", written.kept[2]);
  message.Begin("exit");
  AddExit(&message, exit);
  message.End();
  if (process->care && process->care->spec.sweep) AddUsage(&message, *process->care);
  clients_.Broadcast(message.Done());
  if (process->id == "init" && deleting_) loop_.Defer([this] { DeleteKill(); });
  if (process->id == "init") CheckpointInitEnded();
  if (process->unwanted) loop_.Defer([this, process] { ExecTakeBack(process->started_by, process->id); });
  if (process->anonymous()) Forget(process);
}

// Nothing of an anonymous process stays.
void Container::Forget(const std::shared_ptr<Process>& process) {
  processes_.erase(process->id);
  // Once everybody has been told.
  loop_.After(0, [this, id = process->id] { (void)records_.Remove(id); });
  if (!process->stdio || process->stdio->idle()) return;
  leaving_.push_back(process);
  if (leaving_.size() == 1) loop_.After(kLeavingMs, [this] { DropLeaving(); });
}

void Container::DropLeaving() {
  std::erase_if(leaving_, [](const auto& process) { return process->stdio->idle(); });
  if (leaving_.empty()) return LeaveIfIdle();
  loop_.After(kLeavingMs, [this] { DropLeaving(); });
}

bool Container::ReadOomLog() {
  return oom_log_.Read([this](pid_t victim) {
    for (const auto* known : {&by_pid_, &adopted_}) {
      auto it = known->find(victim);
      if (it != known->end() && !it->second->exit) it->second->oom_killed = true;
    }
  });
}

// The kernel counts, kills, and then writes its log: a process may be gone before its line is there. Where
// the counter says that somebody was killed the line is waited for, a moment: not longer than an exit may be
// late.
bool Container::WasOomKilled(const Process& process) {
  constexpr int kLooks = 20;
  constexpr useconds_t kBetweenUsec = 100;
  uint64_t kills = OomKillsSoFar().value_or(0);
  bool counted = kills > oom_kills_;
  if (!oom_log_.usable()) {
    // The counter does not say whom. One kill is taken for the end of one process.
    if (counted) ++oom_kills_;
    return counted;
  }
  oom_kills_ = std::max(kills, oom_kills_);
  bool whole = ReadOomLog();
  for (int look = 1; counted && !process.oom_killed && look < kLooks; ++look) {
    usleep(kBetweenUsec);
    whole = ReadOomLog() && whole;
  }
  return process.oom_killed || (!whole && counted);
}

// When the disk is full the clients hear the truth all the same, and this shim stays until it is written.
void Container::RecordExit(const std::shared_ptr<Process>& process) {
  auto written = WriteExit(process->id, *process->exit);
  if (written || written.error().err == ENOENT) return;
  ++unrecorded_;
  loop_.After(kRecordRetryMs, [this, process] {
    --unrecorded_;
    if (Find(process->id) == process && !deleting_) RecordExit(process);
    LeaveIfIdle();
  });
}

void Container::LeaveIfIdle() {
  if (finished_ || unrecorded_ > 0 || ready_ || start_ || deleting_ || looks_ > 0 || !execs_.empty() ||
      !runs_.empty() || !checkpoints_.empty() || clients_.count() > 0 || !lingering_.empty() || InitRuns() ||
      !caretaker_.idle() || !leaving_.empty())
    return;
  for (const auto& [id, process] : processes_) {
    if (!process->exit) return;
    if (process->stdio && !process->stdio->idle()) {
      // A terminal's last words still have a reader; looked at again when that copying ends.
      loop_.After(50, [this] { LeaveIfIdle(); });
      return;
    }
  }
  finished_ = true;
  loop_.Stop();
}

void Container::ClientGone(ClientId client, bool broken) {
  if (start_ && start_->asker.client == client && start_->wait_created) {
    // Whoever was to say "go on" is gone.
    StartUndo(Error::Coded("ERR_SHIM_EXITED", "the program that asked for the start ended"));
  }
  if (settings_.ephemeral && client == owner_) OwnerLost(broken);
  BoundClientGone(client, broken);
  loop_.Defer([this] { LeaveIfIdle(); });
}

// A connection that ends is the program's end, or the handle's. One that this shim has let go says nothing of
// them: the program's end is seen by its pidfd, and where there is none it is given time to connect again.
void Container::OwnerLost(bool broken) {
  owner_ = 0;
  if (!broken) return Teardown();
  if (owner_pidfd_) return;
  loop_.After(kOwnerGraceMs, [this] {
    if (owner_ == 0) Teardown();
  });
}

Status Container::RunRuntime(const std::string& name, const std::vector<std::string>& args, const int fds[3],
                             RunDone done) {
  std::vector<std::string> words = settings_.runtime_args;
  words.insert(words.end(), {"--log", LogPath(), "--log-format", "json", name});
  words.insert(words.end(), args.begin(), args.end());
  RuntimeCommand command;
  command.runtime = settings_.runtime;
  command.args = std::move(words);
  command.name = name;
  command.log_path = LogPath();
  std::copy(fds, fds + 3, command.fds);
  command.null_device = null_device_.get();
  command.umask = settings_.umask;
  command.record = kRun;
  auto run = RuntimeRun::Start(command, &bounding_);
  if (!run) return run.error();
  pid_t pid = run->pid;
  runs_[pid] = RunInFlight{std::move(*run), std::move(done)};
  return Ok();
}

void Container::HandleAll(ClientId client, std::vector<Frame> frames) {
  const std::vector<Cancelled> cancelled = CancelledIn(frames);
  for (size_t i = 0; i < frames.size() && !finished_; ++i) {
    // A frame is the request's JSON, then, after a NUL byte, whatever is to be stored as it stands.
    const std::string_view payload = frames[i].payload;
    size_t nul = payload.find('\0');
    std::string_view body = nul == std::string_view::npos ? std::string_view() : payload.substr(nul + 1);
    JsonDocument request;
    if (!ParseJson(payload.substr(0, nul), &request) || !request.IsObject()) {
      ReplyError({client, 0}, Error::Coded("ERR_INVALID_ARG_VALUE", "the request is no JSON object"));
      continue;
    }
    Asker asker{client, IntMember(request, "seq").value_or(0)};
    if (IsCancelled(cancelled, asker.seq, i)) {
      ReplyError(asker, Error::Coded("ABORTED", "aborted"));
    } else if (frames[i].cut_off) {
      Error error = Error::Of(EMFILE, "recvmsg");
      error.text = "the shim has no descriptor left for those of the request";
      ReplyError(asker, error);
    } else {
      Handle(asker, request, body, std::move(frames[i].fds));
    }
  }
}

void Container::Handle(const Asker& asker, const JsonValue& request, std::string_view body,
                       std::vector<UniqueFd> fds) {
  const ClientId client = asker.client;
  std::string op = StringMember(request, "op").value_or("");
  if (execs_.contains(asker) || (start_ && start_->asker == asker)) {
    ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "a request of that number is under way"));
    return;
  }
  if (op == "own") {
    Own(asker, StringMember(request, "process").value_or(""));
  } else if (op == "start") {
    Start(asker, request, body, std::move(fds));
  } else if (op == "proceed") {
    if (start_ && start_->asker.client == client) StartProceed();
  } else if (op == "exec") {
    Exec(asker, request, body, std::move(fds));
  } else if (op == "checkpoint") {
    Checkpoint(asker, request, body);
  } else if (op == "cancel") {
    Cancel(asker, request);
  } else if (op == "ping") {
    ReplyDone(asker);
  } else if (op == "list") {
    List(asker, StringMember(request, "after").value_or(""));
  } else if (op == "resize") {
    Resize(asker, request);
  } else if (op == "closeStdin") {
    CloseStdin(asker, StringMember(request, "process").value_or(""));
  } else if (op == "follow") {
    Follow(asker, request, std::move(fds));
  } else if (op == "end") {
    EndProcess(asker, StringMember(request, "process").value_or(""));
  } else if (op == "signal") {
    SignalTree(asker, request);
  } else if (op == "empty") {
    AwaitEmpty(asker, StringMember(request, "process").value_or(""));
  } else if (op == "remove") {
    Remove(asker, StringMember(request, "process").value_or(""));
  } else if (op == "delete") {
    Delete(asker, BoolMember(request, "force").value_or(false));
  } else {
    ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "unknown request: " + op));
  }
}

void Container::Remove(const Asker& asker, const std::string& id) {
  auto process = Find(id);
  if (process == nullptr) {
    ReplyError(asker, Error::Coded("ERR_PROCESS_NOT_FOUND", "no such process"));
    return;
  }
  if (!process->exit) {
    ReplyError(asker, Error::Coded("ERR_CONTAINER_NOT_STOPPED", "process '" + id + "' still runs"));
    return;
  }
  auto removed = records_.Remove(id);
  if (!removed) {
    ReplyError(asker, removed.error());
    return;
  }
  processes_.erase(id);
  ReplyDone(asker);
}

void Container::Resize(const Asker& asker, const JsonValue& request) {
  auto process = Find(StringMember(request, "process").value_or(""));
  if (process == nullptr || process->exit) {
    ReplyError(asker, Error::Coded("ERR_PROCESS_EXITED", "the process has exited"));
    return;
  }
  auto rows = UintMember(request, "rows").value_or(UINT64_MAX);
  auto columns = UintMember(request, "columns").value_or(UINT64_MAX);
  if (rows > UINT16_MAX || columns > UINT16_MAX) {
    ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "rows and columns are from 0 to 65535"));
    return;
  }
  Status status = process->stdio
                      ? process->stdio->Resize(static_cast<uint16_t>(rows), static_cast<uint16_t>(columns))
                      : Error::Coded("ERR_NOT_A_TERMINAL", "this shim does not hold the process's terminal");
  if (status) {
    ReplyDone(asker);
  } else {
    ReplyError(asker, status.error());
  }
}

void Container::CloseStdin(const Asker& asker, const std::string& id) {
  auto process = Find(id);
  if (process != nullptr && process->stdio && !process->exit) process->stdio->CloseStdin();
  ReplyDone(asker);
}

void Container::TellLess(const std::shared_ptr<Process>& process) {
  process->stdio->set_on_less([this, id = process->id](int stream, uint64_t written) {
    clients_.Broadcast(Message()
                           .Add("event", "written")
                           .Add("process", id)
                           .Add(stream == 1 ? "stdoutBytes" : "stderrBytes", written)
                           .Done());
  });
}

// What is kept of a stream, also of a process that an earlier shim saw end.
void Container::Follow(const Asker& asker, const JsonValue& request, std::vector<UniqueFd> fds) {
  auto process = Find(StringMember(request, "process").value_or(""));
  auto stream = IntMember(request, "stream").value_or(0);
  if (process == nullptr) {
    return ReplyError(asker, Error::Coded("ERR_PROCESS_NOT_FOUND", "no such process"));
  }
  if ((stream != 1 && stream != 2) || fds.size() != 1) {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "a stream and a descriptor are needed"));
  }
  PipeUsers users([this] { return Members(); });
  if (!process->stdio) {
    auto stdio = ProcessStdio::TakeOver(loop_, process->id, &users, process->pid);
    if (!stdio) return ReplyError(asker, stdio.error());
    process->stdio = std::move(*stdio);
    TellLess(process);
  }
  auto following = process->stdio->Follow(static_cast<int>(stream), UintMember(request, "at").value_or(0),
                                          std::move(fds[0]), process->id, &users, process->pid);
  if (!following) return ReplyError(asker, following.error());
  clients_.Send(asker.client, Message()
                                  .Add("seq", asker.seq)
                                  .Begin("result")
                                  .Add("from", following->from)
                                  .Add("ended", following->ended)
                                  .End()
                                  .Done());
}

// Undoes what a request of the same client has done so far, and answers both. With `undo` its caller has been
// told that it failed: an exec that has come to run meanwhile is ended and removed.
void Container::Cancel(const Asker& asker, const JsonValue& request) {
  Asker original{asker.client, IntMember(request, "target").value_or(-1)};
  Error aborted = Error::Coded("ABORTED", "aborted");
  if (start_ && start_->asker == original) {
    start_->cancels.push_back(asker);
    StartUndo(std::move(aborted));
    return;
  }
  auto exec = execs_.find(original);
  if (exec != execs_.end()) {
    exec->second->cancels.push_back(asker);
    ExecUndo(exec->second, std::move(aborted));
    return;
  }
  if (BoolMember(request, "undo").value_or(false))
    ExecTakeBack(original, StringMember(request, "process").value_or(""));
  ReplyDone(asker);
}

}  // namespace lc::shim
