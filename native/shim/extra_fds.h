// The extra descriptors of an exec: `fds`.
#pragma once

#include <vector>

#include "core/json.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::shim {

// Takes the last ones of `fds`, as many as the request says. ERR_INVALID_ARG_VALUE for one that leads out of
// the container: a directory, an O_PATH descriptor, a pidfd, a mount, or a file of nsfs, procfs or cgroupfs
// (CVE-2024-21626).
Result<std::vector<UniqueFd>> TakeExtraFds(const JsonValue& request, std::vector<UniqueFd>* fds);

}  // namespace lc::shim
