// What a shim finds that takes over from another one, or that begins after a boot: processes that are not its
// children, and whatever the other one was in the middle of. That is finished or undone before a client is
// heard.
#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "core/files.h"
#include "core/process_identity.h"
#include "shim/container.h"
#include "shim/operations.h"
#include "shim/pidfd_exit.h"
#include "state/state_directory.h"

namespace lc::shim {
namespace {

constexpr int64_t kPollMs = 20;
constexpr int64_t kReapWaitMs = 10000;
constexpr int64_t kAdoptRetryMs = 100;

std::string NamespaceOf(const std::string& process) {
  char link[64];
  ssize_t n = readlink(("/proc/" + process + "/ns/pid").c_str(), link, sizeof(link));
  return n > 0 ? std::string(link, static_cast<size_t>(n)) : std::string();
}

struct Run {
  pid_t pid;
  uint64_t start;
};

// The run of the runtime that an earlier shim began and recorded, and what is left of its session. While the
// leader runs, everybody in the session is known to come of it. Afterwards its number may be another
// session's by now, and who is in it must have this container's log among its arguments, too: a runtime
// behind a script. crun's init keeps those until it executes the user's program, but is in a namespace of its
// own or is `init`.
Result<std::vector<Run>> RunsOf(const std::string& log_path, pid_t init) {
  std::vector<Run> out;
  auto elsewhere = IsOfEarlierBoot(AT_FDCWD);
  if (!elsewhere) return elsewhere.error();
  if (*elsewhere) return out;
  auto recorded = ReadFile(kRun, 64);
  if (!recorded && IsShortage(recorded.error())) return recorded.error();
  if (!recorded) return out;
  size_t space = recorded->find(' ');
  if (space == std::string::npos) return out;
  auto number = ParseU64(std::string_view(*recorded).substr(0, space));
  auto began = ParseU64(std::string_view(*recorded).substr(space + 1));
  if (!number || !began || *number == 0 || *number > INT32_MAX) return out;
  const auto leader = static_cast<pid_t>(*number);
  const bool leads = IsAlive(leader, *began);
  if (leads) out.push_back({leader, *began});
  std::optional<Error> failed;
  DIR* scan = opendir("/proc");
  if (scan == nullptr) return Error::Sys("opendir", "/proc");
  std::string needle = '\0' + log_path + '\0';
  std::string own = NamespaceOf("self");
  while (dirent* entry = readdir(scan)) {
    auto pid = ParseU64(entry->d_name);
    if (!pid || *pid > INT32_MAX) continue;
    auto member = static_cast<pid_t>(*pid);
    if (member == init || member == leader || getsid(member) != leader) continue;
    auto stat = ReadProcStat(member);
    if (!stat && IsShortage(stat.error())) failed = stat.error();
    if (!stat || !stat->alive()) continue;
    if (!leads) {
      auto words = ReadFile("/proc/" + std::string(entry->d_name) + "/cmdline", 1U << 20U);
      if (!words && IsShortage(words.error())) failed = words.error();
      if (!words || words->find(needle) == std::string::npos || NamespaceOf(entry->d_name) != own) continue;
    }
    out.push_back({member, stat->start});
  }
  closedir(scan);
  if (failed) return *failed;
  return out;
}

}  // namespace

void Container::TakeOver(std::function<void()> ready, std::function<void(const Error&)> refuse) {
  ready_ = std::move(ready);
  refuse_ = std::move(refuse);
  auto starting = HasMark(AT_FDCWD, kStarting);
  if (!starting) return refuse_(starting.error());
  auto deleting = HasMark(AT_FDCWD, kDeleting);
  if (!deleting) return refuse_(deleting.error());
  auto dumping = HasMark(AT_FDCWD, kDumping);
  if (!dumping) return refuse_(dumping.error());
  auto restoring = HasMark(AT_FDCWD, kRestoring);
  if (!restoring) return refuse_(restoring.error());
  teardown_ = *deleting;
  auto watching = WatchOwner();
  if (!watching) return refuse_(watching.error());
  auto loaded = LoadProcesses();
  if (!loaded) return refuse_(loaded.error());
  if (!*starting && !teardown_ && !*dumping) return Ready();
  // A create or delete that goes on without its shim would undo what is done here.
  bool criu = *dumping || *restoring;
  AwaitRuntime(criu ? kDumpGraceMs : kCreateGraceMs, [this, starting = *starting, dumping = *dumping] {
    if (dumping) SettleCheckpoint();
    if (starting) return SettleStart();
    Ready();
  });
}

// All that was begun is done with. A delete is the last of it, and most often the end of this shim.
void Container::Ready() {
  if (!ready_) return;
  // Of a run that its shim did not see end.
  unlink(kRun);
  unlink(LogPath().c_str());
  unlink(kConsole);
  if (teardown_) {
    teardown_ = false;
    return Teardown();
  }
  auto ready = std::move(ready_);
  ready_ = nullptr;
  ready();
}

// Processes that may have a pipe of a container's: those of init's pid namespace, or, without one of its own,
// all. None once init is gone: what has its number by now is nobody of ours.
std::vector<pid_t> Container::Members() const {
  std::vector<pid_t> out;
  auto init = Find("init");
  if (!InitRuns() || !IsAlive(init->pid, init->start)) return out;
  std::string own = NamespaceOf("self");
  std::string inner = NamespaceOf(std::to_string(init->pid));
  DIR* scan = opendir("/proc");
  if (scan == nullptr) return out;
  while (dirent* entry = readdir(scan)) {
    auto pid = ParseU64(entry->d_name);
    if (!pid || *pid > INT32_MAX) continue;
    if (inner == own || NamespaceOf(entry->d_name) == inner) out.push_back(static_cast<pid_t>(*pid));
  }
  closedir(scan);
  return out;
}

// All of them are read before anything is done about one.
Status Container::LoadProcesses() {
  auto earlier_boot = IsOfEarlierBoot(AT_FDCWD);
  if (!earlier_boot) return earlier_boot.error();
  ExecRecords::RemoveLeft();
  auto names = DirectoriesIn(AT_FDCWD, settings_.directory);
  if (!names) return names.error();
  std::vector<std::shared_ptr<Process>> found;
  for (const std::string& name : *names) {
    auto loaded = LoadProcess(name, &found);
    if (!loaded) return loaded;
  }
  for (const auto& process : found) processes_[process->id] = process;
  if (!*earlier_boot && InitRuns())
    (void)EnsureTarget();  // from here on it is known whom the OOM killer ends
  for (const auto& process : found) {
    if (process->care && target_) caretaker_.TakeOver(process, target_->cgroups());
  }
  if (target_) caretaker_.TakeOverStrays(target_->cgroups());
  // Also of processes that have exited: what they have left behind may still write.
  PipeUsers users([this] { return Members(); });
  for (const auto& process : found) {
    if (*earlier_boot) break;
    bool alive = !process->exit && IsAlive(process->pid, process->start);
    auto stdio = ProcessStdio::TakeOver(loop_, process->id, &users, alive ? process->pid : 0);
    if (!stdio) return stdio.error();
    if (process->exit && (*stdio)->idle()) continue;
    process->stdio = std::move(*stdio);
    TellLess(process);
  }
  for (const auto& process : found) {
    if (process->exit) continue;
    if (*earlier_boot) {
      ProcessEnded(process, ExitRecord::Unknown());
    } else {
      TakeProcess(process);
    }
  }
  return Ok();
}

// What is no process's directory, or cannot be read for good, is none.
Status Container::LoadProcess(const std::string& id, std::vector<std::shared_ptr<Process>>* found) {
  auto pid_text = ReadFile(id + "/pid", 64);
  if (!pid_text) return IsShortage(pid_text.error()) ? Status(pid_text.error()) : Ok();
  auto pid = ParseU64(TrimEnd(*pid_text));
  auto start_text = ReadFile(id + "/starttime", 64);
  if (!start_text && IsShortage(start_text.error())) return start_text.error();
  auto start = start_text ? ParseU64(TrimEnd(*start_text)) : std::nullopt;
  auto process = std::make_shared<Process>();
  process->id = id;
  process->pid = pid && *pid <= INT32_MAX ? static_cast<pid_t>(*pid) : 0;
  process->start = start.value_or(0);
  process->started = true;
  auto exit = ReadExit(id);
  if (!exit) return exit.error();
  process->exit = *exit;
  auto own = ReadFile(id + "/own.json", 4096);
  if (!own && IsShortage(own.error())) return own.error();
  CareSpec care = own ? CareSpec::FromFile(*own) : CareSpec();
  if (!care.plain()) {
    process->care = std::make_unique<Care>();
    process->care->spec = std::move(care);
  }
  found->push_back(std::move(process));
  return Ok();
}

void Container::TakeProcess(const std::shared_ptr<Process>& process) {
  if (process->id != "init" && NeverExecuted(process->pid) &&
      SignalProcess(process->pid, process->start, SIGKILL)) {
    // The shim died before it let this exec go on, so it never came to run.
    processes_.erase(process->id);
    caretaker_.Undo(process.get());
    (void)records_.Remove(process->id);
    return;
  }
  Adopt(process);
}

void Container::AwaitRuntime(int64_t patience_ms, std::function<void()> then) {
  auto init = Find("init");
  auto looked = RunsOf(LogPath(), init ? init->pid : 0);
  // Killed by now, what is not seen this time is looked for by the next shim.
  if (!looked && patience_ms < -kUndoTimeoutMs) return refuse_(looked.error());
  bool none = looked && looked->empty();
  std::vector<Run> runs = looked ? std::move(*looked) : std::vector<Run>();
  // What does not end by a SIGKILL either is stuck in the kernel: not waited for without end.
  if (none || patience_ms < -kUndoTimeoutMs) return then();
  if (patience_ms <= 0) {
    for (const Run& run : runs) (void)SignalProcess(run.pid, run.start, SIGKILL);
  }
  loop_.After(kPollMs,
              [this, patience_ms, then = std::move(then)] { AwaitRuntime(patience_ms - kPollMs, then); });
}

// The start went through if init has been let go, of which its FIFO tells: runc and crun remove it then.
// Everything else is undone, since nobody knows any more what the hook had come to.
void Container::SettleStart() {
  auto init = Find("init");
  auto record = LoadRuntimeRecord(RuntimeRoots(settings_.runtime, settings_.runtime_args), settings_.id);
  if (!record && IsShortage(record.error())) return refuse_(record.error());
  if (init && record && IsOurs(*record) && access((record->directory + "/exec.fifo").c_str(), F_OK) != 0) {
    unlink(kOwnRecord);
    unlink(kStarting);
    return Ready();
  }
  start_ = std::make_unique<StartOperation>();
  start_->runtime_ran = true;
  start_->cut_off = true;
  start_->undoing = true;
  start_->error = Error::Coded("ERR_SHIM_EXITED", "the start was cut off");
  if (!init && record && IsOurs(*record)) {
    // The runtime may have made it without the shim having come to know of it.
    auto text = ReadFile(kRuntimePid, 64);
    auto pid = text ? ParseU64(TrimEnd(*text)) : std::nullopt;
    if (pid && static_cast<uint64_t>(record->init_pid) == *pid)
      (void)SignalProcess(record->init_pid, record->init_start, SIGKILL);
  }
  start_->after_undo.push_back([this] { Ready(); });
  StartUndoDelete();
}

// An ephemeral container ends with the program that made it, also when no connection was there to break.
Status Container::WatchOwner() {
  if (!settings_.ephemeral || settings_.owner_pid <= 0) return Ok();
  auto here = PidNamespace();
  if (!here) return here.error();
  // Of another pid namespace, where no shim serves the container any more: all there has ended.
  bool elsewhere = !settings_.owner_namespace.empty() && !here->empty() && settings_.owner_namespace != *here;
  if (elsewhere) teardown_ = true;
  if (elsewhere) return Ok();
  auto pidfd = OpenPidfd(settings_.owner_pid, settings_.owner_start);
  if (!pidfd) {
    if (pidfd.error().err == ESRCH) teardown_ = true;
    return IsShortage(pidfd.error()) ? Status(pidfd.error()) : Ok();
  }
  owner_pidfd_ = std::move(*pidfd);
  return loop_.Watch(owner_pidfd_.get(), EPOLLIN, [this](uint32_t) {
    loop_.Unwatch(owner_pidfd_.get());
    owner_pidfd_.Reset();
    teardown_ = ready_ != nullptr;
    if (!teardown_) Teardown();
  });
}

// Not this shim's child: its end is learned by pidfd, and its status where the kernel still tells it.
void Container::Adopt(const std::shared_ptr<Process>& process) {
  auto pidfd = OpenPidfd(process->pid, process->start);
  bool gone = !pidfd && (pidfd.error().err == ESRCH ||
                         (pidfd.error().err == ENOSYS && !IsAlive(process->pid, process->start)));
  if (gone) return ProcessEnded(process, ExitRecord::Unknown());
  if (pidfd) {
    adopted_[process->pid] = process;
    process->adopted = std::move(*pidfd);
    auto watched = loop_.Watch(process->adopted.get(), EPOLLIN, [this, process](uint32_t) {
      loop_.Unwatch(process->adopted.get());
      AdoptedEnded(process, kReapWaitMs);
    });
    if (watched) return;
    process->adopted.Reset();
    adopted_.erase(process->pid);
  }
  // Out of descriptors or memory, or Linux before 5.3: it runs, and that is what is said of it.
  loop_.After(kAdoptRetryMs, [this, process] {
    if (Find(process->id) == process && !process->exit) Adopt(process);
    if (process->exit) LeaveIfIdle();
  });
}

void Container::AdoptedEnded(const std::shared_ptr<Process>& process, int64_t patience_ms) {
  auto exit = ExitStatusOf(process->adopted.get());
  if (!exit.status && exit.later && patience_ms > 0) {
    // The system's init reaps when it comes to it, a second or two on some; no event tells.
    loop_.After(kPollMs, [this, process, patience_ms] { AdoptedEnded(process, patience_ms - kPollMs); });
    return;
  }
  process->adopted.Reset();
  ProcessEnded(process, exit.status ? ExitRecord::FromWait(*exit.status) : ExitRecord::Unknown());
  auto known = adopted_.find(process->pid);
  if (known != adopted_.end() && known->second == process) adopted_.erase(known);
  LeaveIfIdle();
}

}  // namespace lc::shim
