// A pipe without a name, found again by the processes that have it open.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/unique_fd.h"

namespace lc::shim {

// Looks at descriptors of a container's processes. These may be hostile: a descriptor is pinned before it is
// looked at, nothing is asked of a file system of theirs, and no more than so many descriptors are looked at.
class PipeUsers {
 public:
  using Pids = std::function<std::vector<pid_t>()>;

  // `all` gives every process that may have such a pipe open; asked for once, when `likely` has not got it.
  explicit PipeUsers(Pids all) : all_(std::move(all)) {}

  // Opens for reading, without waiting, the pipe of this inode number. Empty where nobody has it.
  UniqueFd Open(uint64_t inode, pid_t likely);

 private:
  void LookAtAll();

  Pids all_;
  bool looked_ = false;
  std::unordered_map<std::string, std::string> found_;  // link text -> path of a descriptor
};

}  // namespace lc::shim
