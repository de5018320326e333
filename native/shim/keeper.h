// One stream of a process whose output is kept: from a FIFO to a bounded file, and on to those who follow it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/event_loop.h"
#include "shim/kept_bytes.h"

namespace lc::shim {

// What a follower will get.
struct Following {
  uint64_t from = 0;  // the position of its first byte
  bool ended = true;  // there is nothing after it, nor will there be
};

// The process holds both ends of the FIFO, and its path stays while it runs: the end of the shim is no
// SIGPIPE and loses nothing, and the next shim reads on. `base` is the path of both: `<process>/stdout` of
// `stdout.fifo` and `stdout.kept`.
class Keeper {
 public:
  static Result<std::unique_ptr<Keeper>> Create(EventLoop& loop, const std::string& base, size_t capacity);
  // What an earlier shim, or this one, has kept. ENOENT where nothing is.
  static Result<std::unique_ptr<Keeper>> Reopen(EventLoop& loop, const std::string& base);
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  // The process's end, until CloseChildSide().
  int child() const { return child_.get(); }
  void CloseChildSide() { child_.Reset(); }

  // `on_done` is told when done() has come true; the keeper may be destroyed in it by way of
  // EventLoop::Defer.
  void Begin(std::string base, std::function<void()> on_done);

  // `to`, a pipe, gets all from the first byte that is still kept, then what comes, then its end. While it is
  // behind by more than is kept the process has to wait, so that nothing is passed over. It begins with the
  // first byte that is kept of those from position `at` on.
  Following Follow(uint64_t at, UniqueFd to);

  // Takes what lies in the FIFO now, as far as followers let it; how many bytes were written so far.
  uint64_t TakeAll();

  uint64_t end() const { return kept_.end(); }

  // Nobody writes any more and nobody waits for anything.
  bool done() const { return !source_ && followers_.empty(); }

 private:
  struct Follower {
    UniqueFd fd;
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
  void Rest();
  void EndSource();

  EventLoop& loop_;
  KeptBytes kept_;
  std::string base_;
  std::function<void()> on_done_;
  EventLoop::TimerId retry_ = 0;
  UniqueFd child_;
  UniqueFd source_;
  bool watching_ = false;
  std::vector<std::unique_ptr<Follower>> followers_;
};

}  // namespace lc::shim
