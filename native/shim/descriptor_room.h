// How many descriptors this process still has to give.
#pragma once

#include <sys/resource.h>

namespace lc::shim {

// Kept from new connections: those that are there need some for what they ask for.
inline constexpr rlim_t kKeptForClients = 64;
// Kept from new processes: without any, no exit can be recorded and nothing can be deleted.
inline constexpr rlim_t kKeptForWork = 32;

// Of `soft` descriptors in all, `kept` or, where they are few, a share of them.
inline rlim_t KeptOf(rlim_t soft, rlim_t kept) {
  return soft / 8 < kept ? soft / 8 : kept;
}

// Whether more than `kept` are left. `fd` is the lowest number that was free, so all below are in use.
inline bool HasRoomAbove(int fd, rlim_t kept) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return true;
  return static_cast<rlim_t>(fd) + KeptOf(limit.rlim_cur, kept) < limit.rlim_cur;
}

}  // namespace lc::shim
