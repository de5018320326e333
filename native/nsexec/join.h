// The first task of an exec, the joiner. It belongs to the pid namespace of the shim, so that the container
// cannot see it while it still has anything of the host.
#pragma once

#include "nsexec/child.h"

namespace lc::nsexec {

// Joins the container's cgroups and namespaces, lets go of every descriptor that is not the process's own,
// makes the task that RunChild() continues in, as another child of its own parent, tells its pid and ends.
[[noreturn]] void RunJoiner(const ChildPlan& plan);

}  // namespace lc::nsexec
