// The file with a cgroup's counters of memory events: of that very cgroup, never of a later one by its name.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "cgroup/memory_events.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::events {

// v1 memory.oom_control or v2 memory.events. Opened for each look, unless the next one is near: an open one
// costs a descriptor and, once it was read, a page of the kernel's.
class MemoryFile {
 public:
  enum class Outcome {
    kCounts,
    kLost,  // the cgroup is there, its memory controller was taken away
    kGone,
    kFailed,
  };

  // ENOENT or ENODEV when the cgroup is not there.
  static Result<MemoryFile> Open(std::string path);
  // kFailed: no descriptor to be had just now, for one.
  Outcome Read(MemoryEvents* out);
  // Whether another file than before was found in its place since the last call: the controller came back.
  bool TakeRenewed() { return std::exchange(renewed_, false); }
  // Stays open after a look that succeeds, until this is taken back.
  void Keep(bool keep);

 private:
  MemoryFile(std::string path, ino_t inode, ino_t directory)
      : path_(std::move(path)), inode_(inode), directory_(directory) {}
  bool CgroupIsThere() const;

  std::string path_;
  ino_t inode_;
  ino_t directory_;  // the cgroup's own: the kernel numbers each anew
  bool renewed_ = false;
  bool keep_ = false;
  UniqueFd kept_;
};

}  // namespace lc::events
