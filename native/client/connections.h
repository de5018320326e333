// The connections of one Node environment to shims. Whoever calls sends at once; what a full socket does not
// take is sent when the environment's epoll thread finds it writable.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/frame_socket.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::client {

// Thread-safe.
class Connections {
 public:
  // `epoll`: the set in which full sockets wait, with the tags `first_tag` + connection.
  Connections(UniqueFd epoll, uint64_t first_tag) : epoll_(std::move(epoll)), first_tag_(first_tag) {}
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  uint32_t Add(UniqueFd fd);
  // A copy of the connection's descriptor. Its owner does all the reading: an event loop that the answer
  // wakes itself has it one thread earlier. The connection lasts until both are closed.
  Result<UniqueFd> Reader(uint32_t connection);
  Status Send(uint32_t connection, std::string_view payload, const std::vector<int>& fds);
  void Close(uint32_t connection);

  // Sends what is left. For the epoll thread, when it finds the socket writable.
  void Flush(uint32_t connection);

 private:
  const UniqueFd epoll_;
  const uint64_t first_tag_;
  std::mutex mutex_;
  std::map<uint32_t, std::unique_ptr<FrameSocket>> sockets_;
  uint32_t next_ = 1;
};

}  // namespace lc::client
