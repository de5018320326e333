// Ends every process of a cgroup and of all cgroups below it, those that are forked meanwhile included.
#include "cgroup/tree_kill.h"

#include <fcntl.h>

#include <algorithm>
#include <csignal>

#include "core/files.h"
#include "core/keyed_text.h"

namespace lc {
namespace {

std::vector<CgroupPaths> PartsOf(const CgroupPaths& paths) {
  std::vector<CgroupPaths> out;
  for (const auto& cgroup : paths.v1) {
    bool known = std::any_of(out.begin(), out.end(),
                             [&](const CgroupPaths& part) { return part.v1[0].path == cgroup.path; });
    if (!known) out.push_back({{cgroup}, {}});
  }
  if (!paths.unified.empty()) out.push_back({{}, paths.unified});
  return out;
}

bool IsGone(const Error& error) {
  return error.err == ENOENT || error.err == ENODEV;
}

}  // namespace

std::optional<bool> IsPopulated(const std::string& unified) {
  auto text = ReadFile(unified + "/cgroup.events", 4096);
  if (!text) return std::nullopt;
  auto populated = ScanKeyed(*text, "populated");
  return populated ? std::optional(*populated != 0) : std::nullopt;
}

TreeKill::TreeKill(CgroupPaths paths) : paths_(std::move(paths)), hierarchies_(PartsOf(paths_)) {}

bool TreeKill::KillByKernel() {
  if (paths_.unified.empty()) return false;
  auto killed = WriteOnceAt(AT_FDCWD, paths_.unified + "/cgroup.kill", "1");
  return killed.ok();
}

// A list of pids is that of all only while nobody can fork. What does not come to rest, since it waits in the
// kernel, is signalled as it is after some attempts: later ones find who was forked meanwhile.
bool TreeKill::StandsStill(const WalkDeadline& until) {
  const std::string* freezer = paths_.Find("freezer");
  if (freezer == nullptr) return true;
  if (!WriteOnceAt(AT_FDCWD, *freezer + "/freezer.state", "FROZEN")) return true;
  do {
    auto state = ReadFile(*freezer + "/freezer.state", 64);
    if (!state || state->starts_with("FROZEN")) return true;
    // The kernel freezes by interrupting each task once: another write interrupts again.
    if (!WriteOnceAt(AT_FDCWD, *freezer + "/freezer.state", "FROZEN")) return true;
  } while (!until.passed());
  return ++restless_ >= kMaxRestless;
}

Result<bool> TreeKill::KillFrozen(const WalkDeadline& until) {
  if (!StandsStill(until)) return false;
  for (const CgroupPaths& part : hierarchies_) {
    CgroupSignal round(part, SIGKILL);
    auto done = round.Work(until);
    if (!done && !IsGone(done.error())) return done;
  }
  auto thawed = CgroupThaw(paths_).Work(until);
  if (!thawed || !*thawed) return thawed;
  return IsEmpty(until);
}

Result<bool> TreeKill::IsEmpty(const WalkDeadline& until) {
  for (const CgroupPaths& part : hierarchies_) {
    auto populated = part.unified.empty() ? std::nullopt : IsPopulated(part.unified);
    if (populated && *populated) return false;
    if (populated) continue;
    auto alive = CgroupLife(part).Work(until);
    if (!alive && IsGone(alive.error())) continue;
    if (!alive) return alive.error();
    if (!*alive || **alive) return false;
  }
  return true;
}

Result<bool> TreeKill::Work(const WalkDeadline& until) {
  if (!KillByKernel()) return KillFrozen(until);
  auto empty = IsEmpty(until);
  if (!empty || *empty) return empty;
  // Who is frozen on v1 dies once it is thawed.
  auto thawed = CgroupThaw(paths_).Work(until);
  if (!thawed) return thawed;
  // Somebody is left in a v1 hierarchy alone.
  if (!IsPopulated(paths_.unified).value_or(false)) return KillFrozen(until);
  return false;
}

}  // namespace lc
