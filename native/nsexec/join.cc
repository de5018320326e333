// The joiner: the first task of an exec, between the shim and the process. By system calls alone.
//
// A task is visible in a pid namespace from the moment it is born in it: its mounts, its network and, to
// whoever may trace it, its memory, root and descriptors. So all joins, all labels and the closing of
// descriptors are done by this one, which the container cannot see, and the last fork makes the task that it
// can.
#include "nsexec/join.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "core/process_identity.h"
#include "core/protection.h"
#include "nsexec/confine.h"
#include "nsexec/pid_slots.h"
#include "nsexec/report.h"
#include "nsexec/terminal.h"

namespace lc::nsexec {
namespace {

void JoinCgroups(const ChildPlan& plan, int report) {
  if (Without("cgroups")) return;
  for (size_t i = 0; i < plan.cgroup_procs.size(); ++i) {
    const int fd = plan.cgroup_procs[i];
    if (fd < 0 || (plan.attach_late && static_cast<int>(i) == plan.pids_index)) continue;
    ssize_t n = -1;
    // A freshly made cpuset or one under memory pressure answers EINVAL for a moment (runc retries too).
    for (int attempt = 0; attempt < 5; ++attempt) {
      n = pwrite(fd, "0", 1, 0);
      if (n == 1 || errno != EINVAL) break;
      timespec pause{0, 30'000'000};
      syscall(SYS_nanosleep, &pause, nullptr);
    }
    Check(report, n == 1, "write cgroup.procs");
  }
}

void SetAffinity(const std::optional<cpu_set_t>& cpus, int report) {
  if (!cpus) return;
  Check(report, sched_setaffinity(0, sizeof(cpu_set_t), &*cpus) == 0, "sched_setaffinity");
}

// What the program that started the shim was bound to is its own affair (runc does so since 1.2). The kernel
// keeps of it what the cgroup allows; where that is nothing, it was right as it was.
void ForgetAffinity() {
  cpu_set_t all;
  memset(&all, 0xff, sizeof(all));
  (void)sched_setaffinity(0, sizeof(all), &all);
}

void JoinRdt(const ChildPlan& plan, int report) {
  if (plan.rdt_tasks < 0) return;
  Check(report, pwrite(plan.rdt_tasks, "0", 1, 0) == 1, "write resctrl tasks");
}

void SetOomScore(int score, int report) {
  // Still in the host's mount namespace: this /proc is the real one.
  char text[16];
  int length = snprintf(text, sizeof(text), "%d", score);
  int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
  Check(report, fd >= 0, "open oom_score_adj");
  char current[16] = {};
  ssize_t n = read(fd, current, sizeof(current) - 1);
  bool same = n == length + 1 && strncmp(current, text, static_cast<size_t>(length)) == 0;
  // Lowering asks for CAP_SYS_RESOURCE, writing the same value again does not need to.
  Check(report, same || write(fd, text, static_cast<size_t>(length)) == length, "write oom_score_adj");
  close(fd);
}

void JoinNamespaces(const ChildPlan& plan, int report) {
  const int wanted = plan.namespaces;
  if (wanted == 0) return;
  // One call: the kernel sorts out that the user namespace owns the others. Of the pid namespace only what is
  // made from here on becomes a member.
  if (plan.init_pidfd >= 0 && setns(plan.init_pidfd, wanted) == 0) return;
  Check(report, plan.init_pidfd < 0 || errno == EINVAL, "setns");
  // Before Linux 5.8 a pidfd is EINVAL. All paths are opened first, while /proc is the host's.
  struct Namespace {
    int flag;
    const char* name;
  };
  constexpr int kCount = 8;
  constexpr Namespace kOrder[kCount] = {
      {CLONE_NEWIPC, "ipc"},   {CLONE_NEWUTS, "uts"}, {CLONE_NEWNET, "net"}, {CLONE_NEWCGROUP, "cgroup"},
      {CLONE_NEWTIME, "time"}, {CLONE_NEWPID, "pid"}, {CLONE_NEWNS, "mnt"},  {CLONE_NEWUSER, "user"}};
  int fds[kCount];
  for (int i = 0; i < kCount; ++i) {
    fds[i] = -1;
    if ((wanted & kOrder[i].flag) == 0) continue;
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", plan.init_pid, kOrder[i].name);
    fds[i] = open(path, O_RDONLY | O_CLOEXEC);
    Check(report, fds[i] >= 0, "open namespace");
  }
  // The number may have become somebody else's before they were open.
  if (!IsAlive(plan.init_pid, plan.init_start)) Fail(report, "setns", ESRCH);
  for (int i = 0; i < kCount; ++i) {
    if (fds[i] >= 0) Check(report, setns(fds[i], kOrder[i].flag) == 0, "setns");
  }
}

// A container without a mount namespace sees but its root directory of the host's files, by chroot(2); so
// does what is run in it.
void EnterRoot(const ChildPlan& plan, int report) {
  if (plan.root_fd < 0) return;
  Check(report, fchdir(plan.root_fd) == 0, "fchdir");
  Check(report, chroot(".") == 0, "chroot");
}

// In a user namespace hard limits can no longer be raised, so this comes before it is joined. Descriptors are
// still the shim's many: there must be room for a few more, until SetLimits() lowers what is to be lower.
void RaiseLimits(const ChildPlan& plan, int report) {
  for (const Rlimit& limit : plan.limits) {
    rlimit64 value{};
    Check(report, syscall(SYS_prlimit64, 0, limit.resource, nullptr, &value) == 0, "prlimit");
    if (value.rlim_max >= limit.hard) continue;
    value.rlim_max = limit.hard;
    Check(report, syscall(SYS_prlimit64, 0, limit.resource, &value, nullptr) == 0, "prlimit");
  }
}

// A process may open its stdio again by /proc/self/fd, or /dev/stdout: a pipe that belongs to the host's root
// would deny that to it. Done from here, since a user namespace does not know the host's owner. Only what has
// no place in the host's file systems is given away, or was made to be written by others: pipes, FIFOs and
// sockets.
void OwnStdio(const ChildPlan& plan, int report) {
  if (plan.terminal || !plan.stdio_owner) return;
  for (int fd : plan.stdio) {
    struct stat st {};
    Check(report, fstat(fd, &st) == 0, "fstat stdio");
    if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) continue;
    if (st.st_uid == *plan.stdio_owner) continue;
    // A mount may be read-only: the program runs all the same.
    if (fchown(fd, *plan.stdio_owner, static_cast<gid_t>(-1)) != 0 && errno != EPERM && errno != EROFS &&
        errno != EINVAL) {
      Fail(report, "fchown stdio", errno);
    }
  }
}

// Out of the way of the numbers that are about to be placed.
int MoveAbove(int fd, int last, int report) {
  if (fd > last) return fd;
  const int moved = fcntl(fd, F_DUPFD_CLOEXEC, last + 1);
  Check(report, moved >= 0, "fcntl");
  return moved;
}

// The shim's own descriptors are above the standard numbers, so no dup2 overwrites a source there. The
// process's extra ones, and the pipes after them, may have each other's numbers.
void PlaceDescriptors(const ChildPlan& plan, const int stdio[3]) {
  const int report_at = ReportAt(plan);
  const int go_at = GoAt(plan);
  int report = plan.report;
  for (int i = 0; i < 3; ++i) {
    if (stdio[i] < 3) Fail(report, "dup2", EBADF);
    Check(report, dup2(stdio[i], i) == i, "dup2");
  }
  int extra[kMaxExtra];
  const size_t count = plan.extra_fds.size();
  Check(report, count <= kMaxExtra, "dup2");
  for (size_t i = 0; i < count; ++i) extra[i] = MoveAbove(plan.extra_fds[i], go_at, report);
  const int go = plan.go == go_at ? go_at : MoveAbove(plan.go, go_at, report);
  if (report != report_at) {
    report = MoveAbove(report, go_at, report);
    Check(report, dup3(report, report_at, O_CLOEXEC) == report_at, "dup3");
  }
  if (go != go_at) Check(report_at, dup3(go, go_at, O_CLOEXEC) == go_at, "dup3");
  for (size_t i = 0; i < count; ++i) {
    const int at = kFirstExtra + static_cast<int>(i);
    Check(report_at, dup2(extra[i], at) == at, "dup2");
  }
}

void JoinKeyring(const ChildPlan& plan, int report) {
  if (plan.session_keyring.empty()) return;
  long ring = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, plan.session_keyring.data());
  Check(report, ring >= 0 || errno == ENOSYS, "keyctl");
}

// A child of the shim's, as this task is, and a member of the container's pid namespace. It shares no memory
// with this task or with the shim: whoever may trace it could otherwise control a task that the container
// cannot see. The kernel writes its pid, as the host counts it, where the shim reads it.
pid_t ForkMember(const ChildPlan& plan) {
  constexpr auto kFlags = CLONE_PARENT | CLONE_PARENT_SETTID | SIGCHLD;
  return static_cast<pid_t>(syscall(SYS_clone, kFlags, 0, plan.member_pid, 0, 0));
}

}  // namespace

[[noreturn]] void RunJoiner(const ChildPlan& plan) {
  const int report = plan.report;
  SetAffinity(plan.affinity_initial, report);
  if (!plan.in_cgroup) JoinCgroups(plan, report);
  if (plan.affinity_final) {
    SetAffinity(plan.affinity_final, report);
  } else {
    ForgetAffinity();
  }
  JoinRdt(plan, report);
  if (plan.oom_score_adj) SetOomScore(*plan.oom_score_adj, report);
  if (!Without("labels")) {
    if (const char* failed = SetLabels(plan)) Fail(report, failed, errno);
  }
  const bool user_namespace = (plan.namespaces & CLONE_NEWUSER) != 0;
  if (user_namespace) RaiseLimits(plan, report);
  // What the shim has of groups is nobody's business in the container, and a user namespace may deny
  // setgroups(2) for good.
  if (!Without("groups")) {
    bool left = syscall(SYS_setgroups, 0, nullptr) == 0;
    Check(report, left || !user_namespace, "setgroups");
  }
  OwnStdio(plan, report);
  JoinNamespaces(plan, report);
  EnterRoot(plan, report);
  if (Without("labels")) {
    if (const char* failed = SetLabels(plan)) Fail(report, failed, errno);
  }
  if (user_namespace) {
    Check(report, syscall(SYS_setresgid, 0, 0, 0) == 0, "setresgid");
    Check(report, syscall(SYS_setresuid, 0, 0, 0) == 0, "setresuid");
  }
  JoinKeyring(plan, report);
  if (plan.terminal) {
    const int slave = OpenTerminal(plan);
    const int stdio[3] = {slave, slave, slave};
    PlaceDescriptors(plan, stdio);
  } else {
    PlaceDescriptors(plan, plan.stdio);
  }
  if (Without("host-null")) dup2(open("/dev/null", O_RDWR), 0);
  if (!Without("descriptors") && !Without("directory")) CloseAbove(GoAt(plan), plan.last_fd);
  // Nothing of the host is left in this task but what is not copied.
  Check(ReportAt(plan), madvise(plan.shared, PidSlots::kBytes, MADV_DONTFORK) == 0, "madvise");
  const pid_t member = ForkMember(plan);
  if (member == 0) RunChild(plan);
  Check(ReportAt(plan), member > 0, "clone");
  syscall(SYS_exit_group, 0);
  __builtin_trap();
}

}  // namespace lc::nsexec
