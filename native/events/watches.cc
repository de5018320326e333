// All that one Node environment watches of cgroups, on the epoll thread that it has anyway.
#include "events/watches.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <ctime>
#include <utility>

namespace lc::events {
namespace {

int64_t NowNs(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::string EntryKey(int watch, std::string_view name) {
  return std::to_string(watch) + "/" + std::string(name);
}

// A host may have made its descriptor blocking: whoever hands it to a child process does.
void Clear(int eventfd) {
  uint64_t ignored = 0;
  pollfd ready{eventfd, POLLIN, 0};
  if (poll(&ready, 1, 0) == 1) (void)!read(eventfd, &ignored, sizeof(ignored));
}

}  // namespace

Status Watches::AddToEpoll(int fd, uint32_t interest, uint32_t number) const {
  epoll_event event{};
  event.events = interest;
  event.data.u64 = EpollThread::Tag(EpollThread::Owner::kWatches, number);
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return Ok();
  Error error = Error::Sys("epoll_ctl");
  if (error.err == ENOSPC)
    error.text = "too many descriptors are watched by this user: raise the sysctl fs.epoll.max_user_watches";
  return error;
}

Result<uint32_t> Watches::Add(std::unique_ptr<Source> source, Source::Counter counter) {
  Turn turn(this);
  auto known = source->identity() == 0 ? by_identity_.end() : by_identity_.find(source->identity());
  uint32_t id = 0;
  if (known != by_identity_.end()) {
    id = known->second;
  } else {
    auto entered = Enter(std::move(source));
    if (!entered) return entered.error();
    id = *entered;
  }
  uint32_t watch = next_watch_++;
  Shared& shared = sources_.at(id);
  shared.watchers.push_back(watch);
  // What happened just now, and was not looked at yet, is no news to the one who comes now.
  if (known != by_identity_.end()) Look(id, Source::Why::kAgain, 0);
  Watcher watcher;
  watcher.source = id;
  watcher.counter = counter;
  watcher.told = watcher.flushed = shared.source->total(counter);
  watchers_.emplace(watch, std::move(watcher));
  return watch;
}

Result<uint32_t> Watches::Enter(std::unique_ptr<Source> source) {
  auto timer = BeginTimer();
  if (!timer) return timer.error();
  if (source->fd() < 0) {
    auto inotify = BeginInotify();
    if (!inotify) return inotify.error();
  }
  uint32_t id = next_source_++;
  Shared shared;
  shared.source = std::move(source);
  Source& entered = *shared.source;
  // Known before the kernel may speak of it.
  auto begun = entered.Begin(&inotify_);
  auto watches = entered.inotify_watches();
  for (int own : watches.own) {
    if (own >= 0) by_inotify_[own] = id;
  }
  if (watches.parent >= 0) {
    ++parents_[watches.parent];
    std::string key = EntryKey(watches.parent, watches.name);
    // One of that name whose removal was not read yet: it will not be told of again.
    auto before = by_parent_.find(key);
    if (before != by_parent_.end()) Look(uint32_t{before->second}, Source::Why::kTold, 0);
    by_parent_[key] = id;
  }
  if (watches.control >= 0) by_control_.emplace(watches.control, id);
  if (begun && entered.fd() >= 0) begun = AddToEpoll(entered.fd(), entered.interest(), id);
  if (!begun) {
    StopListening(id, &shared);
    return begun.error();
  }
  if (entered.identity() != 0) by_identity_[entered.identity()] = id;
  sources_.emplace(id, std::move(shared));
  return id;
}

Status Watches::BeginTimer() {
  if (timer_) return Ok();
  UniqueFd timer(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) return Error::Sys("timerfd_create");
  auto added = AddToEpoll(timer.get(), EPOLLIN, kTimer);
  if (!added) return added;
  timer_ = std::move(timer);
  return Ok();
}

Status Watches::BeginInotify() {
  if (inotify_) return Ok();
  auto opened = inotify_.Open();
  if (!opened) return opened;
  return AddToEpoll(inotify_.fd(), EPOLLIN, kInotify);
}

void Watches::Arm(uint32_t watch) {
  Turn turn(this);
  auto it = watchers_.find(watch);
  if (it == watchers_.end()) return;
  it->second.armed = true;
  const Source& source = *sources_.at(it->second.source).source;
  if (source.removed() || source.total(it->second.counter) > it->second.told) MarkDirty(watch, &it->second);
}

Result<int> Watches::Descriptor(uint32_t watch) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = watchers_.find(watch);
  if (it == watchers_.end()) return Error::Of(EBADF, "eventfd");
  Watcher& watcher = it->second;
  if (!watcher.descriptor) {
    const Source& source = *sources_.at(watcher.source).source;
    bool ready = source.removed() || source.total(watcher.counter) > watcher.flushed;
    UniqueFd fd(eventfd(ready ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) return Error::Sys("eventfd");
    watcher.descriptor = std::move(fd);
  }
  return watcher.descriptor.get();
}

uint64_t Watches::Flush(uint32_t watch) {
  Turn turn(this);
  auto it = watchers_.find(watch);
  if (it == watchers_.end()) return 0;
  Watcher& watcher = it->second;
  Look(watcher.source, Source::Why::kAgain, 0);
  const Source& source = *sources_.at(watcher.source).source;
  uint64_t count = source.total(watcher.counter) - watcher.flushed;
  watcher.flushed += count;
  // That the cgroup is gone stays to be seen.
  if (watcher.descriptor && !source.removed()) Clear(watcher.descriptor.get());
  return count;
}

void Watches::Remove(uint32_t watch) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto it = watchers_.find(watch);
  if (it == watchers_.end()) return;
  uint32_t id = it->second.source;
  watchers_.erase(it);
  auto shared = sources_.find(id);
  std::erase(shared->second.watchers, watch);
  if (shared->second.watchers.empty()) Leave(id);
}

void Watches::Leave(uint32_t id) {
  auto it = sources_.find(id);
  StopListening(id, &it->second);
  std::erase(again_, id);
  sources_.erase(it);
}

// The kernel has nothing more to say of it, or nobody wants to hear it.
void Watches::StopListening(uint32_t id, Shared* shared) {
  // Once: a later cgroup may have its name by now.
  if (!std::exchange(shared->listening, false)) return;
  const Source& source = *shared->source;
  // Explicitly: a closed descriptor stays in the set while a copy of it is open somewhere.
  if (source.fd() >= 0) epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, source.fd(), nullptr);
  auto watches = source.inotify_watches();
  for (int own : watches.own) {
    if (own >= 0 && by_inotify_.erase(own) > 0) inotify_.Remove(own);
  }
  if (watches.parent >= 0 && by_parent_.erase(EntryKey(watches.parent, watches.name)) > 0 &&
      --parents_[watches.parent] == 0) {
    parents_.erase(watches.parent);
    inotify_.Remove(watches.parent);
  }
  if (watches.control >= 0) {
    auto [first, last] = by_control_.equal_range(watches.control);
    for (auto it = first; it != last; ++it) {
      if (it->second != id) continue;
      by_control_.erase(it);
      break;
    }
    if (!by_control_.contains(watches.control)) inotify_.Remove(watches.control);
  }
  if (source.identity() != 0) by_identity_.erase(source.identity());
}

// A file came in the place of one that was watched.
void Watches::Rewatch(uint32_t id, Shared* shared) {
  Source& source = *shared->source;
  for (int own : source.inotify_watches().own) {
    if (own >= 0) by_inotify_.erase(own);
  }
  const int before = source.inotify_watches().own[0];
  if (source.Rewatch(&inotify_) && before != source.inotify_watches().own[0]) inotify_.Remove(before);
  for (int own : source.inotify_watches().own) {
    if (own >= 0) by_inotify_[own] = id;
  }
}

std::vector<Watches::Fact> Watches::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Fact> out;
  out.reserve(dirty_.size());
  for (uint32_t watch : dirty_) {
    auto it = watchers_.find(watch);
    if (it == watchers_.end()) continue;
    Watcher& watcher = it->second;
    const Shared& shared = sources_.at(watcher.source);
    uint64_t total = shared.source->total(watcher.counter);
    out.push_back({watch, total - watcher.told, shared.at_ms, shared.source->removed()});
    watcher.told = total;
    watcher.dirty = false;
  }
  dirty_.clear();
  return out;
}

void Watches::Mute() {
  std::lock_guard<std::mutex> lock(mutex_);
  muted_ = true;
}

size_t Watches::source_count() {
  std::lock_guard<std::mutex> lock(mutex_);
  return sources_.size();
}

void Watches::MarkDirty(uint32_t watch, Watcher* watcher) {
  if (watcher->dirty || !watcher->armed) return;
  watcher->dirty = true;
  dirty_.push_back(watch);
}

void Watches::Look(uint32_t id, Source::Why why, uint32_t events) {
  auto it = sources_.find(id);
  if (it == sources_.end() || it->second.source->removed()) return;
  Shared& shared = it->second;
  Source& source = *shared.source;
  const uint64_t before[] = {source.total(Source::kOomKills), source.total(Source::kHighBreaches),
                             source.total(Source::kStalls)};
  source.Look(why, events);
  if (source.wants_watch()) {
    Rewatch(id, &shared);
    source.Look(Source::Why::kAgain, 0);  // what came before the watch was there
  }
  bool was_due = shared.again_ns != 0;
  shared.again_ns =
      source.again_usec() == 0 ? 0 : NowNs(CLOCK_MONOTONIC) + int64_t{source.again_usec()} * 1000;
  if (shared.again_ns != 0 && !was_due) again_.push_back(id);
  if (shared.again_ns == 0 && was_due) std::erase(again_, id);
  SetTimer();
  bool noted = false;
  for (uint32_t watch : shared.watchers) {
    auto found = watchers_.find(watch);
    if (found == watchers_.end()) continue;
    Watcher& watcher = found->second;
    if (source.total(watcher.counter) == before[watcher.counter] && !source.removed()) continue;
    if (!noted) shared.at_ms = NowNs(CLOCK_REALTIME) / 1'000'000;
    noted = true;
    MarkDirty(watch, &watcher);
    uint64_t one = 1;
    if (watcher.descriptor) (void)!write(watcher.descriptor.get(), &one, sizeof(one));
  }
  if (source.removed()) StopListening(id, &shared);
}

void Watches::SetTimer() {
  int64_t first = 0;
  for (uint32_t id : again_) {
    int64_t due = sources_.at(id).again_ns;
    if (first == 0 || due < first) first = due;
  }
  if (first == timer_ns_) return;
  timer_ns_ = first;
  itimerspec when{};
  when.it_value = {first / 1'000'000'000, first % 1'000'000'000};
  timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void Watches::LookAgain() {
  uint64_t ignored = 0;
  (void)!read(timer_.get(), &ignored, sizeof(ignored));
  timer_ns_ = 0;
  int64_t now = NowNs(CLOCK_MONOTONIC);
  std::vector<uint32_t> due;
  for (uint32_t id : again_) {
    if (sources_.at(id).again_ns <= now) due.push_back(id);
  }
  for (uint32_t id : due) Look(id, Source::Why::kAgain, 0);
  SetTimer();
}

void Watches::ReadInotify() {
  std::vector<uint32_t> changed;
  bool whole = inotify_.Drain([this, &changed](int watch, uint32_t, std::string_view name) {
    auto [first, last] = by_control_.equal_range(watch);
    for (auto it = first; it != last; ++it) changed.push_back(it->second);
    auto own = by_inotify_.find(watch);
    if (own != by_inotify_.end()) changed.push_back(own->second);
    if (name.empty() || !parents_.contains(watch)) return;
    auto entry = by_parent_.find(EntryKey(watch, name));
    if (entry != by_parent_.end()) changed.push_back(entry->second);
  });
  if (!whole) {
    changed.clear();
    for (const auto& [name, id] : by_parent_) changed.push_back(id);
  }
  std::sort(changed.begin(), changed.end());
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  for (uint32_t id : changed) Look(id, Source::Why::kTold, 0);
}

// True when facts wait that nobody has been told of.
bool Watches::Serve(uint32_t number, uint32_t events) {
  std::lock_guard<std::mutex> lock(mutex_);
  bool was_empty = dirty_.empty();
  if (number == kTimer) {
    LookAgain();
  } else if (number == kInotify) {
    ReadInotify();
  } else {
    Look(number, Source::Why::kTold, events);
  }
  return was_empty && !dirty_.empty();
}

}  // namespace lc::events
