// runc's state.json changed in place, while runc, which takes no lock, may be saving it too.
#include "cgroup/record_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

#include "cgroup/record_patch.h"
#include "core/files.h"
#include "core/unique_fd.h"

namespace lc {
namespace {

// Every round but the last one lost to a save of another hand.
constexpr int kMaxRounds = 100;
constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE of linux/fs.h, for C libraries without the name

// A version of the file, told from every other by its inode: held open, so that no other can get the number.
struct Version {
  UniqueFd fd;
  dev_t dev = 0;
  ino_t ino = 0;
  mode_t mode = 0;

  static Result<Version> Open(const std::string& path) {
    Version out;
    out.fd.Reset(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat st {};
    if (!out.fd || fstat(out.fd.get(), &st) != 0) return Error::Sys("open", path);
    out.dev = st.st_dev;
    out.ino = st.st_ino;
    out.mode = st.st_mode & 07777U;
    return out;
  }
  bool operator==(const Version& other) const { return dev == other.dev && ino == other.ino; }
};

Result<Version> WriteNew(const std::string& temporary, const std::string& path, std::string_view text,
                         mode_t mode) {
  unlink(temporary.c_str());  // left by a program that died
  UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) return Error::Sys("open", path);
  auto written = WriteAll(fd.get(), text, path);
  if (!written) return written.error();
  return Version::Open(temporary);
}

// The two names change places in one step, so what was there until then is known for sure.
bool Exchange(const std::string& temporary, const std::string& path) {
  return syscall(SYS_renameat2, AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), kExchange) == 0;
}

// Gives up after an exchange: `path` has `ours`, made from an older version than the one at `temporary`. That
// one goes back, and so does any that another hand saves meanwhile.
void PutBack(const std::string& temporary, const std::string& path, Version ours) {
  for (;;) {
    auto newer = Version::Open(temporary);
    if (!newer || !Exchange(temporary, path)) return;
    auto out = Version::Open(temporary);
    if (!out) return;
    if (*out == ours) break;
    ours = std::move(*newer);
  }
  unlink(temporary.c_str());
}

}  // namespace

Status PatchRecordFile(const std::string& path, const Resources& resources, const PlanOptions& options) {
  // Ours to be, and the version of another hand that an exchange took from `path`, take turns with two names.
  std::string temporary = path + ".tmp." + std::to_string(getpid());
  std::string displaced = temporary + ".was";
  bool exchanged = false;
  auto base = Version::Open(path);
  if (!base) return base.error();
  Version expected = std::move(*base);
  auto fail = [&](Error error) -> Status {
    unlink(temporary.c_str());
    if (exchanged) PutBack(displaced, path, std::move(expected));
    return error;
  };
  UniqueFd source(fcntl(expected.fd.get(), F_DUPFD_CLOEXEC, 3));
  for (int round = 0; round < kMaxRounds; ++round) {
    auto text = RereadFd(source.get(), path);
    if (!text) return fail(text.error());
    auto record = RuncRecord::Parse(std::move(*text), path);
    if (!record) return fail(record.error());
    auto ours = WriteNew(temporary, path, record->Patch(resources, options), expected.mode);
    if (!ours) return fail(ours.error());
    if (!Exchange(temporary, path)) {
      // A file system that cannot do it: a look, and at once the rename.
      if (errno != EINVAL && errno != ENOSYS) return fail(Error::Sys("rename", path));
      auto now = Version::Open(path);
      if (!now) return fail(now.error());
      if (!(*now == expected)) {
        expected = std::move(*now);
        source.Reset(fcntl(expected.fd.get(), F_DUPFD_CLOEXEC, 3));
        continue;
      }
      if (rename(temporary.c_str(), path.c_str()) != 0) return fail(Error::Sys("rename", path));
      return Ok();
    }
    auto before = Version::Open(temporary);
    if (!before) return before.error();
    if (*before == expected) {
      unlink(temporary.c_str());
      if (exchanged) unlink(displaced.c_str());
      return Ok();
    }
    // Another hand saved between our look and the exchange: its version is the newer one, to be patched in
    // turn.
    exchanged = true;
    std::swap(temporary, displaced);
    source = std::move(before->fd);
    expected = std::move(*ours);
  }
  return fail(Error::Of(EAGAIN, "rename", path));
}

}  // namespace lc
