// A container's state directory: what its marks are called, and all of it read in one pass.
#include "state/state_directory.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/files.h"
#include "core/unique_fd.h"

namespace lc {
namespace {

constexpr int kMaxReadings = 100;

// A directory whose status has not changed since was not moved, and no entry of it either.
bool IsSame(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino && a.st_ctim.tv_sec == b.st_ctim.tv_sec &&
         a.st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

// Of files that are named from their directory on.
Error Within(const std::string& directory, Error error) {
  if (!error.path.empty() && error.path[0] != '/') error.path = directory + "/" + error.path;
  return error;
}

// The machine's shortage is an error; every other reason is one of the file's own.
Status ReadOptional(int dir_fd, const char* name, std::optional<std::string>* out) {
  auto text = ReadFileAt(dir_fd, name);
  if (text) {
    *out = std::move(*text);
    return Ok();
  }
  if (IsShortage(text.error())) return text.error();
  if (text.error().err != ENOENT) out->emplace();
  return Ok();
}

Result<ProcessText> ReadFiles(int dir_fd, const std::string& path, const std::string& id) {
  ProcessText out;
  out.id = id;
  out.process = ReadFileAt(dir_fd, "process.json");
  if (!out.process) {
    if (IsShortage(out.process.error())) return out.process.error();
    out.process.error().path = path + "/process.json";
  }
  if (auto read = ReadOptional(dir_fd, "pid", &out.pid); !read) return read.error();
  if (auto read = ReadOptional(dir_fd, "starttime", &out.starttime); !read) return read.error();
  if (auto read = ReadOptional(dir_fd, "own.json", &out.own); !read) return read.error();
  // Asked once and no more: a moment later it may be there, whole.
  if (auto read = ReadOptional(dir_fd, "exitStatus", &out.exit_status); !read) return read.error();
  if (!out.exit_status) return out;
  struct stat st {};
  if (fstatat(dir_fd, "exitStatus", &st, 0) == 0) {
    out.exit_status_ms =
        static_cast<double>(st.st_mtim.tv_sec) * 1e3 + static_cast<double>(st.st_mtim.tv_nsec) / 1e6;
  } else if (errno != ENOENT) {
    return Error::Sys("stat", "exitStatus");
  }
  if (auto read = ReadOptional(dir_fd, "exit.json", &out.exit); !read) return read.error();
  return out;
}

// Without a value where the process was removed meanwhile.
Result<std::optional<ProcessText>> ReadProcess(int dir_fd, const std::string& path, const std::string& id) {
  std::optional<ProcessText> nothing;
  for (int reading = 0;; ++reading) {
    struct stat before {};
    if (fstatat(dir_fd, id.c_str(), &before, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return nothing;
      return Error::Sys("stat", path);
    }
    UniqueFd fd(openat(dir_fd, id.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) {
      if (errno == ENOENT) return nothing;
      return Error::Sys("open", path);
    }
    auto read = ReadFiles(fd.get(), path, id);
    if (!read) return Within(path, std::move(read.error()));
    struct stat after {};
    bool there = fstatat(dir_fd, id.c_str(), &after, AT_SYMLINK_NOFOLLOW) == 0;
    // Init's directory is nobody else's before or after, and a start is at work in it.
    if (id == "init" || (there && IsSame(before, after))) return std::optional(std::move(*read));
    if (reading == kMaxReadings) {
      read->process = Error::Coded("ERR_STATE_CORRUPT", "the directory changes all the time", path);
      return std::optional(std::move(*read));
    }
  }
}

}  // namespace

Result<bool> HasMark(int dir_fd, const char* mark) {
  if (faccessat(dir_fd, mark, F_OK, 0) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return Error::Sys("access", mark);
}

Result<std::string> BootId() {
  auto text = ReadFile("/proc/sys/kernel/random/boot_id", 64);
  if (text) return std::string(TrimEnd(*text));
  if (IsShortage(text.error())) return text.error();
  return std::string();
}

Result<std::string> PidNamespace() {
  char link[64];
  ssize_t n = readlink("/proc/self/ns/pid", link, sizeof(link));
  if (n > 0) return std::string(link, static_cast<size_t>(n));
  Error error = Error::Sys("readlink", "/proc/self/ns/pid");
  if (IsShortage(error)) return error;
  return std::string();
}

namespace {

// What the mark holds and what is true now are both known, and are not the same.
Result<bool> IsAnother(int dir_fd, const char* mark, Result<std::string> (*read_now)()) {
  auto text = ReadFileAt(dir_fd, mark, 64);
  if (!text) {
    if (IsShortage(text.error())) return text.error();
    return false;
  }
  auto now = read_now();
  if (!now) return now.error();
  std::string_view then = TrimEnd(*text);
  return !then.empty() && !now->empty() && then != *now;
}

}  // namespace

Result<bool> IsOfEarlierBoot(int dir_fd) {
  auto boot = IsAnother(dir_fd, kBootId, BootId);
  if (!boot || *boot) return boot;
  return IsAnother(dir_fd, kPidNamespace, PidNamespace);
}

Result<StateDirectory> ReadStateDirectory(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return Error::Sys("open", path);
  StateDirectory out;
  for (const char* mark : {kStarting, kOwnRecord, kDumping, kDeleting}) {
    auto there = HasMark(fd.get(), mark);
    if (!there) return Within(path, std::move(there.error()));
    out.unfinished = out.unfinished || *there;
  }
  auto earlier = IsOfEarlierBoot(fd.get());
  if (!earlier) return Within(path, std::move(earlier.error()));
  out.earlier_boot = *earlier;
  auto names = DirectoriesIn(fd.get(), path);
  if (!names) return names.error();
  for (const std::string& id : *names) {
    auto process = ReadProcess(fd.get(), path + "/" + id, id);
    if (!process) return process.error();
    if (*process) out.processes.push_back(std::move(**process));
  }
  return out;
}

}  // namespace lc
