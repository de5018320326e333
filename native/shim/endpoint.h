// One end of a copy, read and written without ever waiting, whoever else holds what it leads to.
#pragma once

#include <sys/types.h>

#include <cstddef>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::shim {

class Endpoint {
 public:
  Endpoint() = default;
  // An open file that nobody else holds, which is made non-blocking.
  Endpoint(UniqueFd own);  // NOLINT(google-explicit-constructor)

  // What somebody else may hold too: it is opened again, since O_NONBLOCK belongs to the open file and not to
  // the descriptor. A socket cannot be opened again and is used with MSG_DONTWAIT. What can be neither (a
  // terminal by the name /dev/tty) is read or written by a process of its own, which may wait: see relay.h.
  static Result<Endpoint> Shared(int fd, int access_mode);

  int get() const { return fd_.get(); }
  explicit operator bool() const { return static_cast<bool>(fd_); }

  // As read(2) and write(2); EAGAIN where they would wait. No SIGPIPE.
  ssize_t Read(void* bytes, size_t size) const;
  ssize_t Write(const void* bytes, size_t size) const;

 private:
  UniqueFd fd_;
  bool socket_ = false;
};

void SetBlocking(int fd, bool blocking);

// A second open file of what `fd` leads to. Empty, with errno, where it cannot be opened again.
UniqueFd Reopen(int fd, int flags);

}  // namespace lc::shim
