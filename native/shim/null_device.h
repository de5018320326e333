// A null device of this shim's own, for everybody who is given one.
#pragma once

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::shim {

// Open for both ways. crun gives stdio to the root of the container's user namespace, and a root without one
// may change mode and owner of all that it holds: the host's /dev/null is to be out of reach of both. So it
// is an inode of its own, on a tmpfs that is mounted nowhere; before Linux 5.2, and where no such mount can
// be made, a node without a name in the state directory, or in /dev where that holds no devices. Without the
// right to make nodes it is the host's by way of a read-only mount. ENODEV where none of them is the null
// device.
Result<UniqueFd> OwnNull();

// By its number, 1:3: what a name leads to is anybody's (CVE-2025-31133).
bool IsNull(int fd);

}  // namespace lc::shim
