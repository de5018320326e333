// Copies one way between two descriptors without ever waiting: a terminal's two directions, a FIFO's one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/result.h"
#include "core/unique_fd.h"
#include "shim/event_loop.h"

namespace lc::shim {

class Pump {
 public:
  enum class End { kSourceEnded, kSinkGone };
  using OnEnd = std::function<void(End)>;

  // Owns both descriptors. `on_end` is told once, when no more will be copied; the pump may be destroyed in
  // it by way of EventLoop::Defer.
  Pump(EventLoop& loop, UniqueFd from, UniqueFd to, OnEnd on_end);
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // An error: nothing is copied, and nothing will be told.
  Status Begin();

  // Takes what the source holds now, whether or not the sink has room: bounded by the kernel's own buffer.
  void TakeAll();
  // What the source holds now is still copied, then the pump ends as if the source had.
  void Finish();

  uint64_t taken() const { return taken_; }  // bytes read so far
  int source() const { return from_.get(); }
  int sink() const { return to_.get(); }
  bool ended() const { return ended_; }

 private:
  void OnReadable();
  void OnWritable();
  ssize_t ReadSome();
  bool WriteBuffered();
  void Settle();
  Status WatchSource();
  void Conclude(End end);

  EventLoop& loop_;
  UniqueFd from_;
  UniqueFd to_;
  OnEnd on_end_;
  std::string buffer_;
  uint64_t taken_ = 0;
  bool from_pollable_ = true;
  bool to_pollable_ = true;
  bool watching_from_ = false;
  bool watching_to_ = false;
  bool source_ended_ = false;
  bool ended_ = false;
  EventLoop::TimerId retry_ = 0;
};

// A second open file of what `fd` refers to, non-blocking without making the original so, which others hold
// too; sockets cannot be opened again and are duplicated: they are read and written with MSG_DONTWAIT. Empty,
// with errno, where there is no descriptor for it.
UniqueFd ReopenNonBlocking(int fd, int access_mode);

}  // namespace lc::shim
