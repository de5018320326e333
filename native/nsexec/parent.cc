// The near side of an exec: prepares memory, forks into the container's pid namespace, and lets go.
#include "nsexec/parent.h"

#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <span>

#include "nsexec/child.h"

namespace lc::nsexec {
namespace {

using Texts = std::vector<std::string_view>;

// As Go's environment does for runc: the last of two entries with one name wins, in the place of the first.
Texts Deduplicate(const std::vector<std::string>& env) {
  Texts out;
  out.reserve(env.size());
  for (std::string_view entry : env) {
    size_t name_length = entry.find('=') + 1;
    bool replaced = false;
    for (std::string_view& earlier : out) {
      if (earlier.compare(0, name_length, entry, 0, name_length) == 0) {
        earlier = entry;
        replaced = true;
        break;
      }
    }
    if (!replaced) out.push_back(entry);
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
  RunChild(*static_cast<const ChildPlan*>(plan));
}

// No descriptor of this process is above it.
int LastDescriptor() {
  constexpr int kMost = 1 << 20;
  rlimit limit{};
  bool bounded = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < kMost;
  return bounded ? static_cast<int>(limit.rlim_max) : kMost;
}

// The pid namespace that children are born in, and the cgroup, are those of the task that forks.
Result<pid_t> Fork(const Plan& plan, const ChildMemory& memory, ChildPlan* child) {
  bool enter = plan.pid_namespace_fd >= 0;
  if (enter && setns(plan.pid_namespace_fd, CLONE_NEWPID) != 0) return Error::Sys("setns", "pid");
  pid_t pid = memory.Fork(Run, child, plan.cgroup_fd);
  if (pid < 0 && plan.cgroup_fd >= 0 &&
      (errno == ENOSYS || errno == EINVAL || errno == E2BIG || errno == EPERM)) {
    // No clone3 (Linux 5.3) or no CLONE_INTO_CGROUP (5.7), or a seccomp filter in the way: the child moves
    // itself.
    child->in_cgroup = false;
    pid = memory.Fork(Run, child, -1);
  }
  Error error = Error::Sys("clone");
  if (enter && setns(plan.own_pid_namespace_fd, CLONE_NEWPID) != 0) {
    // The way back to one's own pid namespace is always allowed; without it every later child would be
    // born in the container, so rather none at all.
    _exit(70);
  }
  if (pid < 0) return error;
  return pid;
}

}  // namespace

Result<Started> Start(const Plan& plan, ChildMemory* memory, Bounding* bounding) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return Error::Sys("socketpair");
  UniqueFd near(pair[0]);
  UniqueFd far(pair[1]);

  Prepared prepared = Prepare(plan);
  Block measure;
  LayOut(plan, prepared, &measure);
  auto reserved = memory->Reserve(measure.used());
  if (!reserved) return reserved.error();
  Block block(memory->block());
  LayOut(plan, prepared, &block);
  auto* child = reinterpret_cast<ChildPlan*>(memory->block());
  child->last_fd = LastDescriptor();
  child->channel = far.get();
  child->in_cgroup = plan.cgroup_fd >= 0;

  bool user_namespace = (plan.namespaces & CLONE_NEWUSER) != 0;
  if (!user_namespace) bounding->Narrow(plan.bounding);
  // Joining a user namespace fills the set up again, with all that the kernel knows.
  child->held_bounding = user_namespace ? bounding->known() : bounding->HeldFor(plan.bounding);
  Result<pid_t> pid = 0;
  bounding->Run(user_namespace ? 0 : plan.bounding, [&] { pid = Fork(plan, *memory, child); });
  if (!pid) return pid.error();
  return Started{*pid, std::move(near)};
}

Status Release(int channel) {
  char go = 1;
  ssize_t n = -1;
  do {
    n = send(channel, &go, 1, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n != 1) return Error::Sys("send");
  return Ok();
}

namespace {

// Short of memory the kernel is for a moment, and the word of a child that has ended is not asked for again.
ssize_t Receive(int channel, msghdr* message) {
  constexpr int kTries = 10;
  constexpr useconds_t kBetweenUsec = 1000;
  for (int tries = 1;; ++tries) {
    ssize_t n = recvmsg(channel, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n >= 0 || tries == kTries || (errno != ENOMEM && errno != ENOBUFS)) return n;
    usleep(kBetweenUsec);
  }
}

}  // namespace

Outcome ReadOutcome(int channel, const Plan& plan) {
  Outcome outcome;
  ChildReport report;
  iovec data{&report, sizeof(report)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t n = Receive(channel, &message);
  // A child that failed before it took its release: the kernel tells of the reset once, then gives the
  // report.
  if (n < 0 && errno == ECONNRESET) n = Receive(channel, &message);
  if (n < 0 && (errno == EAGAIN || errno == EINTR || IsShortage(Error::Sys("recvmsg")))) return outcome;
  UniqueFd received;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); n >= 0 && c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      memcpy(&fd, CMSG_DATA(c), sizeof(fd));
      received.Reset(fd);
    }
  }
  if (n != static_cast<ssize_t>(sizeof(report))) {
    outcome.kind = Outcome::Kind::kRunning;
    return outcome;
  }
  if (report.kind == ChildReport::kTerminal && received) {
    outcome.kind = Outcome::Kind::kTerminal;
    outcome.terminal = std::move(received);
    return outcome;
  }
  outcome.kind = Outcome::Kind::kFailed;
  if (report.kind == ChildReport::kTerminal) {
    // Cut off by the kernel (MSG_CTRUNC): there was no number left for it.
    outcome.error = Error::Of(EMFILE, "recvmsg");
    return outcome;
  }
  report.call[sizeof(report.call) - 1] = '\0';
  std::string path = report.on_path == 1 ? plan.args[0] : report.on_path == 2 ? plan.cwd : std::string();
  outcome.error = Error::Of(report.err, report.call, std::move(path));
  if (strcmp(report.call, "TIOCGPTPEER") == 0 && (report.err == ENOTTY || report.err == EINVAL)) {
    outcome.error =
        std::move(outcome.error)
            .With("ERR_UNSUPPORTED", "a terminal for an exec needs Linux 4.13 or later (TIOCGPTPEER)");
  }
  return outcome;
}

}  // namespace lc::nsexec
