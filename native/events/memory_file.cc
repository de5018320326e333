// A cgroup's counters of memory events: of that very cgroup, never of a later one by its name.
#include "events/memory_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "core/keyed_text.h"

namespace lc::events {

Result<MemoryFile> MemoryFile::Open(std::string path) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return Error::Sys("stat", path);
  return MemoryFile(std::move(path), st.st_ino);
}

MemoryFile::Outcome MemoryFile::Read(MemoryCounts* out) {
  auto gone = [] { return errno == ENOENT || errno == ENODEV ? Outcome::kGone : Outcome::kFailed; };
  UniqueFd fd = std::move(kept_);
  if (!fd) {
    fd.Reset(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return gone();
    // The kernel numbers the nodes of a cgroup file system anew for every one that is made.
    struct stat st {};
    if (fstat(fd.get(), &st) != 0) return Outcome::kFailed;
    if (st.st_ino != inode_) return Outcome::kGone;
  }
  char text[1024];
  ssize_t size = pread(fd.get(), text, sizeof(text), 0);
  if (size < 0) return gone();
  *out = ParseMemoryCounts({text, static_cast<size_t>(size)});
  if (keep_) kept_ = std::move(fd);
  return Outcome::kCounts;
}

void MemoryFile::Keep(bool keep) {
  keep_ = keep;
  if (!keep) kept_.Reset();
}

MemoryCounts ParseMemoryCounts(std::string_view text) {
  MemoryCounts counts;
  counts.oom_kill = ScanKeyed(text, "oom_kill");
  counts.oom = ScanKeyed(text, "oom").value_or(0);
  counts.high = ScanKeyed(text, "high").value_or(0);
  counts.max = ScanKeyed(text, "max").value_or(0);
  counts.killer_off = ScanKeyed(text, "oom_kill_disable").value_or(0) == 1;
  return counts;
}

}  // namespace lc::events
