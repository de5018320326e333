// A checkpoint on disk, `<bundle>/checkpoints/<name>`: made under another name, and seen by its own only when
// it is whole.
#include "shim/checkpoint_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <optional>

#include "core/files.h"
#include "core/json.h"

namespace lc::shim {
namespace {

Error Exists(const std::string& name, const std::string& path) {
  return Error::Coded("ERR_CHECKPOINT_EXISTS", "checkpoint '" + name + "' exists, or is being made", path);
}

Result<UniqueFd> OpenDirectory(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return Error::Sys("open", path);
  return fd;
}

Status MakeDirectory(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return Ok();
  return Error::Sys("mkdir", path);
}

// CRIU lets everyone read the images, which hold all that was in memory.
Status CloseToOthers(int directory, const std::string& path) {
  int scan_fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* scan = scan_fd < 0 ? nullptr : fdopendir(scan_fd);
  if (scan == nullptr) {
    Error error = Error::Sys("open", path);
    if (scan_fd >= 0) close(scan_fd);
    return error;
  }
  std::optional<Error> failed;
  while (!failed) {
    errno = 0;
    dirent* entry = readdir(scan);
    if (entry == nullptr) {
      if (errno != 0) failed = Error::Sys("readdir", path);
      break;
    }
    struct stat st {};
    if (fstatat(directory, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
      failed = Error::Sys("stat", path + "/" + entry->d_name);
    } else if (S_ISREG(st.st_mode) && fchmodat(directory, entry->d_name, 0600, 0) != 0) {
      failed = Error::Sys("fchmodat", path + "/" + entry->d_name);
    }
  }
  closedir(scan);
  if (failed) return *failed;
  if (fchmod(directory, 0711) != 0) return Error::Sys("fchmod", path);
  return Ok();
}

}  // namespace

bool IsCheckpointName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/:") == std::string_view::npos;
}

Result<CheckpointDirectory> CheckpointDirectory::Claim(const std::string& bundle, const std::string& name,
                                                       std::string_view metadata) {
  if (!IsCheckpointName(name)) return Error::Coded("ERR_INVALID_ARG_VALUE", "no checkpoint name: " + name);
  std::string all = bundle + "/checkpoints";
  auto made = MakeDirectory(all, 0711);
  if (!made) return made.error();
  auto gate = OpenDirectory(all);
  if (!gate) return gate.error();
  // Waits for another shim's few calls below, and never for a dump.
  if (flock(gate->get(), LOCK_EX) != 0) return Error::Sys("flock", all);

  CheckpointDirectory directory;
  directory.final_path_ = all + "/" + name;
  directory.path_ = all + "/:" + name;  // ':' is in no name
  struct stat st {};
  if (lstat(directory.final_path_.c_str(), &st) == 0) return Exists(name, directory.final_path_);
  auto other = OpenDirectory(directory.path_);
  if (!other && IsShortage(other.error())) return other.error();
  if (other && flock(other->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Error::Sys("flock", directory.path_);
    return Exists(name, directory.final_path_);
  }
  // What a dump that was cut off has left.
  auto removed = RemoveTreeAt(AT_FDCWD, directory.path_);
  if (!removed) return removed.error();
  made = MakeDirectory(directory.path_, 0700);
  if (!made) return made.error();
  auto filled = directory.LockAndFill(metadata);
  if (!filled) {
    directory.Discard();
    return filled.error();
  }
  return directory;
}

Status CheckpointDirectory::LockAndFill(std::string_view metadata) {
  auto lock = OpenDirectory(path_);
  if (!lock) return lock.error();
  if (flock(lock->get(), LOCK_EX | LOCK_NB) != 0) return Error::Sys("flock", path_);
  lock_ = std::move(*lock);
  // Before the dump: when the disk is full this fails, and not after the container has ended.
  auto written = WriteWholeAt(lock_.get(), "config.json", metadata);
  return written ? MakeDirectory(work_path(), 0700) : written;
}

Result<CheckpointDirectory> CheckpointDirectory::Resume(const std::string& bundle, const std::string& name) {
  if (!IsCheckpointName(name)) return Error::Coded("ERR_INVALID_ARG_VALUE", "no checkpoint name: " + name);
  CheckpointDirectory directory;
  directory.final_path_ = bundle + "/checkpoints/" + name;
  directory.path_ = bundle + "/checkpoints/:" + name;
  auto lock = OpenDirectory(directory.path_);
  if (!lock) return lock.error();
  // Another shim of this bundle has it by now.
  if (flock(lock->get(), LOCK_EX | LOCK_NB) != 0) return Error::Sys("flock", directory.path_);
  directory.lock_ = std::move(*lock);
  return directory;
}

bool CheckpointDirectory::IsDumped() const {
  constexpr size_t kTail = 4096;
  UniqueFd log(open((work_path() + "/dump.log").c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat st {};
  if (!log || fstat(log.get(), &st) != 0) return false;
  char tail[kTail];
  auto from = st.st_size > static_cast<off_t>(kTail) ? st.st_size - static_cast<off_t>(kTail) : 0;
  ssize_t n = pread(log.get(), tail, sizeof(tail), from);
  return n > 0 && std::string_view(tail, static_cast<size_t>(n)).find("Dumping finished successfully") !=
                      std::string_view::npos;
}

Status CheckpointDirectory::Commit() {
  auto closed = CloseToOthers(lock_.get(), path_);
  if (!closed) return closed;
  long renamed = syscall(SYS_renameat2, AT_FDCWD, path_.c_str(), AT_FDCWD, final_path_.c_str(),
                         static_cast<unsigned>(RENAME_NOREPLACE));
  // File systems without that flag; an empty directory of that name is all that this one would replace.
  if (renamed != 0 && errno == EINVAL) renamed = rename(path_.c_str(), final_path_.c_str());
  if (renamed != 0) return Error::Sys("rename", final_path_);
  lock_.Reset();
  return Ok();
}

void CheckpointDirectory::Discard() {
  // What withstands a second try goes when the name is used again.
  if (!RemoveTreeAt(AT_FDCWD, path_)) (void)RemoveTreeAt(AT_FDCWD, path_);
  lock_.Reset();
}

Status DumpHistory::CheckParent(const std::string& bundle, const std::string& name) const {
  Error unknown =
      Error::Coded("ERR_CHECKPOINT_NOT_FOUND",
                   "parent '" + name + "' is no dump that this container's next one can build on");
  if (!IsCheckpointName(name)) return unknown;
  auto text = ReadFile(bundle + "/checkpoints/" + name + "/config.json");
  JsonDocument json;
  auto created = text && ParseJson(*text, &json) ? StringMember(json, "created") : std::nullopt;
  auto history = ReadFile(file_);
  if (!created || !history) return unknown;
  // Whole lines; the time tells it from an older one of that name.
  if (("\n" + *history).find("\n" + *created + " " + name + "\n") == std::string::npos) return unknown;
  return Ok();
}

void DumpHistory::Forget() const {
  unlink(file_.c_str());
}

Status DumpHistory::Add(std::string_view name, std::string_view created) const {
  auto history = ReadFile(file_);
  std::string text = history ? std::move(*history) : std::string();
  text.append(created).append(" ").append(name).append("\n");
  return WriteWholeAt(AT_FDCWD, file_, text);
}

}  // namespace lc::shim
