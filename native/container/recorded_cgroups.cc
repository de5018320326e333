// The cgroups that a runtime's record names as a container's.
#include "container/recorded_cgroups.h"

#include <algorithm>

#include "cgroup/layout.h"

namespace lc {

Result<CgroupPaths> RecordedCgroups(const RuntimeRecord& record) {
  if (record.kind != RuntimeRecord::Kind::kCrun) return record.cgroups;
  if (record.cgroup_path.empty()) return CgroupPaths();
  auto layout = ReadLayout();
  if (!layout) return layout.error();
  return ComposePaths(*layout, record.cgroup_path);
}

std::vector<std::string> Directories(const CgroupPaths& paths) {
  std::vector<std::string> out;
  for (const auto& controller : paths.v1) out.push_back(controller.path);
  if (!paths.unified.empty()) out.push_back(paths.unified);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace lc
