// The one epoll thread of a Node environment: it waits for all descriptors that its handlers have in the set.
#pragma once

#include <pthread.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::events {

class EpollHandler {
 public:
  virtual ~EpollHandler() = default;
  // Called on the epoll thread for a descriptor of this handler. True: call `notify`.
  virtual bool Serve(uint32_t number, uint32_t events) = 0;
};

class EpollThread {
 public:
  enum class Owner : uint8_t { kThread, kConnections, kWatches, kReadiness };
  static constexpr size_t kOwners = 4;

  // `notify` is called on the epoll thread when a handler has something to say. It must not call back in
  // here.
  explicit EpollThread(std::function<void()> notify) : notify_(std::move(notify)) {}
  ~EpollThread();
  EpollThread(const EpollThread&) = delete;
  EpollThread& operator=(const EpollThread&) = delete;

  // A copy of the set's descriptor. Starts the thread if it is not there yet.
  Result<UniqueFd> Share();
  // The handler serves all descriptors with this owner's tags, and must live as long as this object.
  void SetHandler(Owner owner, EpollHandler* handler) { handlers_[Index(owner)].store(handler); }

  // The epoll data of a descriptor: whose it is and the number that its handler is given.
  static constexpr uint64_t Tag(Owner owner, uint32_t number) {
    return uint64_t{Index(owner)} << 32U | number;
  }

 private:
  static constexpr size_t Index(Owner owner) { return static_cast<size_t>(owner); }

  Status Begin();
  void Loop();

  const std::function<void()> notify_;
  std::mutex mutex_;
  pthread_t thread_{};
  bool has_thread_ = false;
  UniqueFd epoll_;
  UniqueFd wake_;
  std::array<std::atomic<EpollHandler*>, kOwners> handlers_{};
};

}  // namespace lc::events
