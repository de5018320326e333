// One stream of a process whose output is kept: from a pipe to a bounded file, and on to those who follow it,
// or to the regular file that the output is for.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/endpoint.h"
#include "shim/event_loop.h"
#include "shim/file_sink.h"
#include "shim/kept_bytes.h"
#include "shim/pipe_users.h"

namespace lc::shim {

// What a follower will get.
struct Following {
  uint64_t from = 0;  // the position of its first byte
  bool ended = true;  // there is nothing after it, nor will there be
};

// The pipe has no name that anyone could open, and belongs to whoever the container says; nothing on disk is
// any but root's. The process holds both ends: the end of the shim is no SIGPIPE and loses nothing, and the
// next shim finds the pipe by those who have it open. `base` is the path of `<process>/stdout.kept`, without
// its ending.
class Keeper {
 public:
  // With `sink` what comes goes on to it, and nothing is left here in the end.
  static Result<std::unique_ptr<Keeper>> Create(EventLoop& loop, const std::string& base, size_t capacity,
                                                std::optional<FileSink> sink);
  // What an earlier shim, or this one, has kept. ENOENT where nothing is. `pid` is the process's.
  static Result<std::unique_ptr<Keeper>> Reopen(EventLoop& loop, const std::string& base, PipeUsers* users,
                                                pid_t pid);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // The process's end, until CloseChildSide().
  int child() const { return child_.get(); }
  void CloseChildSide() { child_.Reset(); }

  // `on_done` is told when done() has come true; the keeper may be destroyed in it by way of
  // EventLoop::Defer. `on_less` is told when end() will not come up to what TakeAll() said.
  void Begin(std::string base, std::function<void()> on_done, std::function<void()> on_less);

  // `to`, a pipe, gets all from the first byte that is still kept, then what comes, then its end. While it is
  // behind by more than is kept the process has to wait, so that nothing is passed over. It begins with the
  // first byte that is kept of those from position `at` on.
  Result<Following> Follow(uint64_t at, UniqueFd to);

  // Takes what lies in the pipe now, as far as followers let it, but no more than kMostTaken; how many bytes
  // were written so far. Some of them may still be read by somebody else.
  uint64_t TakeAll();
  // What a container without privileges can have a pipe hold at most (fs.pipe-max-size).
  static constexpr uint64_t kMostTaken = 1U << 20U;

  uint64_t end() const { return kept_.end(); }
  const FileSink* sink() const { return sink_ ? &*sink_ : nullptr; }

  // Nobody writes any more and nobody waits for anything.
  bool done() const { return !source_ && followers_.empty() && (!sink_ || kept_.handed() == kept_.end()); }

 private:
  struct Follower {
    Endpoint to;
    uint64_t at;
    bool waits;
  };

  Keeper(EventLoop& loop, KeptBytes kept) : loop_(loop), kept_(std::move(kept)) {}
  void OnSource(uint32_t events);
  size_t Room() const;
  Result<bool> Take();
  void Serve();
  bool ServeOne(Follower* follower);
  void Pace();
  void Rest(int64_t milliseconds);
  void EndSource();
  void HandOver();
  void LookForLess();

  EventLoop& loop_;
  KeptBytes kept_;
  std::string base_;
  std::function<void()> on_done_;
  std::function<void()> on_less_;
  std::optional<FileSink> sink_;
  uint64_t promised_ = 0;  // by TakeAll(), where that is more than was taken
  EventLoop::TimerId retry_ = 0;
  UniqueFd child_;
  UniqueFd source_;
  bool watching_ = false;
  std::vector<std::unique_ptr<Follower>> followers_;
};

}  // namespace lc::shim
