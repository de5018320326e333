#include "nsexec/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "core/descriptor_message.h"
#include "core/protection.h"
#include "nsexec/report.h"

namespace lc::nsexec {
namespace {

// The kernel's own multiplexer of terminals (5:2), and no other device or file that the container has put in
// its place.
bool IsMultiplexer(int fd) {
  struct stat st {};
  return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2);
}

// Memory is short for a moment at times, and the message of a joiner that has ended is not sent again.
UniqueFd Receive(int socket) {
  constexpr int kTries = 10;
  constexpr useconds_t kBetweenUsec = 1000;
  for (int tries = 1;; ++tries) {
    UniqueFd master = ReceiveDescriptor(socket);
    if (master || tries == kTries || (errno != ENOMEM && errno != ENOBUFS)) return master;
    usleep(kBetweenUsec);
  }
}

}  // namespace

int OpenTerminal(const ChildPlan& plan) {
  const int report = plan.report;
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  Check(report, master >= 0, "open /dev/ptmx");
  // The container may have put anything at that path, and the other end is asked of the master, never looked
  // up by name (CVE-2025-52565).
  if (!IsMultiplexer(master)) Fail(report, "open /dev/ptmx", ENODEV);
  int unlock = 0;
  Check(report, ioctl(master, TIOCSPTLCK, &unlock) == 0, "TIOCSPTLCK");
  int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
  if (Without("terminal-peer")) slave = open("/dev/pts/0", O_RDWR | O_NOCTTY);
  Check(report, slave >= 0, "TIOCGPTPEER");
  if (plan.rows != 0 || plan.columns != 0) {
    winsize size{};
    size.ws_row = plan.rows;
    size.ws_col = plan.columns;
    Check(report, ioctl(master, TIOCSWINSZ, &size) == 0, "TIOCSWINSZ");
  }
  Check(report, SendDescriptor(plan.terminal_socket, master), "sendmsg");
  close(master);
  close(plan.terminal_socket);
  return slave;
}

Result<UniqueFd> TakeTerminal(int socket) {
  UniqueFd master = Receive(socket);
  if (!master) return Error::Sys("recvmsg");
  unsigned number = 0;
  if (!IsMultiplexer(master.get()) || ioctl(master.get(), TIOCGPTN, &number) != 0)
    return Error::Of(ENODEV, "open /dev/ptmx");
  return master;
}

}  // namespace lc::nsexec
