#include "nsexec/terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/protection.h"
#include "nsexec/report.h"

namespace lc::nsexec {
namespace {

constexpr size_t kControlBytes = CMSG_SPACE(sizeof(int));

struct Letter {
  char text = 0;
  iovec data{&text, sizeof(text)};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr message{};

  Letter() {
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
  }
  Letter(const Letter&) = delete;
  Letter& operator=(const Letter&) = delete;
};

void SendTerminal(const ChildPlan& plan, int master) {
  Letter letter;
  cmsghdr* header = CMSG_FIRSTHDR(&letter.message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &master, sizeof(int));
  Check(plan.report, sendmsg(plan.terminal_socket, &letter.message, MSG_NOSIGNAL) >= 0, "sendmsg");
}

// The kernel's own multiplexer of terminals (5:2), and no other device or file that the container has put in
// its place.
bool IsMultiplexer(int fd) {
  struct stat st {};
  return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2);
}

// Memory is short for a moment at times, and the message of a joiner that has ended is not sent again.
ssize_t Receive(int socket, msghdr* message) {
  constexpr int kTries = 10;
  constexpr useconds_t kBetweenUsec = 1000;
  for (int tries = 1;; ++tries) {
    ssize_t n = recvmsg(socket, message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n >= 0 || tries == kTries || (errno != ENOMEM && errno != ENOBUFS)) return n;
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
  SendTerminal(plan, master);
  close(master);
  close(plan.terminal_socket);
  return slave;
}

Result<UniqueFd> TakeTerminal(int socket) {
  Letter letter;
  if (Receive(socket, &letter.message) <= 0) return Error::Sys("recvmsg");
  const cmsghdr* header = CMSG_FIRSTHDR(&letter.message);
  // Cut off by the kernel (MSG_CTRUNC).
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return Error::Of(EMFILE, "recvmsg");
  int fd = -1;
  memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  UniqueFd master(fd);
  unsigned number = 0;
  if (!IsMultiplexer(fd) || ioctl(fd, TIOCGPTN, &number) != 0) return Error::Of(ENODEV, "open /dev/ptmx");
  return master;
}

}  // namespace lc::nsexec
