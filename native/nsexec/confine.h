// Labels and the seccomp filter of an exec's child. System calls only, as all of its steps.
#pragma once

#include "nsexec/child.h"

namespace lc::nsexec {

// Both return null, or the call that failed with errno set.

// SELinux and AppArmor labels, taken on at execve(2). Called before any namespace is joined: what lies at
// /proc in the container is the container's (CVE-2019-16884, CVE-2023-28642, CVE-2025-52881), and the host's
// procfs takes the same label. Nothing that comes later takes it away.
const char* SetLabels(const ChildPlan& plan);

const char* SetSeccomp(const ChildPlan& plan);

}  // namespace lc::nsexec
