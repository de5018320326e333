// The second task of an exec, which becomes the process: runs between fork and execve, by system calls alone.
// The container sees all of it, so it has nothing of the host but two pipes. The order of the steps is that
// of runc's last stage; why each stands where it does is said beside it.
#include "nsexec/child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "core/process_identity.h"
#include "core/protection.h"
#include "nsexec/confine.h"
#include "nsexec/report.h"

namespace lc::nsexec {

[[noreturn]] void Fail(int report, const char* call, int err, OnPath on_path) {
  ChildReport failure;
  failure.err = err;
  failure.on_path = on_path;
  strncpy(failure.call, call, sizeof(failure.call) - 1);
  // write(2) is a call that hardly any seccomp filter forbids. Without a reader SIGPIPE ends this task as
  // well.
  (void)!write(report, &failure, sizeof(failure));
  // The filter may forbid these as well, and libc's _exit would try for ever.
  syscall(SYS_exit_group, 127);
  __builtin_trap();
}

void CloseAbove(int last, int highest) {
  if (syscall(SYS_close_range, last + 1, ~0U, 0) == 0) return;
  // Before Linux 5.9. The limit of now says nothing of what was opened before it was lowered.
  for (int fd = last + 1; fd <= highest; ++fd) close(fd);
}

namespace {

constexpr size_t kMaxPasswdBytes = 16U << 20U;
constexpr size_t kMaxHomeBytes = sizeof("HOME=") + 4096;

void UnblockSignals() {
  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof(none));
}

// The container's own terminal, given to the user.
void OwnTerminal(const ChildPlan& plan, int report) {
  if (!plan.terminal) return;
  // A user namespace may not know the owner, a mount may be read-only: the program runs all the same.
  if (fchown(0, plan.uid, static_cast<gid_t>(-1)) != 0 && errno != EPERM && errno != EROFS && errno != EINVAL)
    Fail(report, "fchown stdio", errno);
}

// The home directory of `uid` from the container's /etc/passwd; "/" where there is none to be found. A FIFO
// or a huge file in its place must not hold anyone up (CVE-2026-47262).
void FindHome(uid_t uid, char* out, size_t size) {
  snprintf(out, size, "HOME=/");
  if (Without("no-lookups")) close(open("/etc/nsswitch.conf", O_RDONLY));
  int wait = Without("bounded-passwd") ? 0 : O_NONBLOCK;
  int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC | O_NOCTTY | wait);
  if (fd < 0) return;
  struct stat st {};
  if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    close(fd);
    return;
  }
  char line[4096];
  size_t length = 0;
  bool skipping = false;
  size_t total = 0;
  char chunk[4096];
  bool found = false;
  while (!found && total < kMaxPasswdBytes) {
    ssize_t n = read(fd, chunk, sizeof(chunk));
    if (n < 0) break;
    total += static_cast<size_t>(n);
    bool last = n == 0;
    if (last) chunk[n++] = '\n';  // the last line may lack it
    for (ssize_t i = 0; i < n && !found; ++i) {
      char c = chunk[i];
      if (c != '\n') {
        if (length + 1 < sizeof(line)) {
          line[length++] = c;
        } else {
          skipping = true;
        }
        continue;
      }
      line[length] = '\0';
      length = 0;
      bool usable = !skipping;
      skipping = false;
      if (!usable) continue;
      // name:password:uid:gid:gecos:home:shell
      char* fields[7] = {};
      size_t count = 0;
      char* at = line;
      while (count < 7) {
        fields[count++] = at;
        char* colon = strchr(at, ':');
        if (colon == nullptr) break;
        *colon = '\0';
        at = colon + 1;
      }
      if (count < 6) continue;
      char wanted[16];
      snprintf(wanted, sizeof(wanted), "%u", uid);
      if (strcmp(fields[2], wanted) == 0) {
        if (fields[5][0] != '\0') snprintf(out, size, "HOME=%s", fields[5]);
        found = true;
      }
    }
    if (last) break;
  }
  close(fd);
}

void SetLimits(const ChildPlan& plan, int report) {
  for (const Rlimit& limit : plan.limits) {
    rlimit64 value{limit.soft, limit.hard};
    Check(report, syscall(SYS_prlimit64, 0, limit.resource, &value, nullptr) == 0, "prlimit");
  }
}

void DropBounding(const ChildPlan& plan, int report) {
  uint64_t drop = plan.held_bounding & ~plan.bounding;
  for (unsigned capability = 0; drop != 0; ++capability, drop >>= 1U) {
    if ((drop & 1U) != 0) Check(report, prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0, "PR_CAPBSET_DROP");
  }
}

void SetCapabilities(const ChildPlan& plan, int report) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  uint64_t inheritable = Without("inheritable") ? plan.permitted : plan.inheritable;
  uint64_t ambient = Without("inheritable") ? plan.permitted : plan.ambient;
  for (int half = 0; half < 2; ++half) {
    unsigned shift = half == 0 ? 0 : 32;
    data[half].effective = static_cast<uint32_t>(plan.effective >> shift);
    data[half].permitted = static_cast<uint32_t>(plan.permitted >> shift);
    data[half].inheritable = static_cast<uint32_t>(inheritable >> shift);
  }
  Check(report, syscall(SYS_capset, &header, data) == 0, "capset");
  Check(report, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == 0, "PR_CAP_AMBIENT");
  // What is not in both permitted and inheritable the kernel refuses; runc warns and goes on without it.
  ambient &= plan.permitted & inheritable;
  for (unsigned capability = 0; capability < 64; ++capability) {
    if ((ambient >> capability & 1U) != 0) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }
}

// A working directory outside of the root is an open door to the host (CVE-2024-21626): getcwd(2) then
// answers with "(unreachable)".
void VerifyDirectory(int report) {
  char path[4097];
  long n = syscall(SYS_getcwd, path, sizeof(path));
  Check(report, n > 0, "getcwd", kOnCwd);
  if (path[0] != '/' && !Without("directory")) Fail(report, "getcwd", EXDEV, kOnCwd);
}

void BecomeUser(const ChildPlan& plan, int report) {
  // First as root, for a directory that only root may enter; on EPERM again as the user.
  int entered = chdir(plan.cwd);
  if (entered != 0 && errno != EPERM && errno != EACCES) Fail(report, "chdir", errno, kOnCwd);
  DropBounding(plan, report);  // asks for CAP_SETPCAP, so before the user changes
  Check(report, prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0, "PR_SET_KEEPCAPS");
  OwnTerminal(plan, report);
  // Groups, then gid, then uid: the last one takes away the right to do the others.
  Check(report,
        Without("groups") || syscall(SYS_setgroups, plan.groups.size(), plan.groups.data()) == 0 ||
            (errno == EPERM && plan.groups.empty()),
        "setgroups");
  // With the capability at hand these set all three ids; they are the calls that profiles are written for.
  Check(report, syscall(SYS_setgid, plan.gid) == 0, "setgid");
  Check(report, syscall(SYS_setuid, plan.uid) == 0, "setuid");
  if (entered != 0) Check(report, chdir(plan.cwd) == 0, "chdir", kOnCwd);
  VerifyDirectory(report);
  Check(report, prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) == 0, "PR_SET_KEEPCAPS");
  SetCapabilities(plan, report);
}

// Waits until the shim lets the program run. Nothing of ours stays open but the two pipes, which execve(2)
// closes.
void AwaitGo(const ChildPlan& plan) {
  if (!Without("descriptors")) CloseAbove(GoAt(plan), plan.last_fd);
  UnblockSignals();
  char go = 0;
  ssize_t n = -1;
  do {
    n = read(GoAt(plan), &go, 1);
  } while (n < 0 && errno == EINTR);
  // The shim is gone, or has undone the exec: nobody would know of this process.
  if (n != 1) _exit(127);
}

// A file that this process may execute, as a lookup in PATH sees it; what its interpreter is does not matter.
bool MayExecute(const char* path) {
  constexpr int kEffective = 0x200;  // AT_EACCESS
  long answer = -1;
#ifdef SYS_faccessat2
  answer = syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, kEffective);  // Linux 5.8
  if (answer != 0 && errno == ENOSYS)
#endif
    answer = syscall(SYS_faccessat, AT_FDCWD, path, X_OK);
  struct stat st {};
  return answer == 0 && stat(path, &st) == 0 && !S_ISDIR(st.st_mode);
}

// As the runtimes look a name up: an entry of PATH that leads nowhere is passed over, and the first file that
// may be executed is the one that was meant, even if it cannot run.
[[noreturn]] void Execute(const ChildPlan& plan, int report) {
  const bool looked_up = strchr(plan.argv[0], '/') == nullptr;
  int err = ENOENT;
  for (const char* const* path = plan.candidates; *path != nullptr; ++path) {
    execve(*path, const_cast<char* const*>(plan.argv), plan.envp);
    const int failed = errno;
    bool nowhere = failed == ENOENT || failed == ENOTDIR || failed == EACCES || failed == ELOOP ||
                   failed == ENAMETOOLONG;
    if (!looked_up || !nowhere || MayExecute(*path)) Fail(report, "execve", failed, kOnArgs);
    if (failed == EACCES) err = EACCES;
  }
  Fail(report, "execve", err, kOnArgs);
}

}  // namespace

[[noreturn]] void RunChild(const ChildPlan& plan) {
  const int report = ReportAt(plan);
  // In its cgroups by now: outside of a cgroup of the processor's a session is a group of its own to the
  // scheduler (sched(7), autogroup), and who changes its group waits for its turn among all: on a busy
  // machine for milliseconds.
  Check(report, Without("session") || syscall(SYS_setsid) >= 0, "setsid");
  char home[kMaxHomeBytes];
  if (plan.home != nullptr) {
    FindHome(plan.uid, home, sizeof(home));
    *plan.home = home;
  }
  if (plan.terminal) Check(report, ioctl(0, TIOCSCTTY, 0) == 0 || Without("terminal-peer"), "TIOCSCTTY");
  if (plan.no_new_privileges)
    Check(report, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
  umask(plan.umask);
  if (plan.scheduler) {
    Check(report, syscall(SYS_sched_setattr, 0, &*plan.scheduler, 0) == 0, "sched_setattr");
  }
  if (plan.io_priority) {
    constexpr int kWhoProcess = 1;
    Check(report, syscall(SYS_ioprio_set, kWhoProcess, 0, *plan.io_priority) == 0, "ioprio_set");
  }
  if (plan.personality) Check(report, personality(*plan.personality) >= 0, "personality");
  SetLimits(plan, report);
  // Without no_new_privs a filter asks for CAP_SYS_ADMIN, so it comes before capabilities are dropped, and
  // what comes after it has to pass through it. With no_new_privs it comes last.
  bool filter_early = !plan.seccomp_program.empty() && !plan.no_new_privileges;
  bool filter_late = !plan.seccomp_program.empty() && plan.no_new_privileges;
  if (filter_early) {
    AwaitGo(plan);
    if (const char* failed = SetSeccomp(plan)) Fail(report, failed, errno);
  }
  BecomeUser(plan, report);
  if (!filter_early) AwaitGo(plan);
  if (filter_late) {
    if (const char* failed = SetSeccomp(plan)) Fail(report, failed, errno);
  }
  Execute(plan, report);
}

}  // namespace lc::nsexec
