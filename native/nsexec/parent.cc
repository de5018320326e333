// The shim's side of an exec: prepares memory, starts the joiner, and reads what it and the process report.
#include "nsexec/parent.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <csignal>
#include <cstring>
#include <span>
#include <unordered_map>

#include "nsexec/join.h"

namespace lc::nsexec {
namespace {

using Texts = std::vector<std::string_view>;

// As Go's environment does for runc: the last of two entries with one name wins, in the place of the first.
// What has no "=" is a name as a whole.
Texts Deduplicate(const std::vector<std::string>& env) {
  Texts out;
  out.reserve(env.size());
  std::unordered_map<std::string_view, size_t> places;
  places.reserve(env.size());
  for (std::string_view entry : env) {
    auto [place, is_new] = places.try_emplace(entry.substr(0, entry.find('=')), out.size());
    if (is_new) {
      out.push_back(entry);
    } else {
      out[place->second] = entry;
    }
  }
  return out;
}

std::optional<std::string_view> Find(const Texts& env, std::string_view prefix) {
  for (std::string_view entry : env) {
    if (entry.starts_with(prefix)) return entry.substr(prefix.size());
  }
  return std::nullopt;
}

// A relative PATH entry would run what lies in the working directory: skipped, as Go's LookPath refuses it.
std::vector<std::string> Candidates(const std::string& name, std::string_view path) {
  if (name.find('/') != std::string::npos) return {name};
  std::vector<std::string> out;
  // No directory has such a file; and each entry of PATH would get a copy of it.
  if (name.size() > NAME_MAX) return out;
  while (!path.empty()) {
    size_t colon = path.find(':');
    std::string_view directory = path.substr(0, colon);
    if (!directory.empty() && directory[0] == '/') {
      out.push_back(std::string(directory) + "/" + name);
    }
    if (colon == std::string_view::npos) break;
    path.remove_prefix(colon + 1);
  }
  return out;
}

// An array for execve(2): the texts, `spare` places and a null.
template <typename T>
char** PutArray(Block* block, const std::vector<T>& texts, size_t spare) {
  const std::vector<char*> nothing(texts.size() + spare + 1, nullptr);
  char** array = block->Put(std::span<char* const>(nothing));
  for (size_t i = 0; i < texts.size(); ++i) {
    char* text = block->Put(std::string_view(texts[i]));
    if (array != nullptr) array[i] = text;
  }
  return array;
}

std::string_view PutText(Block* block, std::string_view text) {
  return {block->Put(text), text.size()};
}

template <typename T>
std::span<const T> PutAll(Block* block, const std::vector<T>& values) {
  return {block->Put(std::span<const T>(values)), values.size()};
}

struct Prepared {
  Texts env;
  std::vector<std::string> candidates;
  bool needs_home = false;
};

Prepared Prepare(const Plan& plan) {
  Prepared out;
  out.env = Deduplicate(plan.env);
  out.candidates = Candidates(plan.args[0], Find(out.env, "PATH=").value_or(""));
  auto home = Find(out.env, "HOME=");
  out.needs_home = !home || home->empty();
  if (home && out.needs_home) {
    // Found out in the container and put in the empty one's place.
    std::erase_if(out.env, [](std::string_view entry) { return entry.starts_with("HOME="); });
  }
  return out;
}

// The plan itself comes first.
void LayOut(const Plan& plan, const Prepared& prepared, Block* block) {
  ChildPlan child;
  static_cast<PlanValues&>(child) = plan;
  ChildPlan* place = block->Put(std::span<const ChildPlan>(&child, 1));
  child.argv = PutArray(block, plan.args, 0);
  child.envp = PutArray(block, prepared.env, prepared.needs_home ? 1 : 0);
  if (prepared.needs_home && child.envp != nullptr) child.home = child.envp + prepared.env.size();
  child.candidates = PutArray(block, prepared.candidates, 0);
  child.cwd = block->Put(std::string_view(plan.cwd));
  child.extra_fds = PutAll(block, plan.extra_fds);
  child.cgroup_procs = PutAll(block, plan.cgroup_procs);
  child.groups = PutAll(block, plan.groups);
  child.limits = PutAll(block, plan.limits);
  child.session_keyring = PutText(block, plan.session_keyring);
  child.apparmor_exec = PutText(block, plan.apparmor_exec);
  child.selinux_label = PutText(block, plan.selinux_label);
  if (plan.seccomp_program != nullptr) child.seccomp_program = PutText(block, *plan.seccomp_program);
  if (place != nullptr) *place = child;
}

int Run(void* plan) {
  RunJoiner(*static_cast<const ChildPlan*>(plan));
}

// No descriptor of this process is above it.
int LastDescriptor() {
  constexpr int kMost = 1 << 20;
  rlimit limit{};
  bool bounded = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < kMost;
  return bounded ? static_cast<int>(limit.rlim_max) : kMost;
}

Result<pid_t> Fork(const Plan& plan, const ChildMemory& memory, ChildPlan* child) {
  const int cgroup_fd = plan.attach_late ? -1 : plan.cgroup_fd;
  pid_t pid = memory.Fork(Run, child, cgroup_fd);
  if (pid < 0 && cgroup_fd >= 0 && (errno == ENOSYS || errno == EINVAL || errno == E2BIG || errno == EPERM)) {
    // No clone3 (Linux 5.3) or no CLONE_INTO_CGROUP (5.7), or a seccomp filter in the way: the joiner moves
    // itself.
    child->in_cgroup = false;
    pid = memory.Fork(Run, child, -1);
  }
  if (pid < 0) return Error::Sys("clone");
  return pid;
}

}  // namespace

namespace {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Result<Pipe> NewPipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::Sys("pipe2");
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// The container may fill a pipe or empty it: the shim's end never waits.
Status NeverWait(int fd) {
  if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) return Error::Sys("fcntl");
  return Ok();
}

// The joiner's end and the shim's.
struct TerminalSockets {
  UniqueFd far;
  UniqueFd near;
};

Result<TerminalSockets> NewTerminalSockets(const Plan& plan) {
  if (!plan.terminal) return TerminalSockets{};
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return Error::Sys("socketpair");
  return TerminalSockets{UniqueFd(pair[0]), UniqueFd(pair[1])};
}

}  // namespace

Result<Started> Launcher::Start(const Plan& plan) {
  auto report = NewPipe();
  if (!report) return report.error();
  auto go = NewPipe();
  if (!go) return go.error();
  for (int fd : {report->read.get(), go->write.get()}) {
    auto never = NeverWait(fd);
    if (!never) return never.error();
  }
  auto terminal = NewTerminalSockets(plan);
  if (!terminal) return terminal.error();
  auto slot = slots_.Take();
  if (!slot) return slot.error();

  Prepared prepared = Prepare(plan);
  Block measure;
  LayOut(plan, prepared, &measure);
  auto reserved = memory_.Reserve(measure.used());
  if (!reserved) return reserved.error();
  Block block(memory_.block());
  LayOut(plan, prepared, &block);
  auto* child = reinterpret_cast<ChildPlan*>(memory_.block());
  child->last_fd = LastDescriptor();
  child->report = report->write.get();
  child->go = go->read.get();
  child->terminal_socket = terminal->far.get();
  child->member_pid = slot->address();
  child->shared = slots_.base();
  child->in_cgroup = plan.cgroup_fd >= 0 && !plan.attach_late;

  bool user_namespace = (plan.namespaces & CLONE_NEWUSER) != 0;
  if (!user_namespace) bounding_.Narrow(plan.bounding);
  // Joining a user namespace fills the set up again, with all that the kernel knows.
  child->held_bounding = user_namespace ? bounding_.known() : bounding_.HeldFor(plan.bounding);
  Result<pid_t> pid = 0;
  bounding_.Run(user_namespace ? 0 : plan.bounding, [&] { pid = Fork(plan, memory_, child); });
  if (!pid) return pid.error();
  return Started{*pid, std::move(*slot), std::move(report->read), std::move(go->write),
                 std::move(terminal->near)};
}

void Launcher::KeepMemory() {
  // The first child is to have no more of this process than later ones.
  if (!memory_.reserved() && !memory_.Reserve(1)) return;
  memory_.KeepRest();
}

Status Release(int go) {
  const char byte = 1;
  ssize_t n = -1;
  do {
    n = write(go, &byte, 1);
  } while (n < 0 && errno == EINTR);
  // Full (EAGAIN): somebody in the container writes into the pipe, so the process is released already.
  if (n != 1 && errno != EAGAIN) return Error::Sys("write");
  return Ok();
}

namespace {

// The name of a system call goes into an error as it is; anything else was not written by a task of ours.
bool IsCallName(const ChildReport& report) {
  const size_t length = strnlen(report.call, sizeof(report.call));
  if (length == 0 || length == sizeof(report.call)) return false;
  return std::all_of(report.call, report.call + length, [](unsigned char c) {
    return c < 0x80 && (isalnum(c) != 0 || strchr("_/. ", c) != nullptr);
  });
}

Outcome Failed(Error error) {
  return {Outcome::Kind::kFailed, std::move(error)};
}

}  // namespace

Outcome ReadOutcome(int pipe, const Plan& plan) {
  ChildReport report;
  const ssize_t n = read(pipe, &report, sizeof(report));
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (n <= 0) return {Outcome::Kind::kRunning, {}};
  // Shorter than PIPE_BUF, so written whole by a task of ours (pipe(7)).
  if (n != static_cast<ssize_t>(sizeof(report)) || !IsCallName(report))
    return Failed(Error::Of(EPROTO, "read"));
  std::string path = report.on_path == 1 ? plan.args[0] : report.on_path == 2 ? plan.cwd : std::string();
  Error error = Error::Of(report.err, report.call, std::move(path));
  if (strcmp(report.call, "TIOCGPTPEER") == 0 && (report.err == ENOTTY || report.err == EINVAL)) {
    error = std::move(error).With("ERR_UNSUPPORTED",
                                  "a terminal for an exec needs Linux 4.13 or later (TIOCGPTPEER)");
  }
  return Failed(std::move(error));
}

}  // namespace lc::nsexec
