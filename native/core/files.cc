// Small files: read whole and bounded, written whole or not at all.
#include "core/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <utility>

namespace lc {
namespace {

int RetryOpenAt(int dir_fd, const char* path, int flags, mode_t mode = 0) {
  int fd = -1;
  do {
    fd = openat(dir_fd, path, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

// `offset` < 0 reads from the descriptor's own position.
Result<std::string> ReadToEnd(int fd, const std::string& path, size_t limit, bool from_start,
                              size_t expected = 0) {
  std::string out;
  size_t used = 0;
  // Most kernel files end within the first read: their text costs one small allocation, not a page of it.
  char first[4096];
  if (expected < sizeof(first)) {
    ssize_t got = -1;
    do {
      got = from_start ? pread(fd, first, sizeof(first), 0) : read(fd, first, sizeof(first));
    } while (got < 0 && errno == EINTR);
    if (got < 0) return Error::Sys("read", path);
    out.assign(first, static_cast<size_t>(got));
    used = out.size();
    if (used > limit) return Error::Of(EFBIG, "read", path);
    if (used == 0) return out;
    out.resize(used < sizeof(first) ? used + 64 : used * 2);
  } else {
    out.resize(expected + 1);  // one more, so that the end is seen without another allocation
  }
  for (;;) {
    if (used == out.size()) out.resize(out.size() * 2);
    size_t want = out.size() - used;
    ssize_t n = from_start ? pread(fd, out.data() + used, want, static_cast<off_t>(used))
                           : read(fd, out.data() + used, want);
    if (n < 0) {
      if (errno == EINTR) continue;
      return Error::Sys("read", path);
    }
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used > limit) return Error::Of(EFBIG, "read", path);
  }
  out.resize(used);
  return out;
}

}  // namespace

Result<std::string> ReadFileAt(int dir_fd, const std::string& path, size_t limit) {
  // O_NONBLOCK: the open of a FIFO that someone put in a file's place must not wait for a writer.
  UniqueFd fd(RetryOpenAt(dir_fd, path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY));
  if (!fd) return Error::Sys("open", path);
  struct stat st {};
  if (fstat(fd.get(), &st) != 0) return Error::Sys("fstat", path);
  if (S_ISDIR(st.st_mode)) return Error::Of(EISDIR, "read", path);
  if (!S_ISREG(st.st_mode)) return Error::Of(EINVAL, "read", path);
  return ReadToEnd(fd.get(), path, limit, false);
}

Result<std::string> ReadFile(const std::string& path, size_t limit) {
  return ReadFileAt(AT_FDCWD, path, limit);
}

Result<std::string> RereadFd(int fd, const std::string& path, size_t limit, size_t expected) {
  return ReadToEnd(fd, path, limit, true, expected);
}

Status WriteAll(int fd, std::string_view data, const std::string& path) {
  while (!data.empty()) {
    ssize_t n = write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return Error::Sys("write", path);
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  return Ok();
}

namespace {

// Writes from the file's beginning and cuts off what it held beyond. Not O_TRUNC: ext4 writes the blocks of a
// file that was emptied to the disk at its close.
Status Overwrite(int fd, std::string_view data, const std::string& path) {
  auto written = WriteAll(fd, data, path);
  if (!written) return written;
  struct stat st {};
  if (fstat(fd, &st) != 0) return Error::Sys("fstat", path);
  auto size = static_cast<off_t>(data.size());
  if (st.st_size > size && ftruncate(fd, size) != 0) return Error::Sys("ftruncate", path);
  return Ok();
}

}  // namespace

// The pid makes the name this process's own; a left-over of a dead one with that pid is replaced.
std::string TemporaryName(const std::string& path) {
  return path + ".tmp." + std::to_string(getpid());
}

Status WriteWholeAt(int dir_fd, const std::string& path, std::string_view data, mode_t mode,
                    const timespec* modified) {
  std::string temporary = TemporaryName(path);
  UniqueFd fd(RetryOpenAt(dir_fd, temporary.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW, mode));
  if (!fd) return Error::Sys("open", path);
  Status written = Overwrite(fd.get(), data, path);
  if (written && modified != nullptr) {
    const timespec times[2] = {*modified, *modified};
    if (futimens(fd.get(), times) != 0) written = Error::Sys("futimens", path);
  }
  if (!written) {
    unlinkat(dir_fd, temporary.c_str(), 0);
    return written;
  }
  if (renameat(dir_fd, temporary.c_str(), dir_fd, path.c_str()) != 0) {
    Error error = Error::Sys("rename", path);
    unlinkat(dir_fd, temporary.c_str(), 0);
    return error;
  }
  return Ok();
}

Status WriteNew(const std::string& path, std::string_view data) {
  UniqueFd fd(RetryOpenAt(AT_FDCWD, path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (!fd) return Error::Sys("open", path);
  return WriteAll(fd.get(), data, path);
}

Status WriteOver(const std::string& path, std::string_view data) {
  UniqueFd fd(RetryOpenAt(AT_FDCWD, path.c_str(), O_WRONLY | O_NOFOLLOW));
  if (!fd) return Error::Sys("open", path);
  return Overwrite(fd.get(), data, path);
}

Status RenameNew(const std::string& from, const std::string& to) {
  constexpr unsigned kNoReplace = 1;  // RENAME_NOREPLACE
  if (syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), kNoReplace) == 0) return Ok();
  // A file system that does not know the flag (EINVAL): a plain rename of a directory replaces an empty one
  // at most.
  if ((errno == EINVAL || errno == ENOSYS) && rename(from.c_str(), to.c_str()) == 0) return Ok();
  return Error::Sys("rename", to);
}

Status WriteOnceAt(int dir_fd, const std::string& path, std::string_view data) {
  UniqueFd fd(RetryOpenAt(dir_fd, path.c_str(), O_WRONLY));
  if (!fd) return Error::Sys("open", path);
  ssize_t n = -1;
  do {
    n = write(fd.get(), data.data(), data.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return Error::Sys("write", path);
  if (static_cast<size_t>(n) != data.size()) return Error::Of(EIO, "write", path);
  return Ok();
}

Result<std::vector<std::string>> DirectoriesIn(int dir_fd, const std::string& path) {
  int scan_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (scan_fd < 0) return Error::Sys("open", path);
  DIR* scan = fdopendir(scan_fd);
  if (scan == nullptr) {
    Error error = Error::Sys("fdopendir", path);
    close(scan_fd);
    return error;
  }
  std::vector<std::string> out;
  std::optional<Error> failed;
  for (;;) {
    errno = 0;
    dirent* entry = readdir(scan);
    if (entry == nullptr) {
      if (errno != 0) failed = Error::Sys("readdir", path);
      break;
    }
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    bool is_directory = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat st {};
      is_directory = fstatat(dir_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    }
    if (is_directory) out.push_back(std::move(name));
  }
  closedir(scan);
  if (failed) return *failed;
  return out;
}

Status RemoveTreeAt(int dir_fd, const std::string& path) {
  if (unlinkat(dir_fd, path.c_str(), 0) == 0 || errno == ENOENT) return Ok();
  if (errno != EISDIR && errno != EPERM) return Error::Sys("unlink", path);
  UniqueFd dir(RetryOpenAt(dir_fd, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (!dir) {
    if (errno == ENOENT) return Ok();
    return Error::Sys("open", path);
  }
  int scan_fd = RetryOpenAt(dir.get(), ".", O_RDONLY | O_DIRECTORY);
  if (scan_fd < 0) return Error::Sys("open", path);
  DIR* scan = fdopendir(scan_fd);
  if (scan == nullptr) {
    close(scan_fd);
    return Error::Sys("fdopendir", path);
  }
  Status status = Ok();
  while (dirent* entry = readdir(scan)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    Status removed = RemoveTreeAt(dir.get(), entry->d_name);
    if (!removed && status.ok()) status = std::move(removed);
  }
  closedir(scan);
  if (!status) return status;
  if (unlinkat(dir_fd, path.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return Error::Sys("rmdir", path);
  }
  return Ok();
}

std::string_view TrimEnd(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  return text;
}

std::optional<uint64_t> ParseU64(std::string_view text) {
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace lc
