// The far side of an exec: runs between fork and execve, by system calls alone.
#pragma once

#include "nsexec/plan.h"

namespace lc::nsexec {

// Pointers into the plan and room for what is found out in the container.
struct ChildMemory {
  std::vector<char*> argv;
  std::vector<char*> envp;              // one spare slot before the final null, for HOME
  std::vector<std::string> candidates;  // paths to try for args[0], in PATH order
  bool needs_home = false;
  bool in_cgroup = false;  // born in it
  int last_fd = 0;         // no descriptor is above it
  char home[4096 + 8] = {};
};

[[noreturn]] void RunChild(const Plan& plan, ChildMemory* memory, int channel);

}  // namespace lc::nsexec
