// A seccomp filter with the same answers in fewer instructions.
#pragma once

#include <string>

namespace lc::seccomp {

// The kernel checks, converts and compiles a filter each time a process installs it, and asks it about every
// call there is: what libseccomp makes of a profile of the field (1,100 instructions, for one call after
// another) costs an exec up to half as much again. Here neighbouring calls with one answer become a range,
// and ranges a binary tree.
//
// `program` is an array of sock_filter. It comes back as it was when it has anything in it that is not
// understood here, or would not get shorter; what is new has been compared with it, for each range of calls
// of each architecture.
std::string Shrink(const std::string& program);

}  // namespace lc::seccomp
