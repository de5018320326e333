// The shim's only thread: epoll, timers, and work put off until the current round is done.
#include "shim/event_loop.h"

#include <sys/epoll.h>

#include <algorithm>
#include <climits>
#include <ctime>

namespace lc::shim {
namespace {

int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);  // a changed wall clock moves no deadline
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// The generation tells an event for a closed descriptor from one for its number's next owner.
uint64_t Tag(int fd, uint32_t generation) {
  return uint64_t{generation} << 32U | static_cast<uint32_t>(fd);
}

// Of a timer's id: the deadline, and a number that tells those of one millisecond apart.
constexpr unsigned kSerialBits = 24;
constexpr uint32_t kMaxSerial = (1U << kSerialBits) - 1;

int64_t DeadlineOf(EventLoop::TimerId id) {
  return static_cast<int64_t>(id >> kSerialBits);
}

}  // namespace

Status EventLoop::Open() {
  epoll_.Reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return Error::Sys("epoll_create1");
  return Ok();
}

Status EventLoop::Watch(int fd, uint32_t events, Handler handler) {
  uint32_t generation = ++generation_;
  epoll_event event{};
  event.events = events;
  event.data.u64 = Tag(fd, generation);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return Error::Sys("epoll_ctl");
  watched_[fd] = {generation, std::make_shared<Handler>(std::move(handler))};
  return Ok();
}

void EventLoop::Change(int fd, uint32_t events) {
  auto it = watched_.find(fd);
  if (it == watched_.end()) return;
  epoll_event event{};
  event.events = events;
  event.data.u64 = Tag(fd, it->second.generation);
  epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventLoop::Unwatch(int fd) {
  if (watched_.erase(fd) > 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

EventLoop::TimerId EventLoop::After(int64_t milliseconds, std::function<void()> work) {
  timer_serial_ = timer_serial_ % kMaxSerial + 1;
  TimerId id = static_cast<TimerId>(NowMs() + milliseconds) << kSerialBits | timer_serial_;
  timers_[id] = std::move(work);
  return id;
}

void EventLoop::Cancel(TimerId id) {
  timers_.erase(id);
}

int EventLoop::NextTimeout() const {
  if (!deferred_.empty()) return 0;
  if (timers_.empty()) return -1;
  int64_t left = DeadlineOf(timers_.begin()->first) - NowMs();
  return static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX));
}

void EventLoop::FireTimers() {
  int64_t now = NowMs();
  while (!timers_.empty() && DeadlineOf(timers_.begin()->first) <= now) {
    auto work = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    work();
  }
}

void EventLoop::RunDeferred() {
  std::vector<std::function<void()>> work;
  work.swap(deferred_);
  for (auto& item : work) item();
}

void EventLoop::RunOnce(int milliseconds) {
  epoll_event events[64];
  int timeout = NextTimeout();
  if (milliseconds >= 0 && (timeout < 0 || timeout > milliseconds)) timeout = milliseconds;
  int n = epoll_wait(epoll_.get(), events, 64, timeout);
  for (int i = 0; i < n; ++i) {
    int fd = static_cast<int>(static_cast<uint32_t>(events[i].data.u64));
    auto it = watched_.find(fd);
    if (it == watched_.end() || it->second.generation != events[i].data.u64 >> 32U) continue;
    auto handler = it->second.handler;  // outlives an Unwatch from within
    (*handler)(events[i].events);
  }
  FireTimers();
  RunDeferred();
}

void EventLoop::Run() {
  while (!stopped_) RunOnce(-1);
}

}  // namespace lc::shim
