// What the two tasks of an exec tell the parent. System calls only, as all of their steps.
#pragma once

#include <cerrno>

#include "nsexec/child.h"

namespace lc::nsexec {

// The number that the channel has once stdio is placed: the first one after it, so that one close_range(2)
// closes the rest.
inline constexpr int kChannel = 3;

enum OnPath : uint32_t { kNoPath = 0, kOnArgs = 1, kOnCwd = 2 };

[[noreturn]] void Fail(int channel, const char* call, int err, OnPath on_path = kNoPath);

// Not for a call whose result was kept while others ran: errno is the last one's.
inline void Check(int channel, bool good, const char* call, OnPath on_path = kNoPath) {
  if (!good) Fail(channel, call, errno, on_path);
}

// Closes every descriptor above `last`; `highest` bounds the walk of kernels before Linux 5.9.
void CloseAbove(int last, int highest);

}  // namespace lc::nsexec
