// A process's own cgroup, below its container's.
#include "cgroup/own_cgroup.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cgroup/memory_events.h"
#include "cgroup/pids.h"
#include "core/files.h"
#include "core/keyed_text.h"

namespace lc {
namespace {

constexpr std::string_view kPrefix = "lc.";
constexpr size_t kDigits = 16;
constexpr uint64_t kNsPerUsec = 1000;

bool Exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

// No such file: Linux 5.11 and later know nothing else (and say so, with 1, where they still have it).
bool IsHierarchical(const std::string& memory) {
  auto flag = ReadFile(memory + "/memory.use_hierarchy", 64);
  return flag ? !flag->starts_with("0") : flag.error().err == ENOENT;
}

bool IsWanted(const CgroupPaths::Controller& cgroup, bool v2_kills) {
  if (cgroup.name == "pids") return true;
  if (cgroup.name == "memory") return IsHierarchical(cgroup.path);
  return !v2_kills && (cgroup.name == "freezer" || cgroup.name == "cpuacct");
}

// Each directory once.
std::vector<std::string> DirectoriesOf(const CgroupPaths& paths) {
  std::vector<std::string> out;
  if (!paths.unified.empty()) out.push_back(paths.unified);
  for (const auto& cgroup : paths.v1) {
    if (std::find(out.begin(), out.end(), cgroup.path) == out.end()) out.push_back(cgroup.path);
  }
  return out;
}

void Drop(CgroupPaths* paths, const std::string& directory) {
  std::erase_if(paths->v1, [&](const auto& cgroup) { return cgroup.path == directory; });
  if (paths->unified == directory) paths->unified.clear();
}

// A new cpuset has no processors and no memory nodes, and takes no process before it has both.
Status CopyCpuset(const std::string& container, const std::string& own) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    auto text = ReadFile(container + "/" + file, 4096);
    if (!text) return text.error();
    auto written = WriteOnceAt(AT_FDCWD, own + "/" + file, TrimEnd(*text));
    if (!written) return written;
  }
  return Ok();
}

// Until a look finds nobody outside: what forked meanwhile was outside too.
Status MoveAll(const CgroupPaths& from, const std::string& directory) {
  constexpr int kRounds = 1000;
  for (int round = 0; round < kRounds; ++round) {
    auto pids = ReadPids(from);
    if (!pids) return pids.error();
    CgroupPaths only;
    only.unified = directory;
    auto inside = ReadPids(only);
    if (!inside) return inside.error();
    std::sort(inside->begin(), inside->end());
    bool moved = false;
    for (pid_t pid : *pids) {
      if (std::binary_search(inside->begin(), inside->end(), pid)) continue;
      moved = true;
      auto written = WriteOnceAt(AT_FDCWD, directory + "/cgroup.procs", std::to_string(pid));
      if (!written && written.error().err != ESRCH) return written;
    }
    if (!moved) return Ok();
  }
  return Error::Of(EAGAIN, "write", directory + "/cgroup.procs");
}

std::optional<uint64_t> NumberIn(const std::string& path) {
  auto text = ReadFile(path, 64);
  return text ? ParseU64(*text) : std::nullopt;
}

}  // namespace

Result<std::string> NewOwnCgroupName() {
  uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) return Error::Sys("getrandom");
  char text[kDigits + 1];
  snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
  return std::string(kPrefix) + text;
}

bool IsOwnCgroupName(std::string_view name) {
  constexpr std::string_view kHex = "0123456789abcdef";
  return name.size() == kPrefix.size() + kDigits && name.starts_with(kPrefix) &&
         name.find_first_not_of(kHex, kPrefix.size()) == std::string_view::npos;
}

CgroupPaths OwnCgroupPaths(const CgroupPaths& container, const std::string& name) {
  CgroupPaths out;
  if (!container.unified.empty()) out.unified = container.unified + "/" + name;
  const bool v2_kills = !container.unified.empty() && Exists(container.unified + "/cgroup.kill");
  for (const auto& cgroup : container.v1) {
    if (IsWanted(cgroup, v2_kills)) out.v1.push_back({cgroup.name, cgroup.path + "/" + name});
  }
  return out;
}

CgroupPaths ExistingPaths(const CgroupPaths& paths) {
  CgroupPaths out = paths;
  for (const std::string& directory : DirectoriesOf(paths)) {
    if (!Exists(directory)) Drop(&out, directory);
  }
  return out;
}

CgroupPaths FindOwnCgroup(const CgroupPaths& container, const std::string& name) {
  return ExistingPaths(Below(container, name));
}

Result<CgroupPaths> MakeOwnCgroup(const CgroupPaths& container, const std::string& name) {
  CgroupPaths out = OwnCgroupPaths(container, name);
  std::vector<std::string> made;
  for (const std::string& directory : DirectoriesOf(out)) {
    if (mkdir(directory.c_str(), 0755) == 0) {
      made.push_back(directory);
      continue;
    }
    Error error = Error::Sys("mkdir", directory);
    if (error.err == ENOENT) {
      Drop(&out, directory);
      continue;
    }
    for (const std::string& earlier : made) rmdir(earlier.c_str());
    return error;
  }
  if (!out.empty()) return out;
  return Error::Coded("ERR_UNSUPPORTED", "the container has no cgroup below which one could be made");
}

Status ExtendOwnCgroup(const CgroupPaths& container, const std::string& name, const std::string& controller,
                       CgroupPaths* paths) {
  if (paths->Find(controller) != nullptr) return Ok();
  const std::string* above = container.Find(controller);
  if (above == nullptr) return Error::Coded("ERR_UNSUPPORTED", "no " + controller + " controller");
  if (controller == "blkio") {
    return Error::Coded("ERR_UNSUPPORTED",
                        "blkio is not hierarchical on cgroup v1: the container's limits would not hold");
  }
  const std::string directory = *above + "/" + name;
  const bool made = mkdir(directory.c_str(), 0755) == 0;
  if (!made && errno != EEXIST) return Error::Sys("mkdir", directory);
  Status done = controller == "cpuset" && made ? CopyCpuset(*above, directory) : Ok();
  if (done) done = MoveAll(*paths, directory);
  if (!done) {
    if (made) rmdir(directory.c_str());
    return done;
  }
  for (const auto& cgroup : container.v1) {
    if (cgroup.path == *above) paths->v1.push_back({cgroup.name, directory});
  }
  return Ok();
}

bool IsRelativeCgroup(std::string_view path) {
  if (path.empty() || path.find('\0') != std::string_view::npos) return false;
  while (true) {
    const size_t slash = path.find('/');
    const std::string_view name = path.substr(0, slash);
    if (name.empty() || name == "." || name == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

OwnCgroupUsage ReadOwnCgroupUsage(const CgroupPaths& paths) {
  OwnCgroupUsage out;
  const std::string events = MemoryEventsFile(paths);
  if (auto text = events.empty() ? Result<std::string>(Error::Of(ENOENT, "open")) : ReadFile(events, 4096))
    out.oom_kills = ParseMemoryEvents(*text).oom_kill;
  if (const std::string* memory = paths.Find("memory")) {
    out.memory_peak_bytes = NumberIn(*memory + "/memory.max_usage_in_bytes");
  } else if (!paths.unified.empty()) {
    out.memory_peak_bytes = NumberIn(paths.unified + "/memory.peak");
  }
  if (const std::string* cpuacct = paths.Find("cpuacct")) {
    if (auto ns = NumberIn(*cpuacct + "/cpuacct.usage")) out.cpu_usec = *ns / kNsPerUsec;
  } else if (!paths.unified.empty()) {
    auto text = ReadFile(paths.unified + "/cpu.stat", 4096);
    if (text) out.cpu_usec = ScanKeyed(*text, "usage_usec");
  }
  return out;
}

}  // namespace lc
