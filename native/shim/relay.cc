// A process that copies from one descriptor to another and may wait for both, which the shim may not.
#include "shim/relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

#include "core/files.h"
#include "nsexec/child_memory.h"

namespace lc::shim {
namespace {

constexpr size_t kChunk = 65536;
// What `ps` shows. Not the shim's command line: whoever looks for shims must not find this process.
constexpr char kTitle[] = "libcontainer-relay";

// Lies in the memory that the child gets: the shim's heap and stack it may not have.
struct Relay {
  int from;
  int to;
  void* arguments;  // of the command line; longer than the title
  char title[sizeof(kTitle)];
  char bytes[kChunk];
};

void Name(Relay* relay) {
  memcpy(relay->title, kTitle, sizeof(kTitle));
  // By a system call, since the stack that this lies on may not be there for a child.
  iovec from{relay->title, sizeof(kTitle)};
  iovec to{relay->arguments, sizeof(kTitle)};
  if (relay->arguments != nullptr) (void)process_vm_writev(getpid(), &from, 1, &to, 1, 0);
  prctl(PR_SET_NAME, "lc-relay", 0, 0, 0);
}

void Wait(int fd, short events) {
  pollfd one{fd, events, 0};
  (void)poll(&one, 1, -1);
}

// False once nobody reads there any more.
bool WriteAll(int fd, const char* bytes, size_t size) {
  while (size > 0) {
    ssize_t n = write(fd, bytes, size);
    if (n < 0 && errno == EAGAIN) {
      Wait(fd, POLLOUT);
    } else if (n < 0 && errno != EINTR) {
      return false;
    } else if (n > 0) {
      bytes += n;
      size -= static_cast<size_t>(n);
    }
  }
  return true;
}

// System calls only, and no memory but its own.
int Run(void* argument) {
  auto* relay = static_cast<Relay*>(argument);
  Name(relay);
  // Above the standard numbers first, so that neither runs over the other.
  int from = fcntl(relay->from, F_DUPFD_CLOEXEC, 10);
  int to = fcntl(relay->to, F_DUPFD_CLOEXEC, 10);
  if (from < 0 || to < 0 || dup2(from, 0) != 0 || dup2(to, 1) != 1) _exit(1);
  if (syscall(SYS_close_range, 2, ~0U, 0) != 0) {
    for (int fd = 2; fd < 65536; ++fd) close(fd);
  }
  (void)!chdir("/");  // holds no directory of the container's
  for (;;) {
    pollfd both[2] = {{0, POLLIN, 0}, {1, 0, 0}};
    if (poll(both, 2, -1) < 0) {
      if (errno == EINTR) continue;
      _exit(1);
    }
    if ((both[1].revents & (POLLERR | POLLHUP)) != 0) _exit(0);
    ssize_t n = read(0, relay->bytes, kChunk);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0 || !WriteAll(1, relay->bytes, static_cast<size_t>(n))) _exit(0);
  }
}

// proc(5), field 48: where the command line begins.
void* Arguments() {
  auto text = ReadFile("/proc/self/stat", 8192);
  size_t at = text ? text->rfind(')') : std::string::npos;
  for (int field = 2; field < 48 && at != std::string::npos; ++field) at = text->find(' ', at + 1);
  if (at == std::string::npos) return nullptr;
  auto address = ParseU64(std::string_view(*text).substr(at + 1, text->find(' ', at + 1) - at - 1));
  // NOLINTNEXTLINE(performance-no-int-to-ptr): an address read from text
  return reinterpret_cast<void*>(static_cast<uintptr_t>(address.value_or(0)));
}

}  // namespace

Result<pid_t> StartRelay(int from, int to) {
  nsexec::ChildMemory memory;
  auto reserved = memory.Reserve(sizeof(Relay));
  if (!reserved) return reserved.error();
  auto* relay = new (memory.block()) Relay;
  relay->from = from;
  relay->to = to;
  relay->arguments = Arguments();
  pid_t pid = memory.Fork(Run, relay, -1);
  if (pid < 0) return Error::Sys("clone");
  return pid;
}

}  // namespace lc::shim
