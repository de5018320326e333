// The near side of an exec: prepares memory, forks into the container's pid namespace, and lets go.
#include "nsexec/parent.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "nsexec/child.h"

namespace lc::nsexec {
namespace {

// As Go's environment does for runc: the last of two entries with one name wins, in the place of the first.
std::vector<std::string> Deduplicate(const std::vector<std::string>& env) {
  std::vector<std::string> out;
  out.reserve(env.size() + 1);
  for (const std::string& entry : env) {
    size_t name_length = entry.find('=') + 1;
    bool replaced = false;
    for (std::string& earlier : out) {
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

const char* Find(const std::vector<std::string>& env, const char* prefix) {
  for (const std::string& entry : env) {
    if (entry.starts_with(prefix)) return entry.c_str() + strlen(prefix);
  }
  return nullptr;
}

// A relative PATH entry would run what lies in the working directory: skipped, as Go's LookPath refuses it.
std::vector<std::string> Candidates(const std::string& name, const char* path) {
  if (name.find('/') != std::string::npos) return {name};
  std::vector<std::string> out;
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    size_t colon = rest.find(':');
    std::string_view directory = rest.substr(0, colon);
    if (!directory.empty() && directory[0] == '/') {
      out.push_back(std::string(directory) + "/" + name);
    }
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  return out;
}

std::vector<char*> Pointers(std::vector<std::string>* strings, size_t spare) {
  std::vector<char*> out;
  out.reserve(strings->size() + spare + 1);
  for (std::string& text : *strings) out.push_back(text.data());
  for (size_t i = 0; i <= spare; ++i) out.push_back(nullptr);
  return out;
}

// A fork whose child starts in the given v2 cgroup, which spares the migration. Raw: nothing of libc's
// fork is needed in a process of one thread.
pid_t Fork(int cgroup_fd) {
  if (cgroup_fd >= 0) {
    clone_args args{};
    args.flags = CLONE_INTO_CGROUP;
    args.exit_signal = SIGCHLD;
    args.cgroup = static_cast<uint64_t>(cgroup_fd);
    return static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof(args)));
  }
#if defined(__x86_64__) || defined(__aarch64__)
  return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
#else
  return fork();
#endif
}

// No descriptor of this process is above it.
int LastDescriptor() {
  constexpr int kMost = 1 << 20;
  rlimit limit{};
  bool bounded = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < kMost;
  return bounded ? static_cast<int>(limit.rlim_max) : kMost;
}

}  // namespace

uint64_t HeldBounding(bool user_namespace) {
  uint64_t held = 0;
  for (unsigned capability = 0; capability < 64; ++capability) {
    int known = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (known < 0) break;  // past the last one of this kernel
    if (known == 1 || user_namespace) held |= uint64_t{1} << capability;
  }
  return held;
}

Result<Started> Start(const Plan& plan) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return Error::Sys("socketpair");
  UniqueFd near(pair[0]);
  UniqueFd far(pair[1]);

  ChildMemory memory;
  std::vector<std::string> args = plan.args;
  std::vector<std::string> env = Deduplicate(plan.env);
  memory.argv = Pointers(&args, 0);
  memory.candidates = Candidates(plan.args[0], Find(env, "PATH="));
  const char* home = Find(env, "HOME=");
  memory.needs_home = home == nullptr || home[0] == '\0';
  if (home != nullptr && memory.needs_home) {
    // Found out in the container and put in the empty one's place.
    std::erase_if(env, [](const std::string& entry) { return entry.starts_with("HOME="); });
  }
  memory.envp = Pointers(&env, 1);

  bool enter = plan.pid_namespace_fd >= 0;
  if (enter && setns(plan.pid_namespace_fd, CLONE_NEWPID) != 0) return Error::Sys("setns", "pid");
  memory.in_cgroup = plan.cgroup_fd >= 0;
  memory.last_fd = LastDescriptor();
  pid_t pid = Fork(plan.cgroup_fd);
  if (pid < 0 && plan.cgroup_fd >= 0 &&
      (errno == ENOSYS || errno == EINVAL || errno == E2BIG || errno == EPERM)) {
    // No clone3 (Linux 5.3) or no CLONE_INTO_CGROUP (5.7), or a seccomp filter in the way: the child moves
    // itself.
    memory.in_cgroup = false;
    pid = Fork(-1);
  }
  if (pid == 0) RunChild(plan, &memory, far.get());
  Error error = Error::Sys("clone");
  if (enter && setns(plan.own_pid_namespace_fd, CLONE_NEWPID) != 0) {
    // The way back to one's own pid namespace is always allowed; without it every later child would be
    // born in the container, so rather none at all.
    _exit(70);
  }
  if (pid < 0) return error;
  return Started{pid, std::move(near)};
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
  ssize_t n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  // A child that failed before it took its release: the kernel tells of the reset once, then gives the
  // report.
  if (n < 0 && errno == ECONNRESET) n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return outcome;
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
  report.call[sizeof(report.call) - 1] = '\0';
  outcome.kind = Outcome::Kind::kFailed;
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
