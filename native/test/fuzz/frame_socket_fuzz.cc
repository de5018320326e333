// Whatever bytes a peer sends: frames within bounds, or garbled; never more.
#include <sys/socket.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/frame_socket.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) abort();
  lc::FrameSocket socket{lc::UniqueFd(ends[0])};
  (void)!write(ends[1], data, size);
  close(ends[1]);
  std::vector<lc::Frame> frames;
  while (socket.Read(&frames) == lc::FrameSocket::State::kOpen) {
  }
  size_t total = 0;
  for (const lc::Frame& frame : frames) total += frame.payload.size() + 8;
  if (total > size) abort();
  return 0;
}
