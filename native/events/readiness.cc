// Descriptors of a host whose event loop cannot wait for them by itself.
#include "events/readiness.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <utility>

namespace lc::events {

Result<uint32_t> Readiness::Await(int fd, bool writing) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0))
    return Error::Sys("fcntl");
  std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t number = next_++;
  epoll_event event{};
  event.events = writing ? EPOLLOUT : EPOLLIN;
  event.data.u64 = first_tag_ + number;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Error::Sys("epoll_ctl");
  awaited_.emplace(number, fd);
  return number;
}

void Readiness::Forget(uint32_t number) {
  std::lock_guard<std::mutex> lock(mutex_);
  std::erase(ready_, number);
  auto it = awaited_.find(number);
  if (it == awaited_.end()) return;
  // Explicitly: a closed descriptor stays in the set while a copy of it is open somewhere.
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second, nullptr);
  awaited_.erase(it);
}

std::vector<uint32_t> Readiness::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(ready_, {});
}

bool Readiness::Serve(uint32_t number, uint32_t) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = awaited_.find(number);
  if (it == awaited_.end()) return false;  // forgotten since epoll_wait returned
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second, nullptr);
  awaited_.erase(it);
  ready_.push_back(number);
  return true;
}

}  // namespace lc::events
