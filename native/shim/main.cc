// libcontainer-shim <state directory>: one per container, started by the addon, lives on when its program
// does not.
//
// Descriptor 3 is the first client's connection. The shim answers it with "hello", or with "busy" where
// another shim serves the container already.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "core/frame_socket.h"
#include "core/protection.h"
#include "shim/container.h"
#include "shim/event_loop.h"
#include "shim/message.h"
#include "shim/null_device.h"
#include "shim/server.h"
#include "shim/settings.h"
#include "shim/stdio.h"

namespace {

using lc::Error;
using lc::FrameSocket;
using lc::Status;
using lc::UniqueFd;

constexpr int kFirstClient = 3;

[[noreturn]] void Refuse(FrameSocket* client, const Error& error) {
  (void)client->Send(lc::shim::Message().Add("event", "failed").AddError(error).Done());
  _exit(1);
}

// Out of the program's session, process group and parentage: its Ctrl-C and its end are not the shim's.
void Detach() {
  pid_t child = fork();
  if (child < 0) {
    Error error = Error::Sys("fork");
    FrameSocket client{UniqueFd(kFirstClient)};
    Refuse(&client, error);
  }
  if (child > 0) _exit(0);  // the addon waits for this one
  setsid();
}

// Standard streams and whatever the program may have leaked; only the first client's connection stays.
void CloseInherited() {
  int null_device = open("/dev/null", O_RDWR | O_NOCTTY);
  for (int fd = 0; fd < 3 && null_device >= 0; ++fd) dup2(null_device, fd);
  if (null_device > 2 && null_device != kFirstClient) close(null_device);
  if (syscall(SYS_close_range, kFirstClient + 1, ~0U, 0) != 0) {
    for (int fd = kFirstClient + 1; fd < 65536; ++fd) close(fd);
  }
  fcntl(kFirstClient, F_SETFD, FD_CLOEXEC);
}

// Every signal has its default disposition, and all are blocked: a stray terminal or service signal does not
// take the container's keeper away, a broken pipe is an errno, and a child has but a mask to clear before it
// runs a program.
UniqueFd BlockSignals() {
  for (int signal = 1; signal <= 64; ++signal) {
    // Raw: libc keeps two real-time signals to itself, and Node ignores SIGPIPE.
    struct {
      void (*handler)(int);
      unsigned long flags;
      void (*restorer)();
      unsigned long mask;
    } action{};
    if (signal != SIGKILL && signal != SIGSTOP) syscall(SYS_rt_sigaction, signal, &action, nullptr, 8);
  }
  uint64_t all = ~uint64_t{0};
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof(all));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  return UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] != '/') {
    constexpr char kUsage[] =
        "usage: libcontainer-shim <absolute state directory>; started by libcontainer, not by hand\n";
    (void)!write(2, kUsage, sizeof(kUsage) - 1);
    return 64;
  }
  if (fcntl(kFirstClient, F_GETFD) < 0) return 64;
  if (lc::Without("sealed-copy")) {
    const char* path = getenv("LIBCONTAINER_SHIM");
    unsetenv("LIBCONTAINER_WITHOUT");
    execv(path, argv);
  }
  Detach();
  CloseInherited();
  // Before anything of a container is touched: what joins its namespaces from here must not be readable
  // there.
  prctl(PR_SET_DUMPABLE, lc::Without("dumpable") ? 1 : 0, 0, 0, 0);
  if (lc::Without("directory") || lc::Without("descriptors")) {
    // Leaked, above the numbers that an exec gives its own.
    constexpr int kAbove = 100;
    (void)fcntl(open("/", O_PATH), F_DUPFD, kAbove);
  }
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  prctl(PR_SET_NAME, "lc-shim", 0, 0, 0);
  // What is made here has the mode that its maker names, and never more than 0711: whatever may be forgotten.
  mode_t inherited_umask = umask(lc::Without("umask") ? 0 : 066);
  FrameSocket first{UniqueFd(kFirstClient)};

  if (chdir(argv[1]) != 0) Refuse(&first, Error::Sys("chdir", argv[1]));
  std::string lock_path = std::string(argv[1]) + "/shim.lock";
  UniqueFd lock(open("shim.lock", O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) Refuse(&first, Error::Sys("open", lock_path));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) Refuse(&first, Error::Sys("flock", lock_path));
    (void)first.Send(lc::shim::Message().Add("event", "busy").Done());
    return 0;
  }
  // Deleted and made again while this one started: the lock is on a file that is gone.
  struct stat held {};
  struct stat seen {};
  if (fstat(lock.get(), &held) != 0) Refuse(&first, Error::Sys("fstat", lock_path));
  bool gone = stat("shim.lock", &seen) != 0;
  if (gone && errno != ENOENT) Refuse(&first, Error::Sys("stat", lock_path));
  if (gone || held.st_ino != seen.st_ino) {
    (void)first.Send(lc::shim::Message().Add("event", "busy").Done());
    return 0;
  }
  auto settings = lc::shim::LoadSettings(argv[1]);
  if (!settings) Refuse(&first, settings.error());

  settings->umask = lc::Without("umask") ? 0 : inherited_umask;

  auto null_device = lc::shim::OwnNull();
  if (!null_device) Refuse(&first, null_device.error());

  UniqueFd signals = BlockSignals();
  lc::shim::EventLoop loop;
  Status opened = loop.Open();
  if (!opened) Refuse(&first, opened.error());
  lc::shim::Server server(loop);
  lc::shim::Container container(loop, server, std::move(*settings), std::move(*null_device));
  server.Serve(&container);
  Status watched = loop.Watch(signals.get(), EPOLLIN, [&](uint32_t) {
    signalfd_siginfo ignored[8];
    while (read(signals.get(), ignored, sizeof(ignored)) > 0) {
    }
    container.OnChildSignal();
  });
  if (!watched) Refuse(&first, watched.error());
  Status listening = server.Listen();
  if (!listening) Refuse(&first, listening.error());
  // Whoever connects meanwhile waits for the hello.
  container.TakeOver(
      [&] {
        Status accepting = server.Accepting();
        if (!accepting) Refuse(&first, accepting.error());
        // From here on the descriptor is the server's.
        UniqueFd client(fcntl(kFirstClient, F_DUPFD_CLOEXEC, kFirstClient));
        if (!client) Refuse(&first, Error::Sys("fcntl"));
        server.AddClient(std::move(client));
        first = FrameSocket{UniqueFd()};
      },
      [&](const Error& error) { Refuse(&first, error); });
  loop.Run();
  server.Close();
  container.RemoveGrave();
  return 0;
}
