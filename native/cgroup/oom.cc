// How often the kernel killed a process of a cgroup for want of memory.
#include "cgroup/oom.h"

#include <unistd.h>

#include "cgroup/pids.h"
#include "cgroup/scan.h"
#include "core/files.h"

namespace lc {

Result<std::optional<uint64_t>> ReadOomKills(const CgroupPaths& paths) {
  const std::string* directory = paths.Find("memory");
  const char* name = "/memory.oom_control";
  if (directory == nullptr) {
    if (paths.unified.empty()) return std::optional<uint64_t>();
    directory = &paths.unified;
    name = "/memory.events";
  }
  auto text = ReadFile(*directory + name, 65536);
  if (!text) {
    int err = text.error().err;
    if (err == ENODEV || (err == ENOENT && access(directory->c_str(), F_OK) != 0))
      return CgroupGone(*directory, err);
    if (err == ENOENT || err == EFBIG) return std::optional<uint64_t>();
    return text.error();
  }
  return ScanKeyed(*text, "oom_kill");
}

}  // namespace lc
