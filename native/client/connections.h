// The shims' connections of one Node environment. What is sent goes out at once, from whoever calls; what a
// full socket does not take, and all that a neighbour watches, is the affair of one epoll thread.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "core/frame_socket.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::events {

// Who has descriptors of its own in the same epoll set, with tags from kFirstTag on.
class Neighbour {
 public:
  static constexpr uint64_t kFirstTag = uint64_t{1} << 32U;
  virtual ~Neighbour() = default;
  // On the epoll thread. True when `notify` is to be called.
  virtual bool Serve(uint64_t tag, uint32_t events) = 0;
};

class Connections {
 public:
  // `notify` is called on the epoll thread when a neighbour has something to say. It must not call back in
  // here.
  explicit Connections(std::function<void()> notify) : notify_(std::move(notify)) {}
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  Result<uint32_t> Add(UniqueFd fd);
  // A copy of the connection's descriptor. All reading is its owner's: an event loop that the answer wakes
  // itself has it one thread earlier. The connection lasts until both are closed.
  Result<UniqueFd> Reader(uint32_t connection);
  Status Send(uint32_t connection, std::string_view payload, const std::vector<int>& fds);
  void Close(uint32_t connection);

  // A copy of the epoll set's descriptor, for a neighbour, who then lives as long as this object does.
  Result<UniqueFd> Share();
  void SetNeighbour(Neighbour* neighbour) { neighbour_.store(neighbour); }

 private:
  Status Begin();
  void Loop();
  void Flush(uint32_t connection);

  std::function<void()> notify_;
  std::mutex mutex_;
  pthread_t thread_{};
  bool has_thread_ = false;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::map<uint32_t, std::unique_ptr<FrameSocket>> sockets_;
  std::atomic<Neighbour*> neighbour_ = nullptr;
  uint32_t next_ = 1;
};

}  // namespace lc::events
