// The processes of a container: every one in the subtree of its cgroup.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

// The directory whose subtree tells a container's processes: v1 `devices`, or another v1 controller where
// that is not mounted, else v2. Null where there is none at all.
const std::string* PidsDirectory(const CgroupPaths& paths, bool* v2);

// In the kernel's order, the cgroup itself before those below it, each pid once. Processes that this
// program's own pid namespace does not show are left out. ERR_CONTAINER_EXITED when the cgroup is gone,
// ERR_STATE_CORRUPT when the file holds something else than pids, ETIMEDOUT when the container has more
// cgroups than WalkDeadline allows for.
Result<std::vector<pid_t>> ReadPids(const CgroupPaths& paths);

// The same, below an open directory; `path` is for errors alone. Moves the directory's read position.
Status ReadPidsBelow(int dir_fd, const std::string& path, bool v2, std::vector<pid_t>* out);

// Those of the cgroup at an open directory alone, put behind what `out` holds. The error has no path; ENODEV
// when the cgroup is gone. In a threaded v2 cgroup, the processes of its threads.
Status ReadPidsAt(int dir_fd, bool v2, std::vector<pid_t>* out);

// Pids out of a text that may come in pieces; a number may be cut in two. False at anything but numbers.
class PidListParser {
 public:
  bool Feed(std::string_view piece, std::vector<pid_t>* out);
  bool Finish(std::vector<pid_t>* out);

 private:
  uint64_t value_ = 0;
  bool in_number_ = false;
};

// "ERR_CONTAINER_EXITED": the cgroup at `path` is no longer there.
Error CgroupGone(const std::string& path, int err);

}  // namespace lc
