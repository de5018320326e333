// The shims' connections of one Node environment, read by one epoll thread; what they say comes out as facts.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/frame_socket.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::events {

class Connections {
 public:
  struct Fact {
    uint32_t connection = 0;
    bool closed = false;
    std::string message;
  };

  // `notify` is called on the epoll thread when facts wait after there were none. It must not call back in
  // here.
  explicit Connections(std::function<void()> notify) : notify_(std::move(notify)) {}
  ~Connections();
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;

  Result<uint32_t> Add(UniqueFd fd);
  Status Send(uint32_t connection, std::string_view payload, const std::vector<int>& fds);
  // No more facts of it; the socket is closed at once.
  void Close(uint32_t connection);
  std::vector<Fact> Take();

 private:
  Status Begin();
  void Loop();
  bool Serve(uint64_t tag, uint32_t events);

  std::function<void()> notify_;
  std::mutex mutex_;
  std::thread thread_;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::map<uint32_t, std::unique_ptr<FrameSocket>> sockets_;
  std::vector<Fact> facts_;
  uint32_t next_ = 1;
};

}  // namespace lc::events
