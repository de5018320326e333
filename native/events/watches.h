// All that one Node environment watches of cgroups, on the epoll thread that it has anyway.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "events/epoll_thread.h"
#include "events/inotify.h"
#include "events/source.h"

namespace lc::events {

// Thread-safe. Watchers of one cgroup share what the kernel was asked for; each has counts of its own, which
// are numbers and no queue: a watcher that nobody reads costs no more than one that is read.
class Watches final : public EpollHandler {
 public:
  struct Fact {
    uint32_t watch = 0;
    uint64_t count = 0;  // since the fact before
    int64_t at_ms = 0;   // of the wall clock, when the last of them was noticed
    bool removed = false;
  };

  // `notify` is called on any thread but the epoll thread, and must not call back in here.
  Watches(UniqueFd epoll, std::function<void()> notify)
      : epoll_(std::move(epoll)), notify_(std::move(notify)) {}

  // A new watcher of the counter. It says nothing before it is armed.
  Result<uint32_t> Add(std::unique_ptr<Source> source, Source::Counter counter);
  void Arm(uint32_t watch);
  // An eventfd of this watcher's own, readable while Flush would give more than 0; it stays this object's.
  Result<int> Descriptor(uint32_t watch);
  // How many since the last flush: the kernel is asked once more.
  uint64_t Flush(uint32_t watch);
  void Remove(uint32_t watch);
  std::vector<Fact> Take();
  // Who was notified is gone: nobody is from here on. Work in flight may outlive a Node environment.
  void Mute();
  size_t source_count();

  bool Serve(uint32_t number, uint32_t events) override;

 private:
  struct Watcher {
    uint32_t source;
    Source::Counter counter;
    bool armed = false;
    bool dirty = false;  // in dirty_
    bool told_removed = false;
    uint64_t told = 0;
    uint64_t flushed = 0;
    UniqueFd descriptor;
  };
  struct Shared {
    std::unique_ptr<Source> source;
    std::vector<uint32_t> watchers;
    bool listening = true;
    int64_t at_ms = 0;
    int64_t again_ns = 0;  // 0: not due by itself
  };

  // Holds the lock; says at its end that facts wait, if they came in its time.
  class Turn {
   public:
    explicit Turn(Watches* watches)
        : watches_(watches), lock_(watches->mutex_), was_empty_(watches->dirty_.empty()) {}
    ~Turn() {
      if (was_empty_ && !watches_->dirty_.empty() && !watches_->muted_) watches_->notify_();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Watches* const watches_;
    const std::lock_guard<std::mutex> lock_;
    const bool was_empty_;
  };

  // Numbers in the epoll set; those of sources follow.
  enum : uint32_t { kTimer, kInotify, kFirstSource };

  Status AddToEpoll(int fd, uint32_t interest, uint32_t number) const;
  Status BeginInotify();
  Status BeginTimer();
  Result<uint32_t> Enter(std::unique_ptr<Source> source);
  void Leave(uint32_t id);
  void StopListening(uint32_t id, Shared* shared);
  void Look(uint32_t id, Source::Why why, uint32_t events);
  void Rewatch(uint32_t id, Shared* shared);
  void LookAgain();
  void ReadInotify();
  void SetTimer();
  void MarkDirty(uint32_t watch, Watcher* watcher);

  const UniqueFd epoll_;
  const std::function<void()> notify_;
  std::mutex mutex_;
  Inotify inotify_;
  UniqueFd timer_;
  std::unordered_map<uint32_t, Watcher> watchers_;
  std::unordered_map<uint32_t, Shared> sources_;
  std::unordered_map<uint64_t, uint32_t> by_identity_;
  std::unordered_map<int, uint32_t> by_inotify_;         // own watch -> source
  std::unordered_map<std::string, uint32_t> by_parent_;  // "watch/name" -> source
  std::unordered_map<int, size_t> parents_;              // shared watch -> how many sources use it
  std::unordered_multimap<int, uint32_t> by_control_;    // shared watch -> sources
  std::vector<uint32_t> again_;                          // sources with again_ns set
  std::vector<uint32_t> dirty_;
  int64_t timer_ns_ = 0;  // when it goes off; 0: not set
  bool muted_ = false;
  uint32_t next_watch_ = 1;
  uint32_t next_source_ = kFirstSource;
};

}  // namespace lc::events
