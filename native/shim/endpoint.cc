// One end of a copy, read and written without ever waiting, whoever else holds what it leads to.
#include "shim/endpoint.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "shim/relay.h"

namespace lc::shim {
namespace {

bool IsKind(int fd, mode_t kind) {
  struct stat st {};
  return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == kind;
}

// A pipe of ours, between it and `fd` a process that may wait.
Result<Endpoint> ByRelay(int fd, int access_mode) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return Error::Sys("pipe2");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  bool reads = access_mode == O_RDONLY;
  auto relay = reads ? StartRelay(fd, write_end.get()) : StartRelay(read_end.get(), fd);
  if (!relay) return relay.error();
  return Endpoint(std::move(reads ? read_end : write_end));
}

}  // namespace

void SetBlocking(int fd, bool blocking) {
  int flags = fcntl(fd, F_GETFL);
  int wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  if (flags >= 0 && wanted != flags) fcntl(fd, F_SETFL, wanted);
}

UniqueFd Reopen(int fd, int flags) {
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  return UniqueFd(open(path.c_str(), flags | O_NOCTTY | O_CLOEXEC));
}

Endpoint::Endpoint(UniqueFd own) : fd_(std::move(own)) {
  if (!fd_) return;
  socket_ = IsKind(fd_.get(), S_IFSOCK);
  SetBlocking(fd_.get(), false);
}

Result<Endpoint> Endpoint::Shared(int fd, int access_mode) {
  Endpoint out;
  out.socket_ = IsKind(fd, S_IFSOCK);
  // A regular file makes nobody wait, and its offset is to stay the caller's.
  if (out.socket_ || IsKind(fd, S_IFREG)) {
    out.fd_.Reset(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!out.fd_) return Error::Sys("fcntl");
    return out;
  }
  int flags = O_NONBLOCK | (access_mode == O_WRONLY ? O_APPEND : 0);
  out.fd_ = Reopen(fd, access_mode | flags);
  // A named FIFO that nobody reads now: its next reader goes on where the last one left.
  if (!out.fd_ && errno == ENXIO && IsKind(fd, S_IFIFO)) out.fd_ = Reopen(fd, O_RDWR | flags);
  if (out.fd_) return out;
  Error error = Error::Sys("open", "/proc/self/fd/" + std::to_string(fd));
  if (IsShortage(error) && error.err != EIO) return error;
  return ByRelay(fd, access_mode);
}

ssize_t Endpoint::Read(void* bytes, size_t size) const {
  ssize_t n = -1;
  do {
    n = socket_ ? recv(fd_.get(), bytes, size, MSG_DONTWAIT) : read(fd_.get(), bytes, size);
  } while (n < 0 && errno == EINTR);
  return n;
}

ssize_t Endpoint::Write(const void* bytes, size_t size) const {
  ssize_t n = -1;
  do {
    n = socket_ ? send(fd_.get(), bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) : write(fd_.get(), bytes, size);
  } while (n < 0 && errno == EINTR);
  return n;
}

}  // namespace lc::shim
