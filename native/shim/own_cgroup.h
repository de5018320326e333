// A cgroup below the container's that a process goes into: its own, or one that was there.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::shim {

class OwnCgroup {
 public:
  // A new one below `parent`, which is relative to the container's cgroup; empty for that itself. An Error
  // names the parent if it is not there.
  static Result<std::unique_ptr<OwnCgroup>> Make(const CgroupPaths& container, const std::string& parent);
  // One that somebody has made. ENOENT, with its path, if it is in none of the container's hierarchies.
  static Result<std::unique_ptr<OwnCgroup>> Open(const CgroupPaths& container, const std::string& path);
  // Opens nothing: for a process that is in it already.
  static std::unique_ptr<OwnCgroup> At(const CgroupPaths& container, const std::string& path);

  // Relative to the container's cgroup.
  const std::string& path() const { return path_; }
  const CgroupPaths& paths() const { return paths_; }
  // cgroup.procs of the hierarchy in which the container's cgroup is `container`; -1 where this one is not in
  // it.
  int ProcsFor(const std::string& container) const;
  // For CLONE_INTO_CGROUP; -1 in a mixture of v1 and v2.
  int directory() const { return directory_.get(); }
  // The process is in it.
  void CloseProcs();

  // Every directory of it that is empty, and what is below those. True: nothing is left.
  bool Remove() const;

 private:
  Status OpenProcs(const CgroupPaths& container);

  std::string path_;
  CgroupPaths container_;
  CgroupPaths paths_;
  std::vector<std::pair<std::string, UniqueFd>> procs_;  // by the container's directory
  UniqueFd directory_;
};

// Names of the own cgroups below the container's that an earlier shim has made.
std::vector<std::string> OwnCgroupsIn(const CgroupPaths& container);

}  // namespace lc::shim
