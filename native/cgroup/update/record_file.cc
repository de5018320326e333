// runc's state.json changed in place, while runc, which takes no lock, may be saving it too.
#include "cgroup/update/record_file.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "core/files.h"

namespace lc {
namespace {

// Every round but the last one lost to a save of another hand.
constexpr int kMaxRounds = 100;
constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE of linux/fs.h, for C libraries without the name

UniqueFd OpenNew(int directory, const std::string& name, mode_t mode) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
  UniqueFd fd(openat(directory, name.c_str(), kFlags, mode));
  if (!fd && errno == EEXIST) {  // left by a program that died
    unlinkat(directory, name.c_str(), 0);
    fd.Reset(openat(directory, name.c_str(), kFlags, mode));
  }
  return fd;
}

bool IsSame(const struct stat& a, const struct stat& b) {
  return a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

// The two names change places in one step, so what was there until then is known for sure.
bool Exchange(int directory, const std::string& one, const std::string& other) {
  return syscall(SYS_renameat2, directory, one.c_str(), directory, other.c_str(), kExchange) == 0;
}

// A file held open, so that no other can get its inode number.
struct Pinned {
  UniqueFd fd;
  struct stat identity {};
};

// Gives up after an exchange: `name` has `ours`, made from an older version than the one at `displaced`. That
// one goes back, and so does any that another hand saves meanwhile.
void PutBack(int directory, const std::string& displaced, const std::string& name, Pinned ours) {
  for (;;) {
    Pinned newer;
    newer.fd.Reset(openat(directory, displaced.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!newer.fd || fstat(newer.fd.get(), &newer.identity) != 0) return;
    if (!Exchange(directory, displaced, name)) return;
    struct stat out {};
    if (fstatat(directory, displaced.c_str(), &out, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (IsSame(out, ours.identity)) break;
    ours = std::move(newer);
  }
  unlinkat(directory, displaced.c_str(), 0);
}

}  // namespace

Result<RecordFile> RecordFile::Open(std::string path, int directory) {
  std::string name = directory == AT_FDCWD ? path : path.substr(path.rfind('/') + 1);
  auto base = Read(directory, name, path);
  if (!base) return base.error();
  return RecordFile(std::move(path), directory, std::move(name), std::move(*base));
}

Result<RecordFile::Version> RecordFile::Read(int directory, const std::string& from,
                                             const std::string& path) {
  UniqueFd fd(openat(directory, from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat identity {};
  if (!fd || fstat(fd.get(), &identity) != 0) return Error::Sys("open", path);
  auto text = RereadFd(fd.get(), path, kMaxFileBytes, static_cast<size_t>(identity.st_size));
  if (!text) return text.error();
  auto record = RuncRecord::Parse(std::move(*text), path);
  if (!record) return record.error();
  return Version{std::move(fd), identity, std::move(*record)};
}

Result<RecordFile::Version> RecordFile::ReadNewer(const std::string& from) const {
  auto newer = Read(directory_, from, path_);
  if (newer && newer->record.init_pid() != base_.record.init_pid()) {
    return Error::Coded("ERR_CONTAINER_EXITED", "the runtime's record is about a later container of that id",
                        path_);
  }
  return newer;
}

Status RecordFile::Patch(const Resources& resources, const PlanOptions& options) {
  // Ours to be, and the version of another hand that an exchange took from its place, take turns with two
  // names.
  std::string temporary = name_ + ".tmp." + std::to_string(getpid());
  std::string displaced = temporary + ".was";
  bool exchanged = false;
  // What the file is believed to be when ours takes its place: the version patched, or one of ours.
  Pinned expected{UniqueFd(), base_.identity};
  auto fail = [&](Error error) -> Status {
    unlinkat(directory_, temporary.c_str(), 0);
    if (exchanged) PutBack(directory_, displaced, name_, std::move(expected));
    return error;
  };
  for (int round = 0; round < kMaxRounds; ++round) {
    Pinned ours{OpenNew(directory_, temporary, base_.identity.st_mode & 07777U), {}};
    if (!ours.fd) return fail(Error::Sys("open", path_));
    auto written = WriteAll(ours.fd.get(), base_.record.Patch(resources, options), path_);
    if (!written) return fail(written.error());
    if (fstat(ours.fd.get(), &ours.identity) != 0) return fail(Error::Sys("fstat", path_));
    if (!Exchange(directory_, temporary, name_)) {
      // A file system that cannot do it: a look, and at once the rename.
      if (errno != EINVAL && errno != ENOSYS) return fail(Error::Sys("rename", path_));
      struct stat now {};
      if (fstatat(directory_, name_.c_str(), &now, 0) != 0) return fail(Error::Sys("stat", path_));
      if (IsSame(now, base_.identity)) {
        if (renameat(directory_, temporary.c_str(), directory_, name_.c_str()) == 0) return Ok();
        return fail(Error::Sys("rename", path_));
      }
      auto newer = ReadNewer(name_);
      if (!newer) return fail(newer.error());
      base_ = std::move(*newer);
      continue;
    }
    struct stat before {};
    if (fstatat(directory_, temporary.c_str(), &before, 0) != 0) {
      Error error = Error::Sys("stat", path_);
      PutBack(directory_, temporary, name_, std::move(ours));
      return fail(std::move(error));
    }
    if (IsSame(before, expected.identity)) {
      unlinkat(directory_, temporary.c_str(), 0);
      if (exchanged) unlinkat(directory_, displaced.c_str(), 0);
      return Ok();
    }
    // Another hand saved between our look and the exchange: its version is the newer one, to be patched in
    // turn.
    exchanged = true;
    std::swap(temporary, displaced);
    expected = std::move(ours);
    auto newer = ReadNewer(displaced);
    if (!newer) return fail(newer.error());
    base_ = std::move(*newer);
  }
  return fail(Error::Of(EAGAIN, "rename", path_));
}

}  // namespace lc
