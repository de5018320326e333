// The shim's only thread: epoll, timers, and work put off until the current round is done.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::shim {

class EventLoop {
 public:
  using Handler = std::function<void(uint32_t events)>;
  using TimerId = uint64_t;

  Status Open();

  // One handler a descriptor. EPERM for a regular file, which is always ready.
  Status Watch(int fd, uint32_t events, Handler handler);
  void Change(int fd, uint32_t events);
  void Unwatch(int fd);

  TimerId After(int64_t milliseconds, std::function<void()> work);
  void Cancel(TimerId id);

  // Runs once the handlers of this round have returned: safe for an object that ends itself.
  void Defer(std::function<void()> work) { deferred_.push_back(std::move(work)); }

  void Run();
  // What is there now, waiting `milliseconds` at most for the first of it (-1: as long as it takes).
  void RunOnce(int milliseconds);
  void Stop() { stopped_ = true; }

 private:
  struct Watched {
    uint32_t generation;
    std::shared_ptr<Handler> handler;
  };

  int NextTimeout() const;
  void FireTimers();
  void RunDeferred();

  UniqueFd epoll_;
  std::unordered_map<int, Watched> watched_;
  // By deadline: it is the upper part of an id.
  std::map<TimerId, std::function<void()>> timers_;
  std::vector<std::function<void()>> deferred_;
  uint32_t generation_ = 0;
  uint32_t timer_serial_ = 0;
  bool stopped_ = false;
};

}  // namespace lc::shim
