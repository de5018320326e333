// All that runs in a process's own cgroup: killed, signalled, waited for, and the cgroup removed after the
// last one.
#include "shim/process_tree.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include <algorithm>
#include <csignal>

#include "cgroup/kill.h"
#include "cgroup/memory_events.h"
#include "cgroup/pids.h"
#include "core/files.h"

namespace lc::shim {
namespace {

// How long a kill may hold this thread at a time, and how soon it goes on.
constexpr int kSliceMs = 5;
constexpr int kBetweenSlicesMs = 1;
// v1 tells nobody when a cgroup becomes empty.
constexpr int kLongestLookMs = 250;
// Of v2, whose event may have been missed.
constexpr int kSlowLookMs = 1000;

Error TimedOut() {
  return Error::Coded("ERR_KILL_TIMEOUT", "not all of it has ended after SIGKILL");
}

}  // namespace

ProcessTree::~ProcessTree() {
  StopWatching();
  for (EventLoop::TimerId timer : {kill_timer_, look_timer_}) {
    if (timer != 0) loop_.Cancel(timer);
  }
  for (const auto& killer : killers_) {
    if (killer->timer != 0) loop_.Cancel(killer->timer);
  }
}

void ProcessTree::Kill(int64_t timeout_ms, Done done) {
  if (removed_) return done(Ok());
  auto killer = std::make_shared<Killer>();
  killer->done = std::move(done);
  killer->timer = loop_.After(timeout_ms, [this, self = weak_from_this(), killer] {
    if (self.expired()) return;
    killer->timer = 0;
    std::erase(killers_, killer);
    killer->done(TimedOut());
  });
  killers_.push_back(std::move(killer));
  if (!kill_) kill_ = std::make_unique<TreeKill>(cgroup_->paths());
  if (kill_timer_ == 0) KillSome();
}

void ProcessTree::KillSome() {
  kill_timer_ = 0;
  auto self = shared_from_this();
  auto ended = kill_->Work(WalkDeadline(kSliceMs));
  if (ended && *ended) {
    AnswerKillers();
    if (may_go_) Look();
    return;
  }
  if (killers_.empty()) {
    kill_.reset();
    return;
  }
  std::vector<pid_t> pids;
  if (auto left = ReadPids(cgroup_->paths())) pids = std::move(*left);
  for (pid_t pid : pids) release_frozen_(pid);
  kill_timer_ = loop_.After(kBetweenSlicesMs, [this] { KillSome(); });
}

void ProcessTree::AnswerKillers() {
  kill_.reset();
  if (kill_timer_ != 0) loop_.Cancel(kill_timer_);
  kill_timer_ = 0;
  auto killers = std::move(killers_);
  killers_.clear();
  for (const auto& killer : killers) {
    loop_.Cancel(killer->timer);
    killer->done(Ok());
  }
}

Status ProcessTree::Signal(int signal) {
  CgroupSignal round(cgroup_->paths(), signal);
  auto done = round.Work(WalkDeadline());
  if (!done) return done.error();
  return *done ? Ok() : Status(WalkDeadline::TooMany("kill", cgroup_->path()));
}

bool ProcessTree::IsEmpty() const {
  if (removed_) return true;
  if (!cgroup_->paths().unified.empty()) {
    auto populated = IsPopulated(cgroup_->paths().unified);
    if (populated && *populated) return false;
    if (cgroup_->paths().is_v2_only()) return true;
  }
  auto alive = CgroupLife(cgroup_->paths()).Work(WalkDeadline(kSliceMs));
  return alive ? *alive && !**alive : true;
}

void ProcessTree::OnRemoved(Done done) {
  if (removed_) return done(Ok());
  waiters_.push_back(std::move(done));
}

void ProcessTree::LetGo() {
  may_go_ = true;
  Look();
}

uint64_t ProcessTree::OomKills() {
  const std::string path = removed_ ? std::string() : MemoryEventsFile(cgroup_->paths());
  if (path.empty()) return oom_kills_;
  auto text = ReadFile(path, 4096);
  if (text) oom_kills_ = std::max(oom_kills_, ParseMemoryEvents(*text).oom_kill.value_or(0));
  return oom_kills_;
}

void ProcessTree::Look() {
  if (look_timer_ != 0) loop_.Cancel(look_timer_);
  look_timer_ = 0;
  if (removed_) return;
  if (IsEmpty()) {
    (void)OomKills();
    if (cgroup_->Remove()) return Conclude();
  }
  if (!events_ && !cgroup_->paths().unified.empty()) WatchEvents();
  look_timer_ = loop_.After(look_ms_, [this] {
    look_timer_ = 0;
    Look();
  });
  look_ms_ = std::min(look_ms_ * 2, events_ ? kSlowLookMs : kLongestLookMs);
}

void ProcessTree::WatchEvents() {
  const std::string path = cgroup_->paths().unified + "/cgroup.events";
  events_.Reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!events_) return;
  // The kernel tells of what has changed since the last read.
  char text[256];
  (void)!pread(events_.get(), text, sizeof text, 0);
  auto watched = loop_.Watch(events_.get(), EPOLLPRI, [this](uint32_t) {
    char again[256];
    (void)!pread(events_.get(), again, sizeof again, 0);
    Look();
  });
  if (!watched) events_.Reset();
}

void ProcessTree::StopWatching() {
  if (events_) loop_.Unwatch(events_.get());
  events_.Reset();
}

void ProcessTree::Conclude() {
  auto self = shared_from_this();
  removed_ = true;
  StopWatching();
  AnswerKillers();
  auto waiters = std::move(waiters_);
  waiters_.clear();
  for (const Done& done : waiters) done(Ok());
}

}  // namespace lc::shim
