// OOM kills in the cgroups that a container made below its own, for v1, which counts each cgroup's alone.
#include "events/nested_kills.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "cgroup/memory_events.h"
#include "core/unique_fd.h"

namespace lc::events {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
constexpr int kMaxDepth = 64;  // each level holds a descriptor

// The kernel counts a directory's subdirectories in its links.
bool HasDirectories(const struct stat& st) {
  return st.st_nlink != 2;
}

uint64_t KillsOf(int directory) {
  UniqueFd fd(openat(directory, "memory.oom_control", O_RDONLY | O_CLOEXEC));
  char text[1024];
  ssize_t size = fd ? read(fd.get(), text, sizeof(text)) : -1;
  if (size < 0) return 0;
  return ParseMemoryEvents({text, static_cast<size_t>(size)}).oom_kill.value_or(0);
}

}  // namespace

uint64_t NestedKills::Look(const std::string& directory) {
  struct stat st {};
  if (stat(directory.c_str(), &st) != 0 || !HasDirectories(st)) return 0;
  UniqueFd fd(open(directory.c_str(), kOpenDirectory));
  return fd ? LookBelow(fd.Release(), 0) : 0;
}

// The descriptor is this call's.
uint64_t NestedKills::LookBelow(int directory, int depth) {
  DIR* list = fdopendir(directory);
  if (list == nullptr) {
    close(directory);
    return 0;
  }
  uint64_t kills = 0;
  while (const dirent* entry = readdir(list)) {
    std::string_view name = entry->d_name;
    if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
    UniqueFd child(openat(directory, entry->d_name, kOpenDirectory));
    struct stat st {};
    if (!child || fstat(child.get(), &st) != 0) continue;
    uint64_t count = KillsOf(child.get());
    uint64_t& before = counted_[st.st_ino];
    if (count > before) kills += count - before;
    before = count > before ? count : before;
    if (HasDirectories(st) && depth < kMaxDepth) kills += LookBelow(child.Release(), depth + 1);
  }
  closedir(list);
  return kills;
}

}  // namespace lc::events
