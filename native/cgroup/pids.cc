// The processes of a container: every one in the subtree of its cgroup.
#include "cgroup/pids.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "cgroup/scan.h"
#include "cgroup/walk.h"
#include "core/files.h"
#include "core/unique_fd.h"

namespace lc {
namespace {

constexpr uint64_t kMaxPid = 4U << 20U;  // PID_MAX_LIMIT; so many pids are all that a cgroup can hold

enum class Outcome { kRead, kGone, kThreaded, kFailed };

// The whole of `name`, which the kernel hands out a page at a time.
// `error` has no path.
Outcome ReadList(int dir_fd, const char* name, std::vector<pid_t>* out, Error* error) {
  // Opened afresh each time: v1 gives a descriptor that stays open the list of its first read for a second
  // (CGROUP_PIDLIST_DESTROY_DELAY).
  UniqueFd fd(openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    if (errno == ENOENT || errno == ENODEV) return Outcome::kGone;
    *error = Error::Sys("open");
    return Outcome::kFailed;
  }
  PidListParser parser;
  char buffer[16384];
  for (;;) {
    ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0) {
      if (errno == EINTR) continue;
      if (errno == ENODEV) return Outcome::kGone;
      if (errno == EOPNOTSUPP) return Outcome::kThreaded;
      *error = Error::Sys("read");
      return Outcome::kFailed;
    }
    bool sane = n == 0 ? parser.Finish(out) : parser.Feed({buffer, static_cast<size_t>(n)}, out);
    if (!sane || out->size() > kMaxPid) {
      *error = Error::Coded("ERR_STATE_CORRUPT", "not a list of pids");
      return Outcome::kFailed;
    }
    if (n == 0) return Outcome::kRead;
  }
}

// A thread's process, as this pid namespace numbers it; 0 when it is gone.
pid_t ProcessOf(pid_t thread) {
  auto text = ReadFile("/proc/" + std::to_string(thread) + "/status", 65536);
  if (!text) return 0;
  size_t at = text->find("\nTgid:\t");
  if (at == std::string::npos) return 0;
  Scanner scan(std::string_view(*text).substr(at + 7));
  return static_cast<pid_t>(scan.TakeU64().value_or(0));
}

void KeepFirstOfEach(std::vector<pid_t>* pids) {
  // Most often one sorted list, in which a repetition shows without more ado.
  if (std::adjacent_find(pids->begin(), pids->end(), std::greater_equal<>()) == pids->end()) return;
  std::vector<std::pair<pid_t, size_t>> order;
  order.reserve(pids->size());
  for (size_t i = 0; i < pids->size(); ++i) order.emplace_back((*pids)[i], i);
  std::sort(order.begin(), order.end());
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i].first == order[i - 1].first) (*pids)[order[i].second] = 0;
  }
  std::erase(*pids, 0);
}

}  // namespace

Error CgroupGone(const std::string& path, int err) {
  Error error = Error::Coded("ERR_CONTAINER_EXITED", "the cgroup is gone", path);
  error.err = err;
  return error;
}

bool PidListParser::Feed(std::string_view piece, std::vector<pid_t>* out) {
  for (char c : piece) {
    if (c >= '0' && c <= '9') {
      value_ = value_ * 10 + static_cast<uint64_t>(c - '0');
      if (value_ > kMaxPid) return false;
      in_number_ = true;
    } else if (c == '\n' && in_number_) {
      // 0 stands for a process that our pid namespace does not show.
      if (value_ != 0) out->push_back(static_cast<pid_t>(value_));
      if (out->size() > kMaxPid) return false;
      value_ = 0;
      in_number_ = false;
    } else {
      return false;
    }
  }
  return true;
}

bool PidListParser::Finish(std::vector<pid_t>* out) {
  return !in_number_ || Feed("\n", out);
}

const std::string* PidsDirectory(const CgroupPaths& paths, bool* v2) {
  *v2 = false;
  for (const char* name : {"devices", "pids", "memory", "cpu"}) {
    if (const std::string* path = paths.Find(name)) return path;
  }
  // A named hierarchy alone (systemd's beside v2) says less than v2 itself.
  for (const CgroupPaths::Controller& controller : paths.v1) {
    if (!controller.name.starts_with("name=")) return &controller.path;
  }
  if (!paths.unified.empty()) {
    *v2 = true;
    return &paths.unified;
  }
  return paths.v1.empty() ? nullptr : &paths.v1.front().path;
}

Status ReadPidsAt(int dir_fd, bool v2, std::vector<pid_t>* out) {
  Error error;
  switch (ReadList(dir_fd, "cgroup.procs", out, &error)) {
    case Outcome::kGone:
      return Error::Of(ENODEV, "open");
    case Outcome::kFailed:
      return error;
    case Outcome::kThreaded:
      break;
    case Outcome::kRead:
      return Ok();
  }
  // Nothing, unless the container's own cgroup is within a threaded domain: each thread tells its process.
  std::vector<pid_t> threads;
  if (!v2 || ReadList(dir_fd, "cgroup.threads", &threads, &error) != Outcome::kRead) return Ok();
  for (pid_t thread : threads) {
    if (pid_t pid = ProcessOf(thread)) out->push_back(pid);
  }
  return Ok();
}

Status ReadPidsBelow(int dir_fd, const std::string& path, bool v2, std::vector<pid_t>* out) {
  out->clear();
  Error error;
  const char* file = "cgroup.procs";
  Outcome top = ReadList(dir_fd, file, out, &error);
  // v2: a threaded cgroup has no processes of its own; those of a threaded subtree are listed at its top.
  // Only when the container's cgroup is itself inside of one must the threads be asked.
  bool by_thread = top == Outcome::kThreaded && v2;
  if (by_thread) {
    file = "cgroup.threads";
    top = ReadList(dir_fd, file, out, &error);
  }
  if (top == Outcome::kGone) return CgroupGone(path, ENODEV);
  if (top == Outcome::kThreaded) return Error::Of(EOPNOTSUPP, "read", path + "/" + file);
  error.path = path + "/" + file;
  if (top == Outcome::kFailed) return error;
  const WalkDeadline deadline;
  CgroupWalk walk(dir_fd, path);
  (void)walk.Next();  // the top, which was read
  for (CgroupWalk::Step step = walk.Next(); step != CgroupWalk::Step::kDone; step = walk.Next()) {
    if (step == CgroupWalk::Step::kFailed) return walk.error();
    if (step != CgroupWalk::Step::kEntered) continue;
    if (deadline.passed()) return WalkDeadline::TooMany("read", path);
    // One that was removed meanwhile held no process.
    if (ReadList(walk.at(), file, out, &error) != Outcome::kFailed) continue;
    error.path = walk.Path() + "/" + file;
    return error;
  }
  if (by_thread) {
    for (pid_t& pid : *out) pid = ProcessOf(pid);
    std::erase(*out, 0);
  }
  KeepFirstOfEach(out);
  return Ok();
}

Result<std::vector<pid_t>> ReadPids(const CgroupPaths& paths) {
  bool v2 = false;
  const std::string* path = PidsDirectory(paths, &v2);
  if (path == nullptr) return Error::Coded("ERR_UNSUPPORTED", "the container has no cgroup");
  UniqueFd fd(open(path->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT || errno == ENODEV) return CgroupGone(*path, errno);
    return Error::Sys("open", *path);
  }
  std::vector<pid_t> out;
  Status status = ReadPidsBelow(fd.get(), *path, v2, &out);
  if (!status) return status.error();
  return out;
}

}  // namespace lc
