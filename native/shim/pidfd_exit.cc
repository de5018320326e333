// The exit status of a process that someone else has reaped, or will: PIDFD_GET_INFO of Linux 6.15.
#include "shim/pidfd_exit.h"

#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace lc::shim {
namespace {

// struct pidfd_info of <linux/pidfd.h>, which the build machine's headers are too old for. The layout up to
// coredump_mask is that of the kernel's first two published sizes.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroupid;
  uint32_t pid, tgid, ppid;
  uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  int32_t exit_code;
  uint32_t coredump_mask, spare;
};
static_assert(sizeof(PidfdInfo) == 72);

constexpr uint64_t kInfoExit = 1U << 3U;

}  // namespace

PidfdExit ExitStatusOf(int pidfd) {
  PidfdInfo info{};
  info.mask = kInfoExit;
  if (ioctl(pidfd, _IOWR(0xFF, 11, PidfdInfo), &info) != 0) return {};
  if ((info.mask & kInfoExit) == 0) return {std::nullopt, true};
  return {info.exit_code, false};
}

}  // namespace lc::shim
