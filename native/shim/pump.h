// Copies one way between two descriptors without ever waiting: a terminal's two directions, a FIFO's one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "shim/endpoint.h"
#include "shim/event_loop.h"

namespace lc::shim {

class Pump {
 public:
  enum class End { kSourceEnded, kSinkGone };
  using OnEnd = std::function<void(End)>;

  // Without a source only what is given to Add() is written. `on_end` is told once, when no more will be
  // copied; the pump may be destroyed in it by way of EventLoop::Defer.
  Pump(EventLoop& loop, Endpoint from, Endpoint to, OnEnd on_end);
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // An error: nothing is copied, and nothing will be told.
  Status Begin();

  // Takes what the source holds now, whether or not the sink has room, but no more than kMostTaken: someone
  // else may write without end.
  void TakeAll();
  // What the source holds now is still copied, at the sink's pace; then the pump ends as if the source had.
  void Finish();
  // Written after all that was read so far.
  void Add(std::string_view bytes);

  // More than the kernel ever holds of a terminal's output (8 KiB and a line) or of a pipe's, as it is made.
  static constexpr size_t kMostTaken = 65536;

  uint64_t taken() const { return taken_; }  // bytes read so far
  bool has_source() const { return static_cast<bool>(from_); }
  char last() const { return last_; }  // the last byte for the sink; a newline before the first one
  bool ended() const { return ended_; }

 private:
  void OnReadable();
  void OnWritable();
  ssize_t ReadSome();
  bool WriteBuffered();
  void Settle();
  void Later(int64_t milliseconds, std::function<void()> work);
  Status WatchSource();
  void Conclude(End end);

  EventLoop& loop_;
  Endpoint from_;
  Endpoint to_;
  OnEnd on_end_;
  std::string buffer_;
  uint64_t taken_ = 0;
  std::optional<uint64_t> left_;  // to be read still, once Finish() was called
  char last_ = '\n';
  bool from_pollable_ = true;
  bool to_pollable_ = true;
  bool watching_from_ = false;
  bool watching_to_ = false;
  bool source_ended_ = false;
  bool ended_ = false;
  EventLoop::TimerId retry_ = 0;
};

}  // namespace lc::shim
