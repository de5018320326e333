// Removal of a container's cgroups, and of those that it made below them.
#include "cgroup/remove.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace lc {

bool CgroupRemoval::Remove(int at, const char* name) {
  return unlinkat(at, name, AT_REMOVEDIR) == 0 || errno != EBUSY;
}

// True when all below the directory was tried.
bool CgroupRemoval::RemoveBelow(const std::string& directory, const WalkDeadline& until) {
  if (!walk_) {
    auto top = OpenOwnCgroup(directory);
    if (!top) {
      left_ = left_ || (top.error().err != ENOENT && top.error().err != ENODEV);
      return true;
    }
    top_ = std::move(*top);
    walk_.emplace(top_.get(), directory);
  }
  for (;;) {
    CgroupWalk::Step step = walk_->Next();
    if (step == CgroupWalk::Step::kLeft && !Remove(walk_->at(), walk_->name())) left_ = true;
    if (step == CgroupWalk::Step::kFailed) left_ = true;
    if (step == CgroupWalk::Step::kDone || step == CgroupWalk::Step::kFailed) break;
    if (until.passed()) return false;
  }
  walk_.reset();
  top_.Reset();
  return true;
}

bool CgroupRemoval::Work(const WalkDeadline& until) {
  for (; next_ < directories_.size(); ++next_) {
    const std::string& directory = directories_[next_];
    if (extent_ != Extent::kBelow && !walk_) {
      // Most often there is nothing below.
      if (Remove(AT_FDCWD, directory.c_str())) continue;
      if (extent_ == Extent::kTops) {
        left_ = true;
        continue;
      }
    }
    if (!RemoveBelow(directory, until)) return false;
    if (extent_ == Extent::kAll && !Remove(AT_FDCWD, directory.c_str())) left_ = true;
  }
  return true;
}

}  // namespace lc
