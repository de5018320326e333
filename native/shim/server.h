// The shim's socket: a file system one, mode 0600, for peers of the same user.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "core/frame_socket.h"
#include "shim/container.h"
#include "shim/event_loop.h"

namespace lc::shim {

class Server : public Clients {
 public:
  explicit Server(EventLoop& loop) : loop_(loop) {}

  // Listens on shim.sock in the working directory; those who connect wait until it is accepting.
  Status Listen();
  Status Accepting();
  void Serve(Container* container) { container_ = container; }
  // Takes a connection that is there already, and says hello.
  void AddClient(UniqueFd fd);
  // No new clients; those there get what is still owed to them, within reason.
  void Close();

  void Send(ClientId client, const std::string& message) override;
  pid_t ProcessOf(ClientId client) const override;
  void Broadcast(const std::string& message) override;
  size_t count() const override { return clients_.size(); }

 private:
  void Accept();
  void Refuse(UniqueFd fd);
  void OnClient(ClientId id, uint32_t events);
  enum class Cause { kGone, kBroken };
  void Drop(ClientId id, Cause cause);
  void Flush(ClientId id);
  void SendTo(ClientId id, FrameSocket* socket, const std::string& message);

  EventLoop& loop_;
  Container* container_ = nullptr;
  UniqueFd listener_;
  UniqueFd spare_;  // given up for a moment to turn a client away when there are no more descriptors
  std::map<ClientId, std::unique_ptr<FrameSocket>> clients_;
  ClientId next_client_ = 1;
};

}  // namespace lc::shim
