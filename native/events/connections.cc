// The shims' connections of one Node environment, read by one epoll thread; what they say comes out as facts.
#include "events/connections.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <csignal>

namespace lc::events {
namespace {

constexpr uint64_t kWakeTag = 0;

}  // namespace

Connections::~Connections() {
  if (!thread_.joinable()) return;
  uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  thread_.join();
}

Status Connections::Begin() {
  if (thread_.joinable()) return Ok();
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::Sys("epoll_create1");
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return Error::Sys("eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeTag;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) return Error::Sys("epoll_ctl");
  epoll_ = std::move(epoll);
  wake_ = std::move(wake);
  // The host's signals are the host's: none is delivered to this thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Loop(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return Ok();
}

Result<uint32_t> Connections::Add(UniqueFd fd) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto begun = Begin();
  if (!begun) return begun.error();
  uint32_t id = next_++;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = id;
  int raw = fd.get();
  sockets_[id] = std::make_unique<FrameSocket>(std::move(fd));
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, raw, &event) != 0) {
    Error error = Error::Sys("epoll_ctl");
    sockets_.erase(id);
    return error;
  }
  return id;
}

Status Connections::Send(uint32_t connection, std::string_view payload, const std::vector<int>& fds) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = sockets_.find(connection);
  if (it == sockets_.end()) return Error::Of(ENOTCONN, "sendmsg");
  auto sent = it->second->Send(payload, fds);
  if (!sent) return sent;
  if (it->second->wants_flush()) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT;
    event.data.u64 = connection;
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, it->second->fd(), &event);
  }
  return Ok();
}

void Connections::Close(uint32_t connection) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = sockets_.find(connection);
  if (it == sockets_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd(), nullptr);
  sockets_.erase(it);
}

Result<UniqueFd> Connections::Share() {
  std::lock_guard<std::mutex> lock(mutex_);
  auto begun = Begin();
  if (!begun) return begun.error();
  UniqueFd copy(fcntl(epoll_.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return Error::Sys("fcntl");
  return copy;
}

std::vector<Connections::Fact> Connections::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Fact> out;
  out.swap(facts_);
  return out;
}

// True when facts wait that nobody has been told of.
bool Connections::Serve(uint64_t tag, uint32_t events) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto id = static_cast<uint32_t>(tag);
  auto it = sockets_.find(id);
  if (it == sockets_.end()) return false;
  FrameSocket* socket = it->second.get();
  bool was_empty = facts_.empty();
  bool broken = false;
  if ((events & EPOLLOUT) != 0) {
    broken = !socket->Flush().ok();
    if (!broken && !socket->wants_flush()) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = id;
      epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, socket->fd(), &event);
    }
  }
  std::vector<Frame> frames;
  broken = socket->Read(&frames) != FrameSocket::State::kOpen || broken;
  for (Frame& frame : frames) facts_.push_back({id, false, std::move(frame.payload)});
  if (broken) {
    facts_.push_back({id, true, {}});
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket->fd(), nullptr);
    sockets_.erase(it);
  }
  return was_empty && !facts_.empty();
}

void Connections::Loop() {
  pthread_setname_np(pthread_self(), "libcontainer");
  epoll_event events[64];
  for (;;) {
    int n = epoll_wait(epoll_.get(), events, 64, -1);
    bool tell = false;
    for (int i = 0; i < n; ++i) {
      if (events[i].data.u64 == kWakeTag) return;
      Neighbour* neighbour = events[i].data.u64 < Neighbour::kFirstTag ? nullptr : neighbour_.load();
      bool told = neighbour != nullptr ? neighbour->Serve(events[i].data.u64, events[i].events)
                                       : Serve(events[i].data.u64, events[i].events);
      tell = told || tell;
    }
    if (tell) notify_();
  }
}

}  // namespace lc::events
