// Frames with descriptors over a Unix stream socket: what the addon and the shim speak.
//
// A frame is a 4-byte length and a 4-byte descriptor count (host order, both ends are on one machine), then
// the payload. Descriptors travel with the frame's first byte. Both are bounded, whoever the peer is.
#pragma once

#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

struct Frame {
  std::string payload;
  std::vector<UniqueFd> fds;
  // The frame came with descriptors, and the kernel had no numbers left for them here: `fds` is empty.
  bool cut_off = false;
};

class FrameSocket {
 public:
  static constexpr uint32_t kMaxPayload = 16U << 20U;
  static constexpr uint32_t kMaxFds = 64;
  // A peer that does not read for this long is let go rather than held in memory.
  static constexpr size_t kMaxBacklog = 32U << 20U;

  enum class State { kOpen, kClosed, kGarbled };

  explicit FrameSocket(UniqueFd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }

  // Reads what is there without waiting, within bounds: called again while the descriptor is readable.
  State Read(std::vector<Frame>* out);

  // Sends at once what the socket takes and keeps the rest for Flush(). Descriptors are duplicated where
  // they must wait, so the caller may close its own. An error means that the connection is of no more use.
  Status Send(std::string_view payload, const std::vector<int>& fds = {});
  // Keeps it for Flush(), so that what is said in one go is one system call, and wakes the peer once.
  Status Queue(std::string_view payload);
  Status Flush();
  bool wants_flush() const { return !backlog_.empty(); }

 private:
  struct Outgoing {
    std::string bytes;
    size_t sent = 0;
    std::vector<UniqueFd> fds;
  };

  Result<size_t> Push(std::string_view bytes, const std::vector<int>& fds);
  State Parse(std::vector<Frame>* out);

  UniqueFd fd_;
  std::string in_;
  // Neither holds memory while it is empty: a program may have a thousand connections that are silent. An
  // element without a descriptor stands for those of one frame that were cut off.
  std::list<UniqueFd> in_fds_;
  std::list<Outgoing> backlog_;
  size_t backlog_bytes_ = 0;  // that are still to be sent
};

}  // namespace lc
