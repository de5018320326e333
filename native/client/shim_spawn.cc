// Starting a shim, and reaching one that runs.
#include "client/shim_spawn.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

namespace lc::client {
namespace {

constexpr unsigned kMfdExec = 0x10;  // MFD_EXEC, Linux 6.3; older kernels answer EINVAL
constexpr size_t kMostAtOnce = size_t{1} << 20U;
constexpr int kHighFd = 10;  // clear of the numbers that the file actions below assign

UniqueFd MoveHigh(UniqueFd fd) {
  return UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, kHighFd));
}

Result<UniqueFd> SealedCopy(const std::string& path) {
  UniqueFd from(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!from) return Error::Sys("open", path);
  // By number: glibc has the wrapper since 2.27 only.
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  UniqueFd fd(static_cast<int>(syscall(SYS_memfd_create, "libcontainer-shim", kFlags | kMfdExec)));
  if (!fd && errno == EINVAL)
    fd.Reset(static_cast<int>(syscall(SYS_memfd_create, "libcontainer-shim", kFlags)));
  if (!fd) return Error::Sys("memfd_create", path);
  // By the kernel, not through this program's memory, of which there may be little.
  for (;;) {
    ssize_t n = sendfile(fd.get(), from.get(), nullptr, kMostAtOnce);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::Sys("sendfile", path);
    if (n == 0) break;
  }
  if (fchmod(fd.get(), 0500) != 0) return Error::Sys("fchmod", path);
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
    return Error::Sys("F_ADD_SEALS", path);
  }
  return MoveHigh(std::move(fd));
}

}  // namespace

Result<int> ShimImages::Get(const std::string& path) {
  std::lock_guard<std::mutex> lock(mutex_);
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return Error::Sys("stat", path);
  int64_t modified = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
  auto it = images_.find(path);
  if (it != images_.end() && it->second.inode == st.st_ino && it->second.modified_ns == modified &&
      it->second.size == st.st_size) {
    return it->second.fd.get();
  }
  if (access(path.c_str(), X_OK) != 0) return Error::Sys("access", path);
  auto copy = SealedCopy(path);
  if (!copy) return copy.error();
  if (!*copy) return Error::Of(EMFILE, "fcntl", path);
  int fd = copy->get();
  images_[path] = Image{std::move(*copy), st.st_ino, modified, st.st_size};
  return fd;
}

Result<UniqueFd> SpawnShim(ShimImages* images, const std::string& shim, const std::string& directory,
                           const std::vector<std::string>& environment) {
  auto image = images->Get(shim);
  if (!image) return image.error();
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
    return Error::Sys("socketpair");
  }
  UniqueFd near(pair[0]);
  UniqueFd far = MoveHigh(UniqueFd(pair[1]));
  if (!far) return Error::Sys("fcntl");

  std::string executable = "/proc/self/fd/" + std::to_string(*image);
  std::string name = "libcontainer-shim";
  char* argv[] = {name.data(), const_cast<char*>(directory.c_str()), nullptr};
  std::vector<char*> envp;
  for (const std::string& entry : environment) envp.push_back(const_cast<char*>(entry.c_str()));
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, far.get(), 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  pid_t pid = 0;
  // vfork inside: a large heap of the host program costs nothing.
  int err = posix_spawn(&pid, executable.c_str(), &actions, &attributes, argv, envp.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (err != 0) return Error::Of(err, "posix_spawn", shim);
  // The process that was started forks the shim and ends at once. If the host program ignores SIGCHLD the
  // kernel has reaped it already: ECHILD is as good.
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return near;
}

Result<UniqueFd> ConnectShim(const std::string& directory) {
  UniqueFd at(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return Error::Sys("open", directory);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::Sys("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Through a descriptor, since sun_path takes 107 bytes and a state directory may be longer.
  std::string path = "/proc/self/fd/" + std::to_string(at.get()) + "/shim.sock";
  strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  int rc = -1;
  do {
    rc = connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  } while (rc != 0 && errno == EINTR);
  if (rc != 0) return Error::Sys("connect", directory + "/shim.sock");
  return fd;
}

}  // namespace lc::client
