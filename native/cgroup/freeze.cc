// Pausing and resuming a cgroup, and telling whether it is paused.
#include "cgroup/freeze.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "cgroup/pids.h"
#include "cgroup/scan.h"
#include "core/files.h"
#include "core/unique_fd.h"

namespace lc {
namespace {

class Deadline {
 public:
  explicit Deadline(int timeout_ms) : end_(Now() + int64_t{timeout_ms} * 1'000'000) {}
  bool passed() const { return Now() >= end_; }
  int left_ms() const {
    return static_cast<int>(std::clamp<int64_t>((end_ - Now()) / 1'000'000, 0, INT32_MAX));
  }

 private:
  static int64_t Now() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  }
  int64_t end_;
};

void SleepNs(long ns) {
  timespec time{0, ns};
  nanosleep(&time, nullptr);
}

struct Place {
  const std::string* path = nullptr;
  bool v2 = false;
};

Place FindFreezer(const CgroupPaths& paths) {
  if (const std::string* v1 = paths.Find("freezer")) return {v1, false};
  return {paths.unified.empty() ? nullptr : &paths.unified, true};
}

Error Unsupported() {
  return Error::Coded("ERR_UNSUPPORTED", "no freezer: not mounted, or Linux before 5.2");
}

Error Corrupt(const std::string& path) {
  return Error::Coded("ERR_STATE_CORRUPT", "not a freezer state", path);
}

// Errors as they are met in a cgroup directory: the file gone with it, or never there.
Error Explain(Error error, const std::string& directory) {
  if (error.err == ENODEV) return CgroupGone(directory, ENODEV);
  if (error.err != ENOENT) return error;
  return access(directory.c_str(), F_OK) == 0 ? Unsupported() : CgroupGone(directory, ENOENT);
}

// One control file that stays open: read and written from its start each time.
class Control {
 public:
  // `kept`: of an earlier use, unless it is empty.
  Control(const std::string& directory, const char* name, int flags, UniqueFd kept = UniqueFd())
      : directory_(directory), path_(directory + "/" + name), fd_(std::move(kept)) {
    if (!fd_) fd_.Reset(open(path_.c_str(), flags | O_CLOEXEC));
    if (!fd_) open_error_ = Error::Sys("open", path_);
  }
  bool ok() const { return static_cast<bool>(fd_); }
  Error open_error() const { return Explain(open_error_, directory_); }
  int fd() const { return fd_.get(); }
  UniqueFd Release() { return std::move(fd_); }
  const std::string& path() const { return path_; }

  Result<std::string_view> Read() {
    ssize_t n = -1;
    do {
      n = pread(fd_.get(), text_, sizeof text_, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return Explain(Error::Sys("read", path_), directory_);
    return std::string_view(text_, static_cast<size_t>(n));
  }
  Status Write(std::string_view text) {
    ssize_t n = -1;
    do {
      n = pwrite(fd_.get(), text.data(), text.size(), 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return Explain(Error::Sys("write", path_), directory_);
    return Ok();
  }

 private:
  const std::string& directory_;
  std::string path_;
  UniqueFd fd_;
  Error open_error_;
  char text_[256];
};

Result<Freezer> ReadV1(const std::string& directory, Control* state) {
  auto text = state->Read();
  if (!text) return text.error();
  auto parsed = ParseFreezerState(*text);
  if (!parsed) return Corrupt(state->path());
  Freezer out{*parsed, *parsed != FreezerState::kThawed};
  if (!out.self) return out;
  auto self = ReadFile(directory + "/freezer.self_freezing", 64);
  if (self) {
    auto flag = ParseFlag(*self);
    if (!flag) return Corrupt(directory + "/freezer.self_freezing");
    out.self = *flag;
  } else if (self.error().err != ENOENT || access(directory.c_str(), F_OK) != 0) {
    return Explain(self.error(), directory);
  }
  return out;
}

Error TimedOut(const std::string& path, const char* text) {
  Error error = Error::Of(ETIMEDOUT, "write", path);
  error.text = text;
  return error;
}

// A cgroup into which processes keep coming (forks, an exec from outside) may never get from FREEZING to
// FROZEN by waiting alone; writing again, with a thaw now and then, is what helps. The counts are runc's,
// found by trial.
Result<Freezer> FreezeV1(const std::string& directory, Deadline deadline, FreezerFiles* files) {
  Control state(directory, "freezer.state", O_RDWR, std::move(files->control));
  if (!state.ok()) return state.open_error();
  Result<Freezer> result =
      TimedOut(state.path(), "the kernel did not freeze every process in time; thawed again");
  for (int round = 0;; ++round) {
    if (round > 0 && deadline.passed()) break;
    if (round % 50 == 49) {
      (void)state.Write("THAWED");
      SleepNs(10'000'000);
    }
    Status written = state.Write("FROZEN");
    if (!written) {
      result = written.error();
      break;
    }
    if (round % 25 == 24) SleepNs(10'000);
    // After a thousand rounds the machine is slow or a process cannot be frozen: no need to spin.
    if (round >= 1000) SleepNs(1'000'000);
    auto text = state.Read();
    if (!text) {
      result = text.error();
      break;
    }
    auto parsed = ParseFreezerState(*text);
    if (parsed == FreezerState::kFrozen) {
      files->control = state.Release();
      return Freezer{FreezerState::kFrozen, true};
    }
    if (!parsed) {
      result = Corrupt(state.path());
      break;
    }
    // Thawed: by another hand, since. Written again like all that is not frozen yet.
    // A process freezes by running: let one go first that waits for this very CPU.
    sched_yield();
  }
  // Half frozen is worse than either.
  (void)state.Write("THAWED");
  return result;
}

Status ThawV1(const std::string& directory, FreezerFiles* files) {
  Control state(directory, "freezer.state", O_RDWR, std::move(files->control));
  if (!state.ok()) return state.open_error();
  Status written = state.Write("THAWED");
  if (written) files->control = state.Release();
  return written;
}

Result<Freezer> ReadV2(Control* freeze, Control* events) {
  auto told = freeze->Read();
  if (!told) return told.error();
  std::string own(*told);
  auto text = events->Read();
  if (!text) return text.error();
  auto parsed = ParseFreezerV2(own, *text);
  if (!parsed) return Corrupt(freeze->path());
  return *parsed;
}

// The kernel wakes pollers of cgroup.events when `frozen` changes.
Result<Freezer> FreezeV2(const std::string& directory, Deadline deadline, FreezerFiles* files) {
  Control freeze(directory, "cgroup.freeze", O_RDWR, std::move(files->control));
  if (!freeze.ok()) return freeze.open_error();
  Control events(directory, "cgroup.events", O_RDONLY, std::move(files->events));
  if (!events.ok()) return events.open_error();
  Result<Freezer> now = TimedOut(freeze.path(), "");
  // A process that waits for its vforked child counts as frozen, and for a moment no longer when that wait
  // was over just before: the word is taken when it is given twice.
  for (int frozen = 0; frozen < 2;) {
    Status written = now && now->self ? Ok() : freeze.Write("1");  // not set any more: thawed by another hand
    now = written ? ReadV2(&freeze, &events) : Result<Freezer>(written.error());
    if (!now) break;
    if (now->self && now->state == FreezerState::kFrozen) {
      if (++frozen < 2) sched_yield();
      continue;
    }
    frozen = 0;
    int left = deadline.left_ms();
    if (left == 0) {
      now = TimedOut(freeze.path(), "the kernel did not freeze every process in time; thawed again");
      break;
    }
    // Not for longer than a moment: a cgroup that is removed meanwhile wakes nobody.
    pollfd waiting{events.fd(), POLLPRI, 0};
    if (now->self) poll(&waiting, 1, std::min(left, 100));
  }
  if (now) {
    *files = {freeze.Release(), events.Release()};
  } else {
    (void)freeze.Write("0");
  }
  return now;
}

Status ThawV2(const std::string& directory, FreezerFiles* files) {
  Control freeze(directory, "cgroup.freeze", O_RDWR, std::move(files->control));
  if (!freeze.ok()) return freeze.open_error();
  Status written = freeze.Write("0");
  if (written) files->control = freeze.Release();
  return written;
}

}  // namespace

std::optional<FreezerState> ParseFreezerState(std::string_view text) {
  text = TrimEnd(text);
  if (text == "THAWED") return FreezerState::kThawed;
  if (text == "FREEZING") return FreezerState::kFreezing;
  if (text == "FROZEN") return FreezerState::kFrozen;
  return std::nullopt;
}

std::optional<bool> ParseFlag(std::string_view text) {
  text = TrimEnd(text);
  if (text == "0") return false;
  if (text == "1") return true;
  return std::nullopt;
}

std::optional<Freezer> ParseFreezerV2(std::string_view freeze, std::string_view events) {
  auto self = ParseFlag(freeze);
  auto frozen = ScanKeyed(events, "frozen");
  if (!self || !frozen || *frozen > 1) return std::nullopt;
  FreezerState state = *frozen == 1 ? FreezerState::kFrozen
                       : *self      ? FreezerState::kFreezing
                                    : FreezerState::kThawed;
  return Freezer{state, *self};
}

Result<Freezer> ReadFreezer(const CgroupPaths& paths) {
  Place place = FindFreezer(paths);
  if (place.path == nullptr) return Unsupported();
  if (place.v2) {
    Control freeze(*place.path, "cgroup.freeze", O_RDONLY);
    if (!freeze.ok()) return freeze.open_error();
    Control events(*place.path, "cgroup.events", O_RDONLY);
    if (!events.ok()) return events.open_error();
    return ReadV2(&freeze, &events);
  }
  Control state(*place.path, "freezer.state", O_RDONLY);
  if (!state.ok()) return state.open_error();
  return ReadV1(*place.path, &state);
}

namespace {

// By the files that were kept, or by new ones where the kernel no longer knows those: that says nothing of
// the cgroup.
template <typename T>
Result<T> WithKept(FreezerFiles* files, const std::function<Result<T>(FreezerFiles*)>& work) {
  bool kept = files->control || files->events;
  auto done = work(files);
  if (done || !kept || done.error().err != ENODEV) return done;
  *files = {};
  return work(files);
}

}  // namespace

Result<Freezer> Freeze(const CgroupPaths& paths, int timeout_ms, FreezerFiles* files) {
  Place place = FindFreezer(paths);
  if (place.path == nullptr) return Unsupported();
  Deadline deadline(timeout_ms);
  FreezerFiles own;
  return WithKept<Freezer>(files == nullptr ? &own : files, [&](FreezerFiles* with) {
    return place.v2 ? FreezeV2(*place.path, deadline, with) : FreezeV1(*place.path, deadline, with);
  });
}

Status Thaw(const CgroupPaths& paths, FreezerFiles* files) {
  Place place = FindFreezer(paths);
  if (place.path == nullptr) return Unsupported();
  FreezerFiles own;
  return WithKept<Unit>(files == nullptr ? &own : files, [&](FreezerFiles* with) {
    return place.v2 ? ThawV2(*place.path, with) : ThawV1(*place.path, with);
  });
}

}  // namespace lc
