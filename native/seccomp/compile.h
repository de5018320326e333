// Compiles a seccomp profile to the bytes of its filter, with libseccomp.
#pragma once

#include <string>

#include "core/result.h"
#include "oci/seccomp.h"

namespace lc::seccomp {

// A rule, or the default, hands calls to a listener (SCMP_ACT_NOTIFY).
bool WantsListener(const SeccompProfile& profile);

// An array of sock_filter. `enosys_stub` as runc has it. ERR_UNSUPPORTED for a profile that wants a notify
// listener, or an architecture that libseccomp does not know.
Result<std::string> Compile(const SeccompProfile& profile, bool enosys_stub);

}  // namespace lc::seccomp
