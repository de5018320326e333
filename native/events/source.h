// What a watched cgroup counts, and the one place of the kernel that says when to look.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/cgroup_paths.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "events/inotify.h"

namespace lc::events {

// Used by one thread at a time. Counts only rise, so that nothing is lost where a reader comes late.
class Source {
 public:
  // Also the places in `totals`.
  enum Counter : uint8_t { kOomKills, kHighBreaches, kStalls };
  enum class Why : uint8_t { kTold, kAgain };

  Source() = default;
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  virtual ~Source() = default;

  // The descriptor to be waited for (epoll's `interest`); -1 where the inotify instance tells.
  virtual int fd() const { return -1; }
  virtual uint32_t interest() const { return 0; }
  // Begins: what was counted before is not told. `inotify` is open. A source with an identity may be shared
  // by all who watch the same cgroup.
  virtual Status Begin(Inotify*) { return Ok(); }
  virtual uint64_t identity() const { return 0; }
  // Looks at the kernel's counters. kTold: it was said that something happened, by epoll with `events`.
  virtual void Look(Why why, uint32_t events) = 0;
  // Of a source that inotify tells: its own watches (-1: none), the one on its parent directory, which others
  // share, and its name in there.
  struct InotifyWatches {
    int own[2] = {-1, -1};
    int parent = -1;
    std::string_view name;
    int control = -1;  // on what its parent gives to its children: others share it too
  };
  virtual InotifyWatches inotify_watches() const { return {}; }

  // True after a look that found a file in the place of one that inotify watched: the watch is made anew
  // then.
  virtual bool wants_watch() { return false; }
  virtual Status Rewatch(Inotify*) { return Ok(); }

  uint64_t total(Counter counter) const { return totals_[counter]; }
  bool removed() const { return removed_; }

  // Microseconds until it wants to look again though nobody said anything; 0: not before it is told.
  uint32_t again_usec() const { return again_usec_; }

 protected:
  uint64_t totals_[3] = {0, 0, 0};
  bool removed_ = false;
  uint32_t again_usec_ = 0;
};

// OOM kills of the container's cgroup (v1 eventfd, v2 inotify on memory.events). ERR_CONTAINER_EXITED when it
// is gone, ERR_UNSUPPORTED where no memory controller is mounted.
Result<std::unique_ptr<Source>> OpenOomSource(const CgroupPaths& paths);
// memory.high: v2 alone. Counts OOM kills too.
Result<std::unique_ptr<Source>> OpenHighSource(const CgroupPaths& paths);

struct PressureTrigger {
  std::string resource;  // memory, cpu, io
  bool full = false;
  uint32_t stall_usec = 0;
  uint32_t window_usec = 0;
};
// A PSI trigger in the container's v2 cgroup; where there is none, v1's memory.pressure_level.
Result<std::unique_ptr<Source>> OpenPressureSource(const CgroupPaths& paths, const PressureTrigger& trigger);

// An eventfd that v1's cgroup.event_control signals for `file`, with what the file wants to know.
Result<UniqueFd> RegisterEvent(const std::string& directory, const char* file, const std::string& argument);

// What it means that a file of a cgroup could not be used: ERR_CONTAINER_EXITED where the cgroup went.
Error CgroupFailure(Error error, const std::string& directory);

}  // namespace lc::events
