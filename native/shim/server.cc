// The shim's socket: a file system one, mode 0600, for peers of the same user.
#include "shim/server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "core/protection.h"
#include "shim/descriptor_room.h"
#include "shim/message.h"

namespace lc::shim {
namespace {

constexpr const char* kSocket = "shim.sock";
constexpr int kBacklog = 256;    // of those that wait to be accepted
constexpr int kMaxAccepts = 64;  // of one round of the loop

bool IsSameUser(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

}  // namespace

Status Server::Listen() {
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::Sys("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Relative to the state directory, so that a long path does not matter.
  strncpy(address.sun_path, kSocket, sizeof(address.sun_path) - 1);
  if (Without("socket-path")) {
    int abstract = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    memcpy(name.sun_path, "\0libcontainer", 13);
    if (bind(abstract, reinterpret_cast<sockaddr*>(&name), sizeof(name)) == 0) listen(abstract, 1);
  }
  unlink(kSocket);
  mode_t before = umask(Without("modes") ? 0 : 0177);  // 0600 from its first moment on
  int bound = bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  umask(before);
  if (bound != 0) return Error::Sys("bind", kSocket);
  if (listen(fd.get(), kBacklog) != 0) return Error::Sys("listen", kSocket);
  listener_ = std::move(fd);
  spare_.Reset(fcntl(listener_.get(), F_DUPFD_CLOEXEC, 3));
  return Ok();
}

Status Server::Accepting() {
  return loop_.Watch(listener_.get(), EPOLLIN, [this](uint32_t) { Accept(); });
}

void Server::Accept() {
  for (int accepted = 0; accepted < kMaxAccepts; ++accepted) {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd && (errno == EMFILE || errno == ENFILE)) {
      // Left in the queue it would wake the loop again at once, for ever.
      spare_.Reset();
      Refuse(UniqueFd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)));
      spare_.Reset(fcntl(listener_.get(), F_DUPFD_CLOEXEC, 3));
      continue;
    }
    if (!fd) return;
    if (!IsSameUser(fd.get()) && !Without("peer")) continue;
    if (HasRoomAbove(fd.get(), kKeptForClients)) {
      AddClient(std::move(fd));
    } else {
      Refuse(std::move(fd));
    }
  }
}

// Says why, in the place of the hello, and hangs up.
void Server::Refuse(UniqueFd fd) {
  if (!fd) return;
  Error error = Error::Of(EMFILE, "accept");
  error.text = "the shim serves " + std::to_string(clients_.size()) +
               " connections and its limit on open files (ulimit -n) leaves room for no other";
  FrameSocket socket(std::move(fd));
  (void)socket.Send(Message().Add("event", "failed").AddError(error).Done());
}

void Server::AddClient(UniqueFd fd) {
  ClientId id = next_client_++;
  auto socket = std::make_unique<FrameSocket>(std::move(fd));
  auto watched = loop_.Watch(socket->fd(), EPOLLIN, [this, id](uint32_t events) { OnClient(id, events); });
  if (!watched) return;
  FrameSocket* raw = socket.get();
  clients_[id] = std::move(socket);
  SendTo(id, raw, container_->Hello());
}

void Server::OnClient(ClientId id, uint32_t events) {
  auto it = clients_.find(id);
  if (it == clients_.end()) return;
  FrameSocket* socket = it->second.get();
  if ((events & EPOLLOUT) != 0) {
    if (!socket->Flush()) return Drop(id, Cause::kGone);
    if (!socket->wants_flush()) loop_.Change(socket->fd(), EPOLLIN);
  }
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  std::vector<Frame> frames;
  auto state = socket->Read(&frames);
  container_->HandleAll(id, std::move(frames));
  if (container_->finished() || state == FrameSocket::State::kOpen) return;
  Drop(id, state == FrameSocket::State::kClosed ? Cause::kGone : Cause::kBroken);
}

void Server::Drop(ClientId id, Cause cause) {
  auto it = clients_.find(id);
  if (it == clients_.end()) return;
  loop_.Unwatch(it->second->fd());
  clients_.erase(it);
  container_->ClientGone(id, cause == Cause::kBroken);
}

void Server::SendTo(ClientId id, FrameSocket* socket, const std::string& message) {
  bool first = !socket->wants_flush();
  // A peer that reads no more is let go, but not in the middle of what the container is doing.
  if (!socket->Queue(message)) return loop_.Defer([this, id] { Drop(id, Cause::kBroken); });
  if (first) loop_.Defer([this, id] { Flush(id); });
}

// What one round of the loop had to say leaves in one piece.
void Server::Flush(ClientId id) {
  auto it = clients_.find(id);
  if (it == clients_.end()) return;
  FrameSocket* socket = it->second.get();
  if (!socket->Flush()) return Drop(id, Cause::kGone);
  if (socket->wants_flush()) loop_.Change(socket->fd(), EPOLLIN | EPOLLOUT);
}

pid_t Server::ProcessOf(ClientId client) const {
  auto known = clients_.find(client);
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (known == clients_.end() || getsockopt(known->second->fd(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return 0;
  return peer.pid;
}

void Server::Send(ClientId client, const std::string& message) {
  auto it = clients_.find(client);
  if (it != clients_.end()) SendTo(client, it->second.get(), message);
}

void Server::Broadcast(const std::string& message) {
  for (auto& [id, socket] : clients_) SendTo(id, socket.get(), message);
}

void Server::Close() {
  if (listener_) loop_.Unwatch(listener_.get());
  listener_.Reset();
  spare_.Reset();
  unlink(kSocket);
  for (auto& [id, socket] : clients_) {
    for (int attempt = 0; attempt < 10 && socket->wants_flush(); ++attempt) {
      pollfd wait{socket->fd(), POLLOUT, 0};
      if (poll(&wait, 1, 100) <= 0 || !socket->Flush()) break;
    }
  }
  clients_.clear();
}

}  // namespace lc::shim
