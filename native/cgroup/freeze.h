// Pausing and resuming a cgroup, and telling whether it is paused.
#pragma once

#include <optional>
#include <string_view>

#include "core/cgroup_paths.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace lc {

enum class FreezerState { kThawed, kFreezing, kFrozen };

struct Freezer {
  FreezerState state = FreezerState::kThawed;
  // True: this cgroup itself was told to freeze. Frozen without that, it is an ancestor that holds it, and
  // thawing this one changes nothing.
  bool self = false;
  bool by_ancestor() const { return state != FreezerState::kThawed && !self; }
};

// ERR_UNSUPPORTED without a freezer (v2 before Linux 5.2), ERR_CONTAINER_EXITED when the cgroup is gone,
// ERR_STATE_CORRUPT when the kernel's file says something else than it can say.
Result<Freezer> ReadFreezer(const CgroupPaths& paths);

// The files by which one cgroup is frozen: used where they are open, and open after a success, for the next
// time.
struct FreezerFiles {
  UniqueFd control;  // v1 freezer.state, v2 cgroup.freeze
  UniqueFd events;   // v2 cgroup.events
};

// Returns when the kernel says that every process stands still. At the deadline, and after any other failure,
// the cgroup is thawed again: ETIMEDOUT. Blocks: not for the JavaScript thread.
Result<Freezer> Freeze(const CgroupPaths& paths, int timeout_ms = 10'000, FreezerFiles* files = nullptr);

// This cgroup no longer freezes: the kernel thaws before the write returns. What stands still then is frozen
// by an ancestor, or by another hand since: not looked for, as a look that fails would hide what was done.
Status Thaw(const CgroupPaths& paths, FreezerFiles* files = nullptr);

std::optional<FreezerState> ParseFreezerState(std::string_view text);  // v1 freezer.state
std::optional<bool> ParseFlag(std::string_view text);                  // "0\n" or "1\n"
// v2: cgroup.freeze and cgroup.events.
std::optional<Freezer> ParseFreezerV2(std::string_view freeze, std::string_view events);

}  // namespace lc
