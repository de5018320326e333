// Carries out a plan: all of it, or the state before.
#include "cgroup/update/writer.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstring>

#include "cgroup/pids.h"
#include "cgroup/scan.h"
#include "core/files.h"
#include "core/unique_fd.h"

namespace lc {
namespace {

constexpr size_t kMaxControlBytes = 1U << 20U;

const std::string* DirectoryOf(const CgroupPaths& paths, const std::string& controller) {
  if (!controller.empty()) return paths.Find(controller);
  return paths.unified.empty() ? nullptr : &paths.unified;
}

// Control files take each write as a whole; plain files (a tree for tests) must be emptied first.
bool IsPlain(int fd) {
  struct statfs fs {};
  if (fstatfs(fd, &fs) != 0) return false;
  return fs.f_type != CGROUP_SUPER_MAGIC && fs.f_type != CGROUP2_SUPER_MAGIC;
}

class ControlFile {
 public:
  explicit ControlFile(const std::string& path) : path_(path) {
    fd_.Reset(open(path.c_str(), O_RDWR | O_CLOEXEC));
    // Some can be written and not read.
    if (!fd_ && (errno == EACCES || errno == EINVAL || errno == EPERM)) {
      readable_ = false;
      fd_.Reset(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    }
    if (!fd_) error_ = errno;
    truncate_ = fd_ && IsPlain(fd_.get());
  }
  int error() const { return error_; }

  std::optional<std::string> Read() {
    if (!readable_) return std::nullopt;
    auto text = RereadFd(fd_.get(), path_, kMaxControlBytes);
    if (!text) return std::nullopt;
    return std::move(*text);
  }
  // 0 or the errno.
  int Write(std::string_view value) {
    if (truncate_ && ftruncate(fd_.get(), 0) != 0) return errno;
    for (int attempt = 0; attempt < 100; ++attempt) {
      if (pwrite(fd_.get(), value.data(), value.size(), 0) >= 0) return 0;
      // A limit that wants reclaim first gives up when a signal comes in.
      if (errno != EINTR && errno != EAGAIN) return errno;
    }
    return EINTR;
  }

 private:
  const std::string& path_;
  bool truncate_ = false;
  bool readable_ = true;
  UniqueFd fd_;
  int error_ = 0;
};

std::string_view LineThatBegins(std::string_view text, std::string_view word) {
  Scanner scan(text);
  while (!scan.done()) {
    std::string_view line = scan.TakeLine();
    if (line.starts_with(word) && (line.size() == word.size() || line[word.size()] == ' ')) return line;
  }
  return {};
}

Error FieldError(const CgroupWrite& write, const std::string& path, int err, const std::string& hint) {
  Error error = Error::Of(err, "write", path);
  error.text = write.field + " (" + (write.value == "\n" ? "" : write.value) + ") was refused";
  if (!hint.empty()) error.text += ": " + hint;
  return error;
}

// A file that is not there: the cgroup is gone, the controller is not enabled, or the kernel is too old.
Error MissingFile(const CgroupWrite& write, const std::string& directory, const ReadCurrent& current) {
  if (access(directory.c_str(), F_OK) != 0) return CgroupGone(directory, errno);
  std::string what = write.field + ": there is no " + write.file;
  if (write.controller.empty()) {
    std::string controller = write.file.substr(0, write.file.find('.'));
    std::string enabled = " " + std::string(TrimEnd(current("", "cgroup.controllers").value_or(""))) + " ";
    if (controller != "cgroup" && enabled.find(" " + controller + " ") == std::string::npos) {
      what = write.field + ": the " + controller + " controller is not enabled for the container's cgroup";
    }
  }
  Error error = Error::Coded("ERR_UNSUPPORTED", what, directory + "/" + write.file);
  error.err = ENOENT;
  error.call = "open";
  return error;
}

}  // namespace

std::optional<std::string> ValueToRestore(const CgroupWrite& write, std::string_view old_text) {
  std::string_view old = TrimEnd(old_text);
  switch (write.restore) {
    case CgroupWrite::Restore::kNone:
      return std::nullopt;
    case CgroupWrite::Restore::kWhole:
      return old.empty() ? std::string("\n") : std::string(old);
    case CgroupWrite::Restore::kFirstWord: {
      std::string_view word(write.value);
      word = word.substr(0, word.find(' '));
      std::string_view line = LineThatBegins(old, word);
      return line.empty() ? write.when_missing : std::string(line);
    }
    case CgroupWrite::Restore::kDefaultLine: {
      std::string_view line = LineThatBegins(old, "default");
      return line.empty() ? std::string(old) : std::string(line);
    }
    case CgroupWrite::Restore::kOomControl: {
      auto value = ScanKeyed(old_text, "oom_kill_disable");
      return value ? std::to_string(*value) : std::string(old);
    }
  }
  return std::nullopt;
}

std::string AppliedPlan::Undo() {
  std::string failures;
  for (auto done = done_.rbegin(); done != done_.rend(); ++done) {
    if (!done->old_value) continue;
    ControlFile file(done->path);
    int err = file.error() != 0 ? file.error() : file.Write(*done->old_value);
    if (err == 0) continue;
    if (!failures.empty()) failures += ", ";
    failures +=
        done->path + " could not be set back to " + *done->old_value + " (errno " + std::to_string(err) + ")";
  }
  done_.clear();
  return failures;
}

ReadCurrent CurrentOf(const CgroupPaths& paths) {
  return [&paths](const std::string& controller, const char* file) -> std::optional<std::string> {
    const std::string* directory = DirectoryOf(paths, controller);
    if (directory == nullptr) return std::nullopt;
    auto text = ReadFile(*directory + "/" + file, kMaxControlBytes);
    if (!text) return std::nullopt;
    return std::move(*text);
  };
}

Result<AppliedPlan> ApplyPlan(const CgroupPaths& paths, const CgroupPlan& plan) {
  AppliedPlan applied;
  ReadCurrent current = CurrentOf(paths);
  std::vector<const CgroupWrite*> later;

  auto fail = [&](Error error) -> Result<AppliedPlan> {
    std::string failures = applied.Undo();
    if (!failures.empty()) error.text += "; " + failures;
    return error;
  };
  // Does one write; an error is returned, EINVAL of one that may be tried again is put off.
  auto write_one = [&](const CgroupWrite& write, bool last_try) -> std::optional<Error> {
    const std::string* directory = DirectoryOf(paths, write.controller);
    if (directory == nullptr) {
      return Error::Coded("ERR_UNSUPPORTED",
                          write.field + ": the " + write.controller + " controller is not mounted",
                          write.file);
    }
    std::string path = *directory + "/" + write.file;
    ControlFile file(path);
    if (file.error() == ENODEV) return CgroupGone(*directory, ENODEV);
    if (file.error() == ENOENT) {
      if (write.may_be_missing && access(directory->c_str(), F_OK) == 0) return std::nullopt;
      return MissingFile(write, *directory, current);
    }
    if (file.error() != 0) {
      Error error = FieldError(write, path, file.error(), HintFor(write, file.error(), current));
      error.call = "open";
      return error;
    }
    auto old_text = file.Read();
    int err = file.Write(write.value);
    if (err == ENODEV && access(directory->c_str(), F_OK) != 0) return CgroupGone(*directory, ENODEV);
    if (err == EINVAL && write.retry_after && !last_try) {
      later.push_back(&write);
      return std::nullopt;
    }
    if (err != 0) return FieldError(write, path, err, HintFor(write, err, current));
    auto old_value = old_text ? ValueToRestore(write, *old_text) : std::nullopt;
    applied.done_.push_back({std::move(path), std::move(old_value)});
    if (write.read_back) {
      auto wanted = ScanU64(write.value);
      auto got = file.Read();
      auto now = got ? ScanU64(*got) : std::nullopt;
      if (wanted && now && *wanted != *now) {
        return FieldError(write, applied.done_.back().path, ERANGE,
                          std::string("the kernel's ") + (*wanted > *now ? "greatest is " : "least is ") +
                              std::to_string(*now));
      }
    }
    return std::nullopt;
  };

  for (const CgroupWrite& write : plan.writes) {
    if (auto error = write_one(write, false)) return fail(std::move(*error));
    if (!write.then_retry) continue;
    std::vector<const CgroupWrite*> now = std::move(later);
    later.clear();
    for (const CgroupWrite* again : now) {
      if (auto error = write_one(*again, true)) return fail(std::move(*error));
    }
  }
  // A write that was put off and never asked for again would be lost; a plan always asks.
  for (const CgroupWrite* again : later) {
    if (auto error = write_one(*again, true)) return fail(std::move(*error));
  }
  return applied;
}

}  // namespace lc
