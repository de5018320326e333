// Signals for every process of a container's cgroups, and the thaw without which a SIGKILL has no effect on
// v1.
#include "cgroup/kill.h"

#include <cerrno>
#include <utility>

#include "cgroup/pids.h"
#include "core/files.h"
#include "core/process_identity.h"

namespace lc {
namespace {

using Step = CgroupWalk::Step;

bool IsGone(const Error& error) {
  return error.err == ENOENT || error.err == ENODEV;
}

}  // namespace

CgroupThaw::CgroupThaw(const CgroupPaths& paths) {
  if (const std::string* freezer = paths.Find("freezer")) path_ = *freezer;
}

Result<bool> CgroupThaw::Work(const WalkDeadline& until) {
  if (path_.empty()) return true;
  if (!walk_) {
    auto top = OpenOwnCgroup(path_);
    if (!top && IsGone(top.error())) return true;
    if (!top) return top.error();
    top_ = std::move(*top);
    walk_.emplace(top_.get(), path_);
  }
  for (;;) {
    Step step = walk_->Next();
    if (step == Step::kDone) break;
    if (step == Step::kFailed) return walk_->error();
    if (step == Step::kEntered) {
      // freezer.state costs the kernel a walk of its own, this file does not. Linux before 3.8 has only the
      // former.
      auto self = ReadFileAt(walk_->at(), "freezer.self_freezing", 64);
      if (!self && IsShortage(self.error())) return self.error();
      if (!self || !self->starts_with("0")) {
        auto thawed = WriteOnceAt(walk_->at(), "freezer.state", "THAWED");
        if (!thawed && !IsGone(thawed.error())) {
          thawed.error().path = walk_->Path() + "/freezer.state";
          return thawed.error();
        }
      }
    }
    if (until.passed()) return false;
  }
  walk_.reset();
  top_.Reset();
  return true;
}

Status CgroupSignal::Begin() {
  found_ = 0;
  signalled_.clear();
  pending_.clear();
  const std::string* path = PidsDirectory(paths_, &v2_);
  if (path == nullptr) return Error::Coded("ERR_UNSUPPORTED", "the container has no cgroup");
  path_ = *path;
  auto top = OpenOwnCgroup(path_);
  if (!top && IsGone(top.error()) && top.error().code == nullptr) return Ok();
  if (!top) return top.error();
  top_ = std::move(*top);
  // Linux 5.14: no fork outruns it, and no depth or count makes it slower. What it leaves the walk finds.
  if (v2_ && signal_ == SIGKILL) (void)WriteOnceAt(top_.get(), "cgroup.kill", "1");
  walk_.emplace(top_.get(), path_);
  return Ok();
}

// A pid that began after the list was read has become another process's.
Status CgroupSignal::SignalOne(pid_t pid, uint64_t listed_at) {
  if (!signalled_.insert(pid).second) return Ok();
  auto stat = ReadProcStat(pid);
  if (!stat && IsShortage(stat.error())) return stat.error();
  if (!stat || !stat->alive() || stat->start > listed_at) return Ok();
  auto status = SignalProcess(pid, stat->start, signal_);
  if (!status && status.error().err == ESRCH) return Ok();
  if (status) ++found_;
  return status;
}

Result<bool> CgroupSignal::SignalSome(const WalkDeadline& until) {
  while (walk_) {
    while (!pending_.empty()) {
      pid_t pid = pending_.back();
      pending_.pop_back();
      auto status = SignalOne(pid, listed_at_);
      if (!status) return status.error();
      if (until.passed()) return false;
    }
    Step step = walk_->Next();
    if (step == Step::kFailed) return walk_->error();
    if (step == Step::kDone) {
      walk_.reset();
      top_.Reset();
    } else if (step == Step::kEntered) {
      listed_at_ = TicksNow();
      auto status = ReadPidsAt(walk_->at(), v2_, &pending_);
      if (!status && !IsGone(status.error())) {
        status.error().path = walk_->Path() + "/cgroup.procs";
        return status.error();
      }
    }
    if (until.passed()) return false;
  }
  return true;
}

Result<bool> CgroupSignal::Work(const WalkDeadline& until) {
  if (!thaw_) {
    if (!walk_) {
      auto begun = Begin();
      if (!begun) return begun.error();
    }
    auto signalled = SignalSome(until);
    if (!signalled || !*signalled) return signalled;
    if (signal_ != SIGKILL || found_ == 0) return true;
    thaw_.emplace(paths_);
  }
  auto thawed = thaw_->Work(until);
  if (!thawed || !*thawed) return thawed;
  thaw_.reset();
  return true;
}

CgroupLife::CgroupLife(const CgroupPaths& paths) {
  if (const std::string* path = PidsDirectory(paths, &v2_)) path_ = *path;
}

Result<std::optional<bool>> CgroupLife::Work(const WalkDeadline& until) {
  using Answer = std::optional<bool>;
  if (path_.empty()) return Answer(false);
  if (!walk_) {
    auto top = OpenOwnCgroup(path_);
    if (!top && IsGone(top.error())) return Answer(false);
    if (!top) return top.error();
    top_ = std::move(*top);
    walk_.emplace(top_.get(), path_);
  }
  std::vector<pid_t> pids;
  for (;;) {
    Step step = walk_->Next();
    if (step == Step::kFailed) return walk_->error();
    if (step == Step::kDone) return Answer(false);
    if (step == Step::kEntered) {
      pids.clear();
      auto status = ReadPidsAt(walk_->at(), v2_, &pids);
      if (!status && !IsGone(status.error())) return status.error();
      for (pid_t pid : pids) {
        auto stat = ReadProcStat(pid);
        if (!stat && IsShortage(stat.error())) return stat.error();
        if (stat && stat->alive()) return Answer(true);
      }
    }
    if (until.passed()) return Answer();
  }
}

}  // namespace lc
