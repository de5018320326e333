// The program that runc puts before a filter: ENOSYS for system calls newer than the profile.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace lc::seccomp {

// The highest system call numbers that a profile names, of one AUDIT_ARCH_* architecture.
struct KnownCalls {
  uint32_t audit_arch = 0;
  std::optional<uint32_t> highest;
  std::optional<uint32_t> highest_x32;  // of x86-64's other mode, without its bit
};

// A C library that asks for a new system call falls back on ENOSYS, not on EPERM; a profile written before
// the call existed answers with its default action. Falls through to what follows it for all else.
std::vector<sock_filter> EnosysStub(const std::vector<KnownCalls>& known);

}  // namespace lc::seccomp
