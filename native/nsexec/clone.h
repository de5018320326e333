// clone3(2) onto a stack of its own.
#pragma once

#include <linux/sched.h>

namespace lc::nsexec {

// The new task begins in `run`, on the stack of `args`, and never comes back from it. Its id, or an errno
// below zero: ENOSYS before Linux 5.3 and on another architecture than x86-64 and arm64.
long CloneOnto(clone_args* args, int (*run)(void*), void* argument);

}  // namespace lc::nsexec
