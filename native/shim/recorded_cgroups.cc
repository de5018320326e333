// The cgroups that a runtime's record names as a container's.
#include "shim/recorded_cgroups.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace lc::shim {
namespace {

bool RemoveCgroup(const std::string& directory, bool deep) {
  if (rmdir(directory.c_str()) == 0 || errno == ENOENT) return true;
  if (errno != EBUSY) return true;  // no cgroup, or not ours to remove: no time will help
  if (!deep) return false;
  DIR* scan = opendir(directory.c_str());
  if (scan == nullptr) return errno == ENOENT;
  while (dirent* entry = readdir(scan)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
      (void)RemoveCgroup(directory + "/" + entry->d_name, deep);
  }
  closedir(scan);
  return rmdir(directory.c_str()) == 0 || errno == ENOENT;
}

}  // namespace

Result<CgroupPaths> RecordedCgroups(const RuntimeRecord& record) {
  if (record.kind != RuntimeRecord::Kind::kCrun) return record.cgroups;
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

bool RemoveCgroups(const LeftCgroups& left) {
  bool gone = true;
  for (const std::string& directory : left.directories) gone = RemoveCgroup(directory, left.sure) && gone;
  return gone;
}

}  // namespace lc::shim
