// Copies one way between two descriptors without ever waiting: a terminal's two directions, a FIFO's one.
#include "shim/pump.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/protection.h"

namespace lc::shim {
namespace {

constexpr size_t kChunk = 16384;
constexpr int64_t kRetryMs = 100;
// Of a regular file in one round of the loop, which is never announced by epoll and never makes anyone wait.
constexpr int kChunksAtOnce = 8;

// How much can be read of it now.
uint64_t HeldBy(int fd) {
  struct stat st {};
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
    off_t at = lseek(fd, 0, SEEK_CUR);
    return at >= 0 && st.st_size > at ? static_cast<uint64_t>(st.st_size - at) : 0;
  }
  int pending = 0;
  return ioctl(fd, FIONREAD, &pending) == 0 && pending > 0 ? static_cast<uint64_t>(pending) : 0;
}

}  // namespace

Pump::Pump(EventLoop& loop, Endpoint from, Endpoint to, OnEnd on_end)
    : loop_(loop), from_(std::move(from)), to_(std::move(to)), on_end_(std::move(on_end)) {}

Pump::~Pump() {
  if (watching_from_) loop_.Unwatch(from_.get());
  if (watching_to_) loop_.Unwatch(to_.get());
  if (retry_ != 0) loop_.Cancel(retry_);
}

Status Pump::Begin() {
  // The sink is watched even while there is nothing to write: an error there means that its reader left.
  auto to_status = loop_.Watch(to_.get(), 0, [this](uint32_t events) {
    if ((events & EPOLLOUT) != 0) {
      OnWritable();
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      Conclude(End::kSinkGone);
    }
  });
  // A regular file, which is always ready. Anything else would be read and written without a pause.
  if (!to_status && to_status.error().err != EPERM) return to_status;
  to_pollable_ = watching_to_ = to_status.ok();
  if (!from_) return Ok();
  auto from_status = WatchSource();
  if (!from_status && from_status.error().err != EPERM) return from_status;
  from_pollable_ = from_status.ok();
  if (!from_pollable_) OnReadable();
  return Ok();
}

Status Pump::WatchSource() {
  auto status = loop_.Watch(from_.get(), EPOLLIN, [this](uint32_t) { OnReadable(); });
  watching_from_ = status.ok();
  return status;
}

ssize_t Pump::ReadSome() {
  char chunk[kChunk];
  size_t wanted = left_ ? static_cast<size_t>(std::min<uint64_t>(*left_, kChunk)) : kChunk;
  ssize_t n = from_.Read(chunk, wanted);
  if (n < 0 && errno == EAGAIN && !left_) return -1;
  // EIO is how a terminal's master says that nobody holds the other side any more. With `left_`, somebody
  // else has read what was there.
  if (n <= 0) {
    source_ended_ = true;
    return 0;
  }
  taken_ += static_cast<uint64_t>(n);
  buffer_.append(chunk, static_cast<size_t>(n));
  last_ = buffer_.back();
  if (left_) {
    *left_ -= static_cast<uint64_t>(n);
    source_ended_ = *left_ == 0;
  }
  return n;
}

bool Pump::WriteBuffered() {
  size_t at = 0;
  while (at < buffer_.size()) {
    ssize_t n = to_.Write(buffer_.data() + at, buffer_.size() - at);
    if (n < 0) {
      if (errno == EAGAIN) break;
      buffer_.clear();
      return false;
    }
    at += static_cast<size_t>(n);
  }
  buffer_.erase(0, at);
  if (buffer_.empty()) buffer_.shrink_to_fit();
  return true;
}

void Pump::OnReadable() {
  if (ended_ || !from_) return;
  for (int chunk = 0; chunk < kChunksAtOnce; ++chunk) {
    ReadSome();
    if (!WriteBuffered()) return Conclude(End::kSinkGone);
    if (from_pollable_ || source_ended_ || !buffer_.empty()) return Settle();
  }
  Settle();
  Later(1, [this] { OnReadable(); });
}

void Pump::OnWritable() {
  if (ended_) return;
  if (!WriteBuffered()) return Conclude(End::kSinkGone);
  if (buffer_.empty() && !from_pollable_ && !source_ended_) return OnReadable();
  Settle();
}

void Pump::Later(int64_t milliseconds, std::function<void()> work) {
  if (ended_ || retry_ != 0) return;
  retry_ = loop_.After(milliseconds, [this, work = std::move(work)] {
    retry_ = 0;
    if (!ended_) work();
  });
}

// Reads on only when all is written, so at most one chunk waits here and the writer feels the reader's pace.
void Pump::Settle() {
  if (source_ended_ && buffer_.empty()) return Conclude(End::kSourceEnded);
  bool reading = (buffer_.empty() || Without("bounded-output")) && !source_ended_;
  if (from_ && from_pollable_ && reading != watching_from_) {
    if (reading) {
      // Without memory for it now, there may be some later.
      if (!WatchSource()) Later(kRetryMs, [this] { Settle(); });
    } else {
      // Taken out rather than muted: EPOLLHUP cannot be muted and would spin.
      loop_.Unwatch(from_.get());
      watching_from_ = false;
    }
  }
  if (to_pollable_ && watching_to_)
    loop_.Change(to_.get(), buffer_.empty() ? 0U : static_cast<uint32_t>(EPOLLOUT));
}

void Pump::TakeAll() {
  if (ended_ || !from_) return;
  uint64_t before = taken_;
  while (!source_ended_ && taken_ - before < kMostTaken && ReadSome() > 0) {
  }
  if (!WriteBuffered()) return Conclude(End::kSinkGone);
  Settle();
}

void Pump::Finish() {
  if (ended_ || !from_ || left_) return;
  left_ = HeldBy(from_.get());
  if (*left_ == 0) source_ended_ = true;
  Settle();
}

void Pump::Add(std::string_view bytes) {
  if (ended_ || bytes.empty()) return;
  buffer_ += bytes;
  last_ = bytes.back();
  if (!WriteBuffered()) return Conclude(End::kSinkGone);
  Settle();
}

void Pump::Conclude(End end) {
  if (ended_) return;
  ended_ = true;
  if (watching_from_) loop_.Unwatch(from_.get());
  if (watching_to_) loop_.Unwatch(to_.get());
  watching_from_ = watching_to_ = false;
  if (on_end_) on_end_(end);
}

}  // namespace lc::shim
