// Removal of a container's cgroups, and of those that it made below them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cgroup/walk.h"
#include "core/unique_fd.h"

namespace lc {

class CgroupRemoval {
 public:
  enum class Extent {
    kTops,   // these alone
    kBelow,  // what is below them
    kAll,
  };

  CgroupRemoval(std::vector<std::string> directories, Extent extent)
      : directories_(std::move(directories)), extent_(extent) {}

  // Goes on until each was tried (true) or the moment has come (false; call it again).
  bool Work(const WalkDeadline& until);
  // Of what was tried: whether one is left, since a process in it has not ended yet.
  bool left() const { return left_; }

 private:
  bool RemoveBelow(const std::string& directory, const WalkDeadline& until);
  // False while it is busy. True also of what is no cgroup, or not ours to remove: no time will help.
  static bool Remove(int at, const char* name);

  const std::vector<std::string> directories_;
  const Extent extent_;
  size_t next_ = 0;
  bool left_ = false;
  UniqueFd top_;
  std::optional<CgroupWalk> walk_;
};

}  // namespace lc
