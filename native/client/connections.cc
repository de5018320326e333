// The shims' connections of one Node environment, and the epoll thread beside them.
#include "client/connections.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <csignal>

namespace lc::events {
namespace {

constexpr uint64_t kWakeTag = 0;

}  // namespace

Connections::~Connections() {
  if (!has_thread_) return;
  uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  pthread_join(thread_, nullptr);
}

Status Connections::Begin() {
  if (has_thread_) return Ok();
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
  auto work = [](void* connections) -> void* {
    static_cast<Connections*>(connections)->Loop();
    return nullptr;
  };
  // The host's signals are the host's: none is delivered to this thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // Not std::thread, which ends the program where there is no thread to be had.
  int error = pthread_create(&thread_, nullptr, work, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Error::Of(error, "pthread_create");
  has_thread_ = true;
  return Ok();
}

Result<uint32_t> Connections::Add(UniqueFd fd) {
  std::lock_guard<std::mutex> lock(mutex_);
  // Now rather than when a full socket asks for it: then there would be no way back.
  auto begun = Begin();
  if (!begun) return begun.error();
  uint32_t id = next_++;
  sockets_[id] = std::make_unique<FrameSocket>(std::move(fd));
  return id;
}

Result<UniqueFd> Connections::Reader(uint32_t connection) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = sockets_.find(connection);
  if (it == sockets_.end()) return Error::Of(ENOTCONN, "fcntl");
  UniqueFd copy(fcntl(it->second->fd(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return Error::Sys("fcntl");
  return copy;
}

Status Connections::Send(uint32_t connection, std::string_view payload, const std::vector<int>& fds) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = sockets_.find(connection);
  if (it == sockets_.end()) return Error::Of(ENOTCONN, "sendmsg");
  FrameSocket* socket = it->second.get();
  bool flushing = socket->wants_flush();
  auto sent = socket->Send(payload, fds);
  if (!sent || flushing || !socket->wants_flush()) return sent;
  epoll_event event{};
  event.events = EPOLLOUT;
  event.data.u64 = connection;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket->fd(), &event) != 0) return Error::Sys("epoll_ctl");
  return Ok();
}

void Connections::Close(uint32_t connection) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = sockets_.find(connection);
  if (it == sockets_.end()) return;
  // Explicitly: a closed descriptor stays in the set while its reader's copy is open.
  if (it->second->wants_flush()) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second->fd(), nullptr);
  // At once for the shim too, whoever has a copy of the descriptor still.
  shutdown(it->second->fd(), SHUT_RDWR);
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

void Connections::Flush(uint32_t connection) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = sockets_.find(connection);
  if (it == sockets_.end() || !it->second->wants_flush()) return;
  FrameSocket* socket = it->second.get();
  bool broken = !socket->Flush().ok();
  if (!broken && socket->wants_flush()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket->fd(), nullptr);
  // The reader sees the end of it.
  if (broken) shutdown(socket->fd(), SHUT_RDWR);
}

void Connections::Loop() {
  pthread_setname_np(pthread_self(), "libcontainer");
  epoll_event events[64];
  for (;;) {
    int n = epoll_wait(epoll_.get(), events, 64, -1);
    bool tell = false;
    for (int i = 0; i < n; ++i) {
      if (events[i].data.u64 == kWakeTag) return;
      if (events[i].data.u64 < Neighbour::kFirstTag) {
        Flush(static_cast<uint32_t>(events[i].data.u64));
        continue;
      }
      Neighbour* neighbour = neighbour_.load();
      if (neighbour != nullptr && neighbour->Serve(events[i].data.u64, events[i].events)) tell = true;
    }
    if (tell) notify_();
  }
}

}  // namespace lc::events
