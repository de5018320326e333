// A cgroup's counters of memory events: of that very cgroup, never of a later one by its name.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/result.h"
#include "core/unique_fd.h"

namespace lc::events {

struct MemoryCounts {
  std::optional<uint64_t> oom_kill;  // on v1 since Linux 4.13
  uint64_t oom = 0;                  // v2: how often an allocation was about to fail
  uint64_t high = 0;                 // v2: how often memory.high was passed
  uint64_t max = 0;                  // v2: how often memory.max was run into
  bool killer_off = false;           // v1: oom_kill_disable
};

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
  Outcome Read(MemoryCounts* out);
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

MemoryCounts ParseMemoryCounts(std::string_view text);

}  // namespace lc::events
