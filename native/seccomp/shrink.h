// A seccomp filter with the same answers in fewer instructions.
#pragma once

#include <string>

namespace lc::seccomp {

// The kernel checks, converts and compiles a filter each time a process installs it, and runs it at every
// system call. libseccomp compiles the field's profile to 1,100 instructions, one call after another: with
// those a confined exec takes 1.97 times as long as a plain one, with the shrunk filter 1.2 times
// (bench/exec/confined.mjs, medians by round of 40 interleaved rounds, on a loaded machine of two cores).
// Here neighbouring calls with one answer become a range, and ranges a binary tree.
//
// `program` is an array of sock_filter. It comes back as it was when it has anything in it that is not
// understood here, or would not get shorter; what is new has been compared with it, for each range of calls
// of each architecture.
std::string Shrink(const std::string& program);

}  // namespace lc::seccomp
