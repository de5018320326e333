// A process that copies from one descriptor to another and may wait for both, which the shim may not.
#pragma once

#include <sys/types.h>

#include "core/result.h"

namespace lc::shim {

// Copies until `from` is at its end or nobody reads `to` any more; the process goes on when the shim is
// killed. Its pid: a child of this process, to be reaped.
Result<pid_t> StartRelay(int from, int to);

}  // namespace lc::shim
