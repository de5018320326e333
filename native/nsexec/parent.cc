// The near side of an exec: prepares memory, starts the joiner, and hears of the process that it makes.
#include "nsexec/parent.h"

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
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

constexpr int kPassRights = 83;  // SO_PASSRIGHTS, younger than the C libraries that this is built with

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

Result<Started> Start(const Plan& plan, ChildMemory* memory, Bounding* bounding) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return Error::Sys("socketpair");
  UniqueFd near(pair[0]);
  UniqueFd far(pair[1]);
  // The container may get hold of the other end once there is a process: the kernel says who sent what.
  const int on = 1;
  if (setsockopt(near.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) return Error::Sys("setsockopt");
  // It could send descriptors whose closing takes as long as it likes (a socket with SO_LINGER). A terminal
  // is the only one that is wanted; a kernel before Linux 6.16 cannot be told so.
  const int off = 0;
  if (!plan.terminal) (void)setsockopt(near.get(), SOL_SOCKET, kPassRights, &off, sizeof(off));

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
  child->in_cgroup = plan.cgroup_fd >= 0 && !plan.attach_late;

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

namespace {

struct Message {
  ssize_t size = -1;
  ChildReport report;
  pid_t sender = 0;
  UniqueFd descriptor;
};

// Of the descriptors that came along one is kept, and all others closed.
void TakeControl(msghdr* header, Message* out) {
  for (cmsghdr* c = CMSG_FIRSTHDR(header); c != nullptr; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level != SOL_SOCKET) continue;
    if (c->cmsg_type == SCM_CREDENTIALS) {
      ucred sender{};
      memcpy(&sender, CMSG_DATA(c), sizeof(sender));
      out->sender = sender.pid;
    } else if (c->cmsg_type == SCM_RIGHTS) {
      const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; ++i) {
        int fd = -1;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
        out->descriptor.Reset(fd);
      }
    }
  }
}

Message ReadMessage(int channel) {
  Message out;
  iovec data{&out.report, sizeof(out.report)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof(control);
  out.size = Receive(channel, &header);
  // A child that failed before it took its release: the kernel tells of the reset once, then gives the
  // report.
  if (out.size < 0 && errno == ECONNRESET) out.size = Receive(channel, &header);
  const int err = errno;
  if (out.size >= 0) TakeControl(&header, &out);
  errno = err;
  return out;
}

// The name of a system call goes into an error as it is; anything else was not written by a task of ours.
bool IsCallName(const ChildReport& report) {
  const size_t length = strnlen(report.call, sizeof(report.call));
  if (length == 0 || length == sizeof(report.call)) return false;
  return std::all_of(report.call, report.call + length, [](unsigned char c) {
    return c < 0x80 && (isalnum(c) != 0 || strchr("_/. ", c) != nullptr);
  });
}

// The kernel's own multiplexer of terminals, and no other device or file that the container has put in its
// place.
bool IsTerminalMaster(int fd) {
  struct stat st {};
  unsigned number = 0;
  return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2) &&
         ioctl(fd, TIOCGPTN, &number) == 0;
}

Outcome Failed(Error error) {
  Outcome outcome;
  outcome.kind = Outcome::Kind::kFailed;
  outcome.error = std::move(error);
  return outcome;
}

Outcome TerminalOutcome(UniqueFd master) {
  // Cut off by the kernel (MSG_CTRUNC): there was no number left for it.
  if (!master) return Failed(Error::Of(EMFILE, "recvmsg"));
  if (!IsTerminalMaster(master.get())) return Failed(Error::Of(ENODEV, "open /dev/ptmx"));
  Outcome outcome;
  outcome.kind = Outcome::Kind::kTerminal;
  outcome.terminal = std::move(master);
  return outcome;
}

}  // namespace

Outcome ReadOutcome(int channel, const Plan& plan, pid_t joiner) {
  Message message = ReadMessage(channel);
  const ChildReport& report = message.report;
  Outcome outcome;
  if (message.size < 0 && (errno == EAGAIN || errno == EINTR || IsShortage(Error::Sys("recvmsg"))))
    return outcome;
  if (message.size <= 0) {
    outcome.kind = Outcome::Kind::kRunning;
    return outcome;
  }
  const bool whole = message.size == static_cast<ssize_t>(sizeof(report));
  if (whole && report.kind == ChildReport::kJoined && message.sender == joiner) {
    outcome.kind = Outcome::Kind::kJoined;
    outcome.pid = report.pid;
    return outcome;
  }
  if (whole && report.kind == ChildReport::kTerminal && plan.terminal)
    return TerminalOutcome(std::move(message.descriptor));
  if (!whole || report.kind != ChildReport::kFailed || !IsCallName(report))
    return Failed(Error::Of(EPROTO, "recvmsg"));
  std::string path = report.on_path == 1 ? plan.args[0] : report.on_path == 2 ? plan.cwd : std::string();
  outcome = Failed(Error::Of(report.err, report.call, std::move(path)));
  outcome.by_joiner = message.sender == joiner;
  if (strcmp(report.call, "TIOCGPTPEER") == 0 && (report.err == ENOTTY || report.err == EINVAL)) {
    outcome.error =
        std::move(outcome.error)
            .With("ERR_UNSUPPORTED", "a terminal for an exec needs Linux 4.13 or later (TIOCGPTPEER)");
  }
  return outcome;
}

}  // namespace lc::nsexec
