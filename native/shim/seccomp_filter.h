// The container's seccomp filter as the kernel takes it: made once, applied to every exec.
#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"
#include "state/runtime_record.h"

namespace lc::shim {

struct SeccompFilter {
  std::string program;  // an array of sock_filter
  uint32_t flags = 0;   // SECCOMP_FILTER_FLAG_*
};

// From the runtime's record: what crun compiled at create, else compiled here. The compiling is done by a
// child that ends with it: its memory, and libseccomp's, are not the shim's.
Result<SeccompFilter> LoadSeccompFilter(const RuntimeRecord& record);

}  // namespace lc::shim
