// A walk over a cgroup and all cgroups below it. The container may have made these: the walk copes with any
// depth, count and name.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

// Goes by directory descriptors, of which it holds one at a time, so neither PATH_MAX nor RLIMIT_NOFILE
// limits the depth. Each step is short: the caller decides how long the walk may take. A cgroup that is
// renamed meanwhile (v1 allows it) is looked for again.
class CgroupWalk {
 public:
  enum class Step {
    kEntered,  // at(), before those below it; the top comes first
    kLeft,     // all below the cgroup `name()` of at() was seen; never said of the top
    kDone,
    kFailed,  // error()
  };

  // `top` stays the caller's, and stays open; the walk moves its read position. `path` is for errors.
  CgroupWalk(int top, std::string path);

  Step Next();
  // Does not go below the cgroup that was just entered.
  void Skip() { levels_.back().listed = true; }

  int at() const { return current_ ? current_.get() : top_; }
  const char* name() const { return left_.c_str(); }
  const Error& error() const { return error_; }
  // The path of at(), which may be longer than PATH_MAX: for errors.
  std::string Path() const;

 private:
  struct Child {
    std::string name;
    ino_t ino = 0;
  };
  struct Level {
    std::string name;
    ino_t ino = 0;
    dev_t dev = 0;
    bool listed = false;
    bool missed = false;  // a child was not there any more: removed or renamed
    int lists_left = 4;
    std::vector<Child> children;  // still to be entered
    std::vector<ino_t> entered;
  };

  Step Fail(const char* call, int err);
  bool List(Level* level);
  Step Up();

  const int top_;
  const std::string path_;
  bool begun_ = false;
  UniqueFd current_;  // none at the top
  std::vector<Level> levels_;
  std::string left_;
  Error error_;
};

// The directory of a container's own cgroup; ERR_UNSUPPORTED with ENOENT for the root of a
// hierarchy, which is everybody's.
Result<UniqueFd> OpenOwnCgroup(const std::string& path);

// A moment of CLOCK_MONOTONIC after which a walk is given up.
class WalkDeadline {
 public:
  // Long enough for a hundred thousand cgroups.
  static constexpr int kDefaultMs = 10'000;

  explicit WalkDeadline(int64_t milliseconds = kDefaultMs);
  bool passed() const;
  // ETIMEDOUT: the container has more cgroups than can be read in this time.
  static Error TooMany(const char* call, const std::string& path);

 private:
  int64_t end_ns_;
};

}  // namespace lc
