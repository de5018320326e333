#include "shim/null_device.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "core/protection.h"
#include "shim/device_node.h"

namespace lc::shim {
namespace {

// The new mount interface is younger than the C libraries that this is built with. One number on every
// architecture.
constexpr long kFsopen = 430;
constexpr long kFsconfig = 431;
constexpr long kFsmount = 432;
constexpr unsigned kCloseOnExec = 1;  // FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
constexpr unsigned kSetString = 1;    // FSCONFIG_SET_STRING
constexpr unsigned kCreate = 6;       // FSCONFIG_CMD_CREATE
constexpr unsigned kNoSetuid = 0x2;   // MOUNT_ATTR_NOSUID
constexpr unsigned kNoExecute = 0x8;  // MOUNT_ATTR_NOEXEC
constexpr mode_t kMode = S_IFCHR | 0666;

UniqueFd OpenNode(int directory, const char* path) {
  UniqueFd fd(openat(directory, path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW));
  return fd && IsNull(fd.get()) ? std::move(fd) : UniqueFd();
}

bool MakeNode(int directory, const char* path) {
  return mknodat(directory, path, kMode, makedev(1, 3)) == 0 &&
         fchmodat(directory, path, kMode & 07777, 0) == 0;
}

// /proc/PID/fd names it /dev/null, as any other.
UniqueFd OnOwnMount() {
  UniqueFd context(static_cast<int>(syscall(kFsopen, "tmpfs", kCloseOnExec)));
  if (!context) return {};
  (void)syscall(kFsconfig, context.get(), kSetString, "nr_inodes", "8", 0);
  (void)syscall(kFsconfig, context.get(), kSetString, "nr_blocks", "8", 0);
  if (syscall(kFsconfig, context.get(), kCreate, nullptr, nullptr, 0) != 0) return {};
  UniqueFd mount(static_cast<int>(syscall(kFsmount, context.get(), kCloseOnExec, kNoSetuid | kNoExecute)));
  if (!mount || mkdirat(mount.get(), "dev", 0711) != 0 || !MakeNode(mount.get(), "dev/null")) return {};
  return OpenNode(mount.get(), "dev/null");
}

UniqueFd WithoutName(const std::string& directory) {
  std::string path = directory + "/:null." + std::to_string(getpid());
  unlink(path.c_str());
  UniqueFd fd;
  if (MakeNode(AT_FDCWD, path.c_str())) fd = OpenNode(AT_FDCWD, path.c_str());
  unlink(path.c_str());
  return fd;
}

UniqueFd ReadOnly() {
  UniqueFd node(open("/dev/null", O_PATH | O_CLOEXEC));
  UniqueFd fd = OpenOnReadOnlyMount(node.get(), O_RDWR);
  return fd && IsNull(fd.get()) ? std::move(fd) : UniqueFd();
}

}  // namespace

bool IsNull(int fd) {
  struct stat st {};
  return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

Result<UniqueFd> OwnNull() {
  UniqueFd fd;
  if (!Without("own-null")) {
    fd = OnOwnMount();
    if (!fd) fd = WithoutName(".");
    if (!fd) fd = WithoutName("/dev");
    if (!fd) fd = ReadOnly();
  }
  // A runtime that may do none of this cannot give the device away either.
  if (!fd) fd.Reset(open("/dev/null", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!fd) return Error::Sys("open", "/dev/null");
  if (!IsNull(fd.get())) return Error::Of(ENODEV, "open", "/dev/null");
  return fd;
}

}  // namespace lc::shim
