// A cgroup's counters of memory events: of that very cgroup, never of a later one by its name.
#include "events/memory_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "core/keyed_text.h"

namespace lc::events {

namespace {

std::string DirectoryOf(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

}  // namespace

Result<MemoryFile> MemoryFile::Open(std::string path) {
  struct stat directory {};
  struct stat st {};
  if (stat(DirectoryOf(path).c_str(), &directory) != 0 || stat(path.c_str(), &st) != 0)
    return Error::Sys("stat", path);
  return MemoryFile(std::move(path), st.st_ino, directory.st_ino);
}

bool MemoryFile::CgroupIsThere() const {
  struct stat st {};
  return stat(DirectoryOf(path_).c_str(), &st) == 0 && st.st_ino == directory_;
}

MemoryFile::Outcome MemoryFile::Read(MemoryCounts* out) {
  constexpr int kMaxAttempts = 3;  // at a file that goes while it is read
  for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
    UniqueFd fd = std::move(kept_);
    if (!fd) {
      fd.Reset(open(path_.c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd && errno != ENOENT && errno != ENODEV) return Outcome::kFailed;
      if (!fd) break;
      struct stat st {};
      if (fstat(fd.get(), &st) != 0) return Outcome::kFailed;
      if (st.st_ino != inode_) {
        if (!CgroupIsThere()) return Outcome::kGone;
        inode_ = st.st_ino;
        renewed_ = true;
      }
    }
    char text[1024];
    ssize_t size = pread(fd.get(), text, sizeof(text), 0);
    if (size >= 0) {
      *out = ParseMemoryCounts({text, static_cast<size_t>(size)});
      if (keep_) kept_ = std::move(fd);
      return Outcome::kCounts;
    }
    if (errno != ENODEV) return Outcome::kFailed;
  }
  return CgroupIsThere() ? Outcome::kLost : Outcome::kGone;
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
