// The second task of an exec, which becomes the process: runs between fork and execve, by system calls alone.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "nsexec/plan.h"

namespace lc::nsexec {

// A plan in one piece of memory, laid out before the fork: the child has hardly any other, and allocates
// none.
struct ChildPlan : PlanValues {
  const char* const* argv = nullptr;  // null at its end, as all three
  char** envp = nullptr;
  const char* const* candidates = nullptr;  // paths to try for args[0], in PATH order
  char** home = nullptr;  // the place in envp for what is found out in the container, or null
  const char* cwd = nullptr;
  std::span<const int> cgroup_procs;
  std::span<const int> extra_fds;
  std::span<const gid_t> groups;
  std::span<const Rlimit> limits;
  std::string_view session_keyring;  // ended by a NUL
  std::string_view apparmor_exec;
  std::string_view selinux_label;
  std::string_view seccomp_program;  // sock_filters; empty: none
  uint64_t held_bounding = 0;        // what its bounding set holds when it is there to be cut down
  bool in_cgroup = false;            // born in it
  int last_fd = 0;                   // no descriptor is above it
  int report = -1;                   // see report.h
  int go = -1;
  int terminal_socket = -1;     // where the joiner sends the terminal's master, or -1
  pid_t* member_pid = nullptr;  // where the kernel writes the process's pid
  void* shared = nullptr;       // the memory around it: see pid_slots.h
};

[[noreturn]] void RunChild(const ChildPlan& plan);

}  // namespace lc::nsexec
