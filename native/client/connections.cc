// The connections of one Node environment to shims.
#include "client/connections.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>

namespace lc::client {

uint32_t Connections::Add(UniqueFd fd) {
  std::lock_guard<std::mutex> lock(mutex_);
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
  event.data.u64 = first_tag_ + connection;
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

}  // namespace lc::client
