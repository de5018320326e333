// Labels and the seccomp filter of an exec's child. System calls only, as all of its steps.
#include "nsexec/confine.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "core/protection.h"

namespace lc::nsexec {
namespace {

const char* WriteAttribute(const char* path, std::string_view value) {
  int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return "open attr";
  struct statfs fs {};
  bool genuine = fstatfs(fd, &fs) == 0 && (fs.f_type == PROC_SUPER_MAGIC || Without("labels"));
  if (!genuine) errno = EXDEV;
  bool written = genuine && write(fd, value.data(), value.size()) == static_cast<ssize_t>(value.size());
  int err = errno;
  close(fd);
  errno = err;
  if (!genuine) return "fstatfs attr";
  return written ? nullptr : "write attr";
}

}  // namespace

const char* SetLabels(const ChildPlan& plan) {
  if (!plan.selinux_label.empty()) {
    // For the session keyring that comes next; execve(2) resets it.
    const char* failed = WriteAttribute("/proc/self/attr/keycreate", plan.selinux_label);
    if (failed != nullptr && errno != ENOENT) return failed;
    failed = WriteAttribute("/proc/self/attr/exec", plan.selinux_label);
    if (failed != nullptr) return failed;
  }
  if (!plan.apparmor_exec.empty()) {
    const char* failed = WriteAttribute("/proc/self/attr/apparmor/exec", plan.apparmor_exec);
    // Before Linux 5.8 there is but the one directory for all security modules.
    if (failed != nullptr && errno == ENOENT)
      failed = WriteAttribute("/proc/self/attr/exec", plan.apparmor_exec);
    if (failed != nullptr) return failed;
  }
  return nullptr;
}

const char* SetSeccomp(const ChildPlan& plan) {
  sock_fprog program{};
  program.len = static_cast<unsigned short>(plan.seccomp_program.size() / sizeof(sock_filter));
  // The kernel only reads it.
  program.filter = reinterpret_cast<sock_filter*>(const_cast<char*>(plan.seccomp_program.data()));
  if (plan.seccomp_flags == 0) {
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0 ? nullptr : "PR_SET_SECCOMP";
  }
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, plan.seccomp_flags, &program) == 0) return nullptr;
  // A flag tells how to filter, not what: a kernel that does not know it filters all the same.
  if (errno == EINVAL && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0) return nullptr;
  return "seccomp";
}

}  // namespace lc::nsexec
