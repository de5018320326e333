// Descriptors of a host whose event loop cannot wait for them by itself. Node's can; Bun's waits for its own
// only.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "events/epoll_thread.h"

namespace lc::events {

// Thread-safe.
class Readiness final : public EpollHandler {
 public:
  // `epoll`: the set in which the descriptors wait, with the tags `first_tag` + number.
  Readiness(UniqueFd epoll, uint64_t first_tag) : epoll_(std::move(epoll)), first_tag_(first_tag) {}

  // Tells once, by the number returned, when `fd` can be read or written, or its other side is gone. Makes it
  // non-blocking: somebody else may have read what made it ready.
  Result<uint32_t> Await(int fd, bool writing);
  // Nothing more of that number. To be called before the descriptor is closed.
  void Forget(uint32_t number);
  // Those that became ready.
  std::vector<uint32_t> Take();

  bool Serve(uint32_t number, uint32_t events) override;

 private:
  const UniqueFd epoll_;
  const uint64_t first_tag_;
  std::mutex mutex_;
  std::unordered_map<uint32_t, int> awaited_;
  std::vector<uint32_t> ready_;
  uint32_t next_ = 1;
};

}  // namespace lc::events
