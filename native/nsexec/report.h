// How the two tasks of an exec report to the shim. System calls only, as all of their steps.
#pragma once

#include <cerrno>

#include "nsexec/child.h"

namespace lc::nsexec {

// The numbers of the two pipes to the shim once the process's own descriptors are placed. They follow those,
// so that one close_range(2) closes the rest. Both are pipes because a pipe carries no descriptors: whoever
// gets hold of one cannot pass the shim a descriptor whose closing takes as long as it likes (a socket with
// SO_LINGER). The write end: a ChildReport goes into it.
inline int ReportAt(const ChildPlan& plan) {
  return kFirstExtra + static_cast<int>(plan.extra_fds.size());
}
// The read end: a byte comes out of it when the process may execute.
inline int GoAt(const ChildPlan& plan) {
  return ReportAt(plan) + 1;
}

enum OnPath : uint32_t { kNoPath = 0, kOnArgs = 1, kOnCwd = 2 };

[[noreturn]] void Fail(int report, const char* call, int err, OnPath on_path = kNoPath);

// Not for a call whose result was kept while others ran: errno is the last one's.
inline void Check(int report, bool good, const char* call, OnPath on_path = kNoPath) {
  if (!good) Fail(report, call, errno, on_path);
}

// Closes every descriptor above `last`; `highest` bounds the walk of kernels before Linux 5.9.
void CloseAbove(int last, int highest);

}  // namespace lc::nsexec
