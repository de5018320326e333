// One inotify instance: a user may have few of them (128), so all watches of an environment share it.
#include "events/inotify.h"

#include <sys/eventfd.h>
#include <sys/inotify.h>

#include <cstring>

namespace lc::events {

Status Inotify::Open() {
  if (fd_) return Ok();
  UniqueFd fd(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!fd) {
    Error error = Error::Sys("inotify_init1");
    // EMFILE is the answer to two different shortages.
    UniqueFd any(eventfd(0, EFD_CLOEXEC));
    if (error.err == EMFILE && any)
      error.text = "no inotify instance is left to this user: raise the sysctl fs.inotify.max_user_instances";
    return error;
  }
  fd_ = std::move(fd);
  return Ok();
}

Result<int> Inotify::Add(const std::string& path, uint32_t mask) {
  int watch = inotify_add_watch(fd_.get(), path.c_str(), mask);
  if (watch >= 0) return watch;
  Error error = Error::Sys("inotify_add_watch", path);
  if (error.err == ENOSPC)
    error.text = "no inotify watch is left to this user: raise the sysctl fs.inotify.max_user_watches";
  return error;
}

void Inotify::Remove(int watch) {
  inotify_rm_watch(fd_.get(), watch);
}

bool Inotify::Drain(const OnChange& on_change) {
  bool whole = true;
  alignas(inotify_event) char buffer[16384];
  for (;;) {
    ssize_t size = read(fd_.get(), buffer, sizeof(buffer));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return whole;
    for (char* at = buffer; at < buffer + size;) {
      inotify_event event;
      memcpy(&event, at, sizeof(event));
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        whole = false;
      } else {
        // Padded with NUL bytes to its length.
        on_change(event.wd, event.mask, event.len == 0 ? std::string_view() : at + sizeof(event));
      }
      at += sizeof(event) + event.len;
    }
  }
}

}  // namespace lc::events
