// Where a container's cgroups are: plain data, filled from a runtime's record, read by everything else.
#pragma once

#include <string>
#include <vector>

namespace lc {

struct CgroupPaths {
  struct Controller {
    std::string
        name;  // "memory", "cpu,cpuacct" is two entries with one path; "name=systemd" as in /proc/PID/cgroup
    std::string path;  // absolute directory, e.g. /sys/fs/cgroup/memory/web
  };
  std::vector<Controller> v1;
  std::string unified;  // absolute directory in the v2 hierarchy, empty where there is none

  bool is_v2_only() const { return v1.empty() && !unified.empty(); }
  bool empty() const { return v1.empty() && unified.empty(); }
  const std::string* Find(const std::string& name) const {
    for (const Controller& c : v1) {
      if (c.name == name) return &c.path;
    }
    return nullptr;
  }
};

// The cgroup at `path` below these, in every hierarchy that they are in.
inline CgroupPaths Below(const CgroupPaths& paths, const std::string& path) {
  CgroupPaths out = paths;
  for (auto& cgroup : out.v1) cgroup.path += "/" + path;
  if (!out.unified.empty()) out.unified += "/" + path;
  return out;
}

}  // namespace lc
