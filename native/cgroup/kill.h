// Signals for every process of a container's cgroups, and the thaw without which a SIGKILL has no effect on
// v1.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "cgroup/walk.h"
#include "core/cgroup_paths.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

// Thaws the container's v1 freezer and all freezers below it, which the container may have frozen itself. A
// v2 freezer lets killed processes go by itself.
class CgroupThaw {
 public:
  explicit CgroupThaw(const CgroupPaths& paths);

  // Goes on until all are thawed (true) or the moment has come (false; call it again). A cgroup that is gone
  // is no failure.
  Result<bool> Work(const WalkDeadline& until);

 private:
  std::string path_;
  UniqueFd top_;
  std::optional<CgroupWalk> walk_;
};

// One round after another: a signal for each process in the subtree, and, when that is SIGKILL, a thaw. Forks
// may outrun a round. A caller that wants all to end goes on until a round finds nobody.
class CgroupSignal {
 public:
  CgroupSignal(CgroupPaths paths, int signal) : paths_(std::move(paths)), signal_(signal) {}

  // Goes on until this round is over (true) or the moment has come (false; call it again).
  Result<bool> Work(const WalkDeadline& until);
  // How many living processes the last round met.
  size_t found() const { return found_; }

 private:
  Status Begin();
  Result<bool> SignalSome(const WalkDeadline& until);
  Status SignalOne(pid_t pid, uint64_t listed_at);

  const CgroupPaths paths_;
  const int signal_;
  std::string path_;
  bool v2_ = false;
  UniqueFd top_;
  std::optional<CgroupWalk> walk_;
  std::optional<CgroupThaw> thaw_;
  std::vector<pid_t> pending_;  // of the cgroup that the walk is at
  uint64_t listed_at_ = 0;
  std::unordered_set<pid_t> signalled_;
  size_t found_ = 0;
};

// Whether any process in the subtree lives: stops at the first one.
class CgroupLife {
 public:
  explicit CgroupLife(const CgroupPaths& paths);

  // Nothing: the moment has come before the answer; call it again.
  Result<std::optional<bool>> Work(const WalkDeadline& until);

 private:
  std::string path_;
  bool v2_ = false;
  UniqueFd top_;
  std::optional<CgroupWalk> walk_;
};

}  // namespace lc
