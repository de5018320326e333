// The file with a cgroup's counters of memory events: of that very cgroup, never of a later one by its name.
#include "events/memory_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

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

MemoryFile::Outcome MemoryFile::Read(MemoryEvents* out) {
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
      *out = ParseMemoryEvents({text, static_cast<size_t>(size)});
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

}  // namespace lc::events
