// A start: the runtime's create, the host's word where it asked for one, the runtime's start; or all of it
// undone.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "cgroup/layout.h"
#include "core/descriptor_message.h"
#include "core/files.h"
#include "core/process_identity.h"
#include "shim/container.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

// Dead, or with a SIGKILL that it has yet to die of: proc(5), a mask of pending signals.
bool IsKilled(pid_t pid, uint64_t start) {
  if (!IsAlive(pid, start)) return true;
  auto text = ReadFile("/proc/" + std::to_string(pid) + "/status", 16384);
  size_t at = text ? text->find("\nShdPnd:\t") : std::string::npos;
  if (at == std::string::npos) return false;
  uint64_t pending = strtoull(text->c_str() + at + strlen("\nShdPnd:\t"), nullptr, 16);
  return (pending >> (SIGKILL - 1U) & 1U) != 0;
}

// What the runtime left as this subreaper's children when it was killed in the middle of its work.
std::vector<pid_t> Children() {
  std::vector<pid_t> out;
  auto text = ReadFile("/proc/self/task/" + std::to_string(getpid()) + "/children", 1U << 20U);
  if (!text) return out;
  std::string_view rest = *text;
  while (!rest.empty()) {
    size_t space = rest.find(' ');
    if (auto pid = ParseU64(rest.substr(0, space))) out.push_back(static_cast<pid_t>(*pid));
    if (space == std::string_view::npos) break;
    rest.remove_prefix(space + 1);
  }
  return out;
}

}  // namespace

int64_t TimeoutOf(const JsonValue& request) {
  // Added to a clock: beyond a month it is for ever, and no sum of it overflows.
  constexpr int64_t kMonthMs = int64_t{31} * 24 * 3600 * 1000;
  return std::clamp<int64_t>(IntMember(request, "timeoutMs").value_or(kDefaultTimeoutMs), 0, kMonthMs);
}

void Container::Start(const Asker& asker, const JsonValue& request, std::string_view body,
                      std::vector<UniqueFd> fds) {
  auto init = Find("init");
  if (deleting_) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container is being deleted"));
  }
  if (init != nullptr && init->exit) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_EXITED", "the container has run and exited"));
  }
  if (start_ || init != nullptr) {
    return ReplyError(asker,
                      Error::Coded("ERR_PROCESS_EXISTS", "the container is started, or being started"));
  }
  JsonDocument process;
  if (!ParseJson(body, &process) || !process.IsObject()) {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "the process is no JSON object"));
  }
  auto specs = ParseStdio(Member(request, "stdio"), &fds);
  if (!specs) return ReplyError(asker, specs.error());
  const JsonValue* checkpoint = Member(request, "checkpoint");
  std::string name = checkpoint == nullptr ? "" : StringMember(*checkpoint, "name").value_or("");
  if (checkpoint != nullptr && !IsCheckpointName(name)) {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "no checkpoint name: " + name));
  }

  // What a start that was cut off by a crash has left.
  (void)RemoveTreeAt(AT_FDCWD, "init");
  if (mkdir("init", 0711) != 0 || mkdir(kRuntimeFiles, 0700) != 0) {
    Error error = Error::Sys("mkdir", settings_.directory + "/init");
    (void)RemoveTreeAt(AT_FDCWD, "init");
    return ReplyError(asker, error);
  }
  start_ = std::make_unique<StartOperation>();
  start_->asker = asker;
  start_->terminal = BoolMember(process, "terminal").value_or(false);
  start_->wait_created = BoolMember(request, "waitCreated").value_or(false);
  if (checkpoint != nullptr) {
    start_->checkpoint = settings_.bundle + "/checkpoints/" + name;
    start_->restore = CriuOptionsOf(*checkpoint);
  }
  start_->stdio = std::make_unique<ProcessStdio>(loop_, null_device_.get(), std::move(*specs));
  start_->timer = loop_.After(TimeoutOf(request), [this] {
    start_->timer = 0;
    Error error = Error::Coded("ERR_START_TIMEOUT", "the start took longer than its timeout");
    if (!start_->runtime_ran && !start_->stdio->waiting_for().empty()) {
      error = Error::Of(ENXIO, "open", start_->stdio->waiting_for())
                  .With("ERR_START_TIMEOUT", "nobody opened the FIFO for reading");
    }
    StartUndo(std::move(error));
  });
  auto written = WriteNew(kStarting, {});
  auto boot = BootId();
  if (written) written = boot ? WriteNew(kBootId, *boot) : Status(boot.error());
  auto pid_namespace = PidNamespace();
  if (written)
    written = pid_namespace ? WriteNew(kPidNamespace, *pid_namespace) : Status(pid_namespace.error());
  if (written) written = WriteNew("init/process.json", body);
  if (!written) return StartUndo(written.error());
  StartOpenStdio();
}

void Container::StartOpenStdio() {
  start_->retry = 0;
  auto opened = start_->stdio->Open(start_->terminal, "init");
  if (!opened) return StartUndo(opened.error());
  if (!*opened) {
    start_->retry = loop_.After(kFifoRetryMs, [this] { StartOpenStdio(); });
    return;
  }
  if (start_->terminal) {
    StartListenConsole();
  } else {
    StartRunCreate();
  }
}

// The runtime connects and sends the master of the terminal it made in the container.
void Container::StartListenConsole() {
  UniqueFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return StartUndo(Error::Sys("socket"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strncpy(address.sun_path, kConsole, sizeof(address.sun_path) - 1);
  unlink(kConsole);
  mode_t before = umask(0177);
  int bound = bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  umask(before);
  if (bound != 0 || listen(listener.get(), 1) != 0) {
    return StartUndo(Error::Sys("bind", settings_.directory + "/" + kConsole));
  }
  start_->console_listener = std::move(listener);
  (void)loop_.Watch(start_->console_listener.get(), EPOLLIN, [this](uint32_t) {
    UniqueFd connection(accept4(start_->console_listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) return;
    loop_.Unwatch(start_->console_listener.get());
    start_->console_listener.Reset();
    start_->console_connection = std::move(connection);
    (void)loop_.Watch(start_->console_connection.get(), EPOLLIN, [this](uint32_t) {
      start_->console = ReceiveDescriptor(start_->console_connection.get());
      loop_.Unwatch(start_->console_connection.get());
      start_->console_connection.Reset();
    });
  });
  StartRunCreate();
}

void Container::StartRunCreate() {
  std::vector<std::string> args = {"--bundle", settings_.bundle, "--pid-file",
                                   settings_.directory + "/" + kRuntimePid};
  if (start_->restores()) RestoreAddArguments(&args);
  if (settings_.no_pivot_root) args.emplace_back("--no-pivot");
  if (start_->terminal) {
    std::string path = settings_.directory + "/" + kConsole;
    // sun_path ends at 107 bytes; the working directory is the same place by a short name.
    if (path.size() > 100) path = "/proc/" + std::to_string(getpid()) + "/cwd/" + kConsole;
    args.emplace_back("--console-socket");
    args.push_back(std::move(path));
  }
  // An id may begin with '-'.
  args.insert(args.end(), {"--", settings_.id});
  int fds[3] = {-1, -1, -1};
  if (!start_->terminal) {
    for (int i = 0; i < 3; ++i) fds[i] = start_->stdio->child(i);
  }
  // Of what another hand made with the same runtime and id nothing is to be undone: create will refuse.
  if (!RuntimeKnowsId()) {
    auto written = WriteWholeAt(AT_FDCWD, kOwnRecord, AbsentCgroups());
    if (!written) return StartUndo(written.error());
  }
  auto run = start_->restores()
                 ? RestoreRun(args, fds)
                 : RunRuntime("create", args, fds, [this](int status) { StartCreated(status); });
  if (!run) return StartUndo(run.error());
  start_->runtime_ran = true;
}

void Container::StartCreated(int status) {
  if (start_->undoing) return StartUndoDelete();
  if (status != 0 && start_->restores()) return RestoreFailed(status);
  if (status != 0) {
    std::string log = last_run_->Log();
    return StartUndo(last_run_->FailureOf(status, log), log);
  }
  start_->created = true;
  auto text = ReadFile(kRuntimePid, 64);
  uint64_t pid = text ? ParseU64(TrimEnd(*text)).value_or(0) : 0;
  unlink(kRuntimePid);
  if (pid == 0 || pid > INT32_MAX) {
    return StartUndo(
        Error::Coded("ERR_RUNTIME", "the runtime succeeded without leaving a pid", settings_.runtime));
  }
  auto start = StartOfInit(static_cast<pid_t>(pid));
  if (!start) return StartUndo(start.error());
  auto init = std::make_shared<Process>();
  init->id = "init";
  init->pid = static_cast<pid_t>(pid);
  init->start = *start;
  init->started = true;
  init->stdio = std::move(start_->stdio);
  TellLess(init);
  processes_["init"] = init;
  by_pid_[init->pid] = init;
  auto written = WriteIdentity(*init);
  if (!written) return StartUndo(written.error());
  auto target = EnsureTarget();
  if (!target) return StartUndo(target.error());
  if (start_->restores()) {
    auto placed = RestoreCheckCgroup(init->pid);
    if (!placed) return StartUndo(placed.error());
  } else if (settings_.subgroups) {
    auto made = target_->MakeSubgroups();
    if (!made) return StartUndo(made.error());
  }
  init->oom_kills_before = OomKillsSoFar();
  if (start_->terminal) {
    if (!start_->console && start_->console_connection) {
      start_->console = ReceiveDescriptor(start_->console_connection.get());
    } else if (!start_->console && start_->console_listener) {
      UniqueFd connection(accept4(start_->console_listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection) start_->console = ReceiveDescriptor(connection.get());
    }
    if (!start_->console) return StartUndo(Error::Coded("ERR_RUNTIME", "the runtime sent no terminal"));
  }
  auto begun = init->stdio->Begin(std::move(start_->console), "init");
  if (!begun) return StartUndo(begun.error());
  // To nobody else: who lost the race for this start has a hook of their own.
  clients_.Send(start_->asker.client, Message()
                                          .Add("event", "created")
                                          .Add("start", start_->asker.seq)
                                          .Add("pid", static_cast<int64_t>(init->pid))
                                          .Add("starttime", init->start)
                                          .Done());
  if (start_->restores()) return StartFinished(0);  // it runs already
  if (!start_->wait_created) StartRunStart();
}

// The pid file alone proves nothing. Init is this subreaper's child, which nobody else has reaped, so that
// its pid is its own; and the runtime's record is about it.
Result<uint64_t> Container::StartOfInit(pid_t pid) const {
  auto stat = ReadProcStat(pid);
  if (!stat && IsShortage(stat.error())) return stat.error();
  if (!stat || orphans_.contains(pid)) {
    return Error::Coded("ERR_RUNTIME", "the container's init ended before it was started");
  }
  auto record = LoadRuntimeRecord(RuntimeRoots(settings_.runtime, settings_.runtime_args), settings_.id);
  if (!record && record.error().err != ENOENT) return record.error();
  bool recorded =
      record && record->init_pid == pid && (record->init_start == 0 || record->init_start == stat->start);
  if (recorded && stat->parent == getpid()) return stat->start;
  return Error::Coded("ERR_RUNTIME",
                      "process " + std::to_string(pid) + ", which the runtime's pid file names, is not " +
                          (recorded ? "a child of the runtime's" : "the one of the runtime's record"),
                      settings_.runtime);
}

void Container::StartProceed() {
  if (!start_ || start_->undoing || !start_->wait_created || !start_->created) return;
  start_->wait_created = false;
  // The runtime's start may still find one that was killed, let it go on, and call that a success.
  auto init = Find("init");
  if (init->exit || IsKilled(init->pid, init->start))
    return StartUndo(Error::Coded("ERR_RUNTIME", "the container's init ended before it was started"));
  StartRunStart();
}

void Container::StartRunStart() {
  const int fds[3] = {-1, -1, -1};
  auto run = RunRuntime("start", {"--", settings_.id}, fds, [this](int status) { StartFinished(status); });
  if (!run) StartUndo(run.error());
}

void Container::StartFinished(int status) {
  if (start_->undoing) return StartUndoDelete();
  if (status != 0) {
    std::string log = last_run_->Log();
    return StartUndo(last_run_->FailureOf(status, log), log);
  }
  auto init = Find("init");
  unlink(kOwnRecord);
  unlink(kStarting);
  rmdir(kRuntimeFiles);
  unlink(LogPath().c_str());
  unlink(kConsole);
  if (start_->timer != 0) loop_.Cancel(start_->timer);
  clients_.Send(start_->asker.client, Message()
                                          .Add("seq", start_->asker.seq)
                                          .Begin("result")
                                          .Add("pid", static_cast<int64_t>(init->pid))
                                          .Add("starttime", init->start)
                                          .End()
                                          .Done());
  clients_.Broadcast(Message().Add("event", "started").Add("process", "init").Done());
  start_.reset();
  orphans_.clear();
}

void Container::StartUndo(Error error, std::string log) {
  if (start_->undoing) return;
  start_->undoing = true;
  start_->error = std::move(error);
  start_->log = std::move(log);
  if (start_->timer != 0) loop_.Cancel(start_->timer);
  if (start_->retry != 0) loop_.Cancel(start_->retry);
  start_->timer = start_->retry = 0;
  start_->answer = loop_.After(kUndoAnswerMs, [this] {
    start_->answer = 0;
    start_->error.text += "; what the start has left does not end by SIGKILL yet and is removed later";
    StartAnswer();
  });
  if (runs_.empty()) return StartUndoDelete();
  // Its end comes back here, through its `done`. A create that is killed half-way leaves cgroups that the
  // runtime's delete does not know of: it is given the time to come to its end.
  auto kill_all = [this] {
    if (!start_ || !start_->undoing) return;
    start_->timer = 0;
    for (auto& [pid, flight] : runs_) flight.run.KillAll();
  };
  if (start_->created) return kill_all();
  start_->timer = loop_.After(kCreateGraceMs, kill_all);
}

bool Container::RuntimeKnowsId() const {
  for (const std::string& root : RuntimeRoots(settings_.runtime, settings_.runtime_args)) {
    if (access((root + "/" + settings_.id).c_str(), F_OK) == 0) return true;
  }
  return false;
}

// Of the cgroups that the runtime is likely to make, those that are not there yet: only such a one may be
// removed again. A NUL byte ends each.
std::string Container::AbsentCgroups() const {
  std::string out;
  for (const std::string& directory : LikelyCgroups().directories) {
    if (access(directory.c_str(), F_OK) != 0) out.append(directory).push_back('\0');
  }
  return out;
}

LeftCgroups Container::MadeCgroups() const {
  LeftCgroups out;
  auto text = ReadFile(kOwnRecord);
  if (!text) return out;
  std::string_view rest = *text;
  for (size_t end = rest.find('\0'); end != std::string_view::npos; end = rest.find('\0')) {
    out.directories.emplace_back(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
  return out;
}

bool Container::IsOurs(const RuntimeRecord& record) const {
  auto init = Find("init");
  if (init == nullptr || init->pid <= 0) return access(kOwnRecord, F_OK) == 0;
  bool timed = record.init_start != 0 && init->start != 0;
  return record.init_pid == init->pid && (!timed || record.init_start == init->start);
}

// What the start that is being undone has the runtime delete: nothing where the id belongs to another hand's
// container, be it older or of one that was quicker.
bool Container::StartOwnsRecord() const {
  if (Find("init")) return true;
  if (access(kOwnRecord, F_OK) != 0) return false;
  if (start_->cut_off) return true;
  auto record = LoadRuntimeRecord(RuntimeRoots(settings_.runtime, settings_.runtime_args), settings_.id);
  if (!record) return true;
  // An init of ours has become this subreaper's child.
  auto stat = ReadProcStat(record->init_pid);
  return !stat || !stat->alive() || stat->start != record->init_start || stat->parent == getpid();
}

void Container::StartUndoDelete() {
  if (start_->timer != 0) loop_.Cancel(start_->timer);
  start_->timer = 0;
  auto init = Find("init");
  for (pid_t child : Children()) {
    auto known = by_pid_.find(child);
    if (known == by_pid_.end() || known->second == init) kill(child, SIGKILL);
  }
  if (init && !init->exit) (void)SignalProcess(init->pid, init->start, SIGKILL);
  if (start_->runtime_ran && !StartOwnsRecord()) {
    start_->runtime_ran = false;
    unlink(kOwnRecord);
  }
  if (!start_->runtime_ran) return StartUndoDone();
  auto done = [this, made = MadeCgroups()] { ClearCgroups(made, kCgroupTries, [this] { StartUndoDone(); }); };
  const int fds[3] = {-1, -1, -1};
  auto timer = std::make_shared<EventLoop::TimerId>(0);
  auto run = RunRuntime("delete", {"--force", "--", settings_.id}, fds, [this, timer, done](int) {
    loop_.Cancel(*timer);
    done();
  });
  if (!run) return done();
  // A runtime that hangs in delete too is not waited for without end.
  *timer = loop_.After(kUndoTimeoutMs, [this] {
    for (auto& [pid, flight] : runs_) flight.run.KillAll();
  });
}

// Whoever waits for the undo. Until it is over the container is one that is being started.
void Container::StartAnswer() {
  if (start_->asker.client != 0) ReplyError(start_->asker, start_->error, start_->log);
  for (const Asker& cancel : start_->cancels) ReplyDone(cancel);
  start_->asker = {};
  start_->cancels.clear();
}

void Container::StartUndoDone() {
  if (start_->answer != 0) loop_.Cancel(start_->answer);
  std::unique_ptr<StartOperation> done = std::move(start_);
  if (done->timer != 0) loop_.Cancel(done->timer);
  if (!RuntimeKnowsId()) unlink(kOwnRecord);
  if (done->console_listener) loop_.Unwatch(done->console_listener.get());
  if (done->console_connection) loop_.Unwatch(done->console_connection.get());
  unlink(kConsole);
  unlink(LogPath().c_str());
  if (auto init = Find("init")) {
    by_pid_.erase(init->pid);
    adopted_.erase(init->pid);
    if (init->adopted) loop_.Unwatch(init->adopted.get());
    processes_.erase("init");
  }
  target_.reset();
  orphans_.clear();
  (void)RemoveTreeAt(AT_FDCWD, "init");
  ReplyError(done->asker, done->error, done->log);
  for (const Asker& cancel : done->cancels) ReplyDone(cancel);
  for (auto& work : done->after_undo) work();
  loop_.Defer([this] { LeaveIfIdle(); });
}

}  // namespace lc::shim
