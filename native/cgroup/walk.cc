// A walk over a cgroup and all cgroups below it. The container may have made these: the walk copes with any
// depth, count and name.
#include "cgroup/walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace lc {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

bool IsGone(int err) {
  return err == ENOENT || err == ENODEV || err == ENOTDIR || err == ELOOP;
}

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

CgroupWalk::CgroupWalk(int top, std::string path) : top_(top), path_(std::move(path)) {}

std::string CgroupWalk::Path() const {
  std::string out = path_;
  for (size_t i = 1; i < levels_.size(); ++i) out += "/" + levels_[i].name;
  return out;
}

CgroupWalk::Step CgroupWalk::Fail(const char* call, int err) {
  error_ = Error::Of(err, call, Path());
  return Step::kFailed;
}

// Names of the cgroups right below at() that were not entered yet. False and errno.
bool CgroupWalk::List(Level* level) {
  struct Entry {  // linux_dirent64, getdents64(2)
    uint64_t ino;
    int64_t off;
    uint16_t length;
    uint8_t type;
    char name[1];
  };
  level->listed = true;
  level->missed = false;
  --level->lists_left;
  // Two links are the directory itself and its dot: no cgroup below. Every entry more is one (kernfs counts
  // them, and so do most file systems that a test may use; others say 1).
  struct stat st {};
  if (fstat(at(), &st) == 0 && st.st_nlink == 2) return true;
  std::sort(level->entered.begin(), level->entered.end());
  alignas(Entry) char buffer[8192];
  if (lseek(at(), 0, SEEK_SET) < 0) return false;
  for (;;) {
    long n = syscall(SYS_getdents64, at(), buffer, sizeof buffer);
    if (n < 0 && IsGone(errno)) return true;  // removed: so it had none
    if (n <= 0) return n == 0;
    for (long offset = 0; offset < n;) {
      const char* raw = buffer + offset;
      uint16_t length = 0;
      uint64_t ino = 0;
      memcpy(&length, raw + offsetof(Entry, length), sizeof length);
      memcpy(&ino, raw + offsetof(Entry, ino), sizeof ino);
      const char* name = raw + offsetof(Entry, name);
      auto type = static_cast<uint8_t>(raw[offsetof(Entry, type)]);
      bool known = std::binary_search(level->entered.begin(), level->entered.end(), static_cast<ino_t>(ino));
      if (type == DT_DIR && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !known)
        level->children.push_back({name, static_cast<ino_t>(ino)});
      offset += length;
    }
  }
}

CgroupWalk::Step CgroupWalk::Up() {
  const Level& parent = levels_[levels_.size() - 2];
  UniqueFd up;
  if (levels_.size() > 2) {
    // Also of a directory that was removed meanwhile, the kernel knows the parent.
    up.Reset(openat(at(), "..", kOpenDirectory));
    struct stat st {};
    if (!up || fstat(up.get(), &st) != 0) return Fail("open", errno);
    if (st.st_ino != parent.ino || st.st_dev != parent.dev) return Fail("open", ESTALE);
  }
  left_ = std::move(levels_.back().name);
  levels_.pop_back();
  current_ = std::move(up);
  return Step::kLeft;
}

CgroupWalk::Step CgroupWalk::Next() {
  if (!begun_) {
    begun_ = true;
    Level level;
    struct stat st {};
    if (fstat(top_, &st) != 0) return Fail("fstat", errno);
    level.ino = st.st_ino;
    level.dev = st.st_dev;
    levels_.push_back(std::move(level));
    return Step::kEntered;
  }
  for (;;) {
    Level& level = levels_.back();
    if (!level.listed && !List(&level)) return Fail("getdents64", errno);
    while (!level.children.empty()) {
      Child child = std::move(level.children.back());
      level.children.pop_back();
      UniqueFd fd(openat(at(), child.name.c_str(), kOpenDirectory));
      struct stat st {};
      if (!fd || fstat(fd.get(), &st) != 0) {
        if (!IsGone(errno)) return Fail("open", errno);
        level.missed = true;
        continue;
      }
      level.entered.push_back(st.st_ino);
      if (st.st_dev != level.dev) continue;  // somebody mounted another file system there
      Level below;
      below.name = std::move(child.name);
      below.ino = st.st_ino;
      below.dev = st.st_dev;
      current_ = std::move(fd);
      levels_.push_back(std::move(below));
      return Step::kEntered;
    }
    if (level.missed && level.lists_left > 0) {
      level.listed = false;
      continue;
    }
    return levels_.size() == 1 ? Step::kDone : Up();
  }
}

Result<UniqueFd> OpenOwnCgroup(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  struct stat st {};
  if (!fd || fstat(fd.get(), &st) != 0) return Error::Sys("open", path);
  struct statfs fs {};
  constexpr ino_t kRoot = 1;  // kernfs
  if (st.st_ino == kRoot && fstatfs(fd.get(), &fs) == 0 &&
      (fs.f_type == CGROUP_SUPER_MAGIC || fs.f_type == CGROUP2_SUPER_MAGIC)) {
    Error error = Error::Of(ENOENT, "open", path);
    return std::move(error).With("ERR_UNSUPPORTED", "the container has no cgroup of its own");
  }
  return fd;
}

WalkDeadline::WalkDeadline(int64_t milliseconds) : end_ns_(NowNs() + milliseconds * 1'000'000) {}

bool WalkDeadline::passed() const {
  return NowNs() >= end_ns_;
}

Error WalkDeadline::TooMany(const char* call, const std::string& path) {
  Error error = Error::Of(ETIMEDOUT, call, path);
  error.text = "the container has more cgroups than could be read in time";
  return error;
}

}  // namespace lc
