// Which cgroup hierarchies this machine has and where they are mounted, and the paths that follow from it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

enum class CgroupMode { kNone, kV1, kHybrid, kV2 };

struct CgroupMount {
  std::string root;  // of the mount within its hierarchy; not "/" where a container sees only its part
  std::string mount_point;
  std::vector<std::string> controllers;  // v1: "cpu", "cpuacct", "name=systemd"; empty for v2
  bool v2 = false;
};

struct CgroupLayout {
  std::vector<CgroupMount> mounts;  // no controller twice; at most one v2 mount

  CgroupMode mode() const;
  const CgroupMount* FindV1(std::string_view controller) const;
  const CgroupMount* FindV2() const;
};

// /proc/PID/mountinfo (proc_pid_mountinfo(5)); lines that make no sense are passed over.
CgroupLayout ParseMountInfo(std::string_view mountinfo);
// That of this process, read afresh: it changes when someone mounts a controller.
Result<CgroupLayout> ReadLayout();

// `path` below the mount point of every hierarchy: what crun means by the "cgroup-path" of its status.
CgroupPaths ComposePaths(const CgroupLayout& layout, std::string_view path);

// From /proc/PID/cgroup, whose paths count from the root of the hierarchy, which need not be the root of the
// mount. A hierarchy whose mount does not show the path is left out.
CgroupPaths PathsFromProc(const CgroupLayout& layout, std::string_view proc_cgroup);

}  // namespace lc
