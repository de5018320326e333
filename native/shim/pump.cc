// Copies one way between two descriptors without ever waiting: a terminal's two directions, a FIFO's one.
#include "shim/pump.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "core/protection.h"

namespace lc::shim {
namespace {

constexpr size_t kChunk = 16384;
constexpr int64_t kRetryMs = 100;

}  // namespace

UniqueFd ReopenNonBlocking(int fd, int access_mode) {
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  UniqueFd again(open(path.c_str(), access_mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | O_APPEND));
  if (again || IsShortage(Error::Sys("open"))) return again;
  return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

Pump::Pump(EventLoop& loop, UniqueFd from, UniqueFd to, OnEnd on_end)
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
  ssize_t n = -1;
  do {
    n = read(from_.get(), chunk, sizeof(chunk));
    if (n < 0 && errno == EAGAIN) return -1;
  } while (n < 0 && errno == EINTR);
  // EIO is how a terminal's master says that nobody holds the other side any more.
  if (n <= 0) {
    source_ended_ = true;
    return 0;
  }
  taken_ += static_cast<uint64_t>(n);
  buffer_.append(chunk, static_cast<size_t>(n));
  return n;
}

bool Pump::WriteBuffered() {
  size_t at = 0;
  while (at < buffer_.size()) {
    ssize_t n = write(to_.get(), buffer_.data() + at, buffer_.size() - at);
    if (n < 0) {
      if (errno == EINTR) continue;
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
  if (ended_) return;
  do {
    ReadSome();
    if (!WriteBuffered()) return Conclude(End::kSinkGone);
    // A regular file as source is never announced by epoll: it is read on until it ends or the sink is full.
  } while (!from_pollable_ && !source_ended_ && buffer_.empty());
  Settle();
}

void Pump::OnWritable() {
  if (ended_) return;
  if (!WriteBuffered()) return Conclude(End::kSinkGone);
  if (buffer_.empty() && !from_pollable_ && !source_ended_) return OnReadable();
  Settle();
}

// Reads on only when all is written, so at most one chunk waits here and the writer feels the reader's pace.
void Pump::Settle() {
  if (source_ended_ && buffer_.empty()) return Conclude(End::kSourceEnded);
  bool reading = (buffer_.empty() || Without("bounded-output")) && !source_ended_;
  if (from_pollable_ && reading != watching_from_) {
    if (reading) {
      // Without memory for it now, there may be some later.
      if (!WatchSource() && retry_ == 0) {
        retry_ = loop_.After(kRetryMs, [this] {
          retry_ = 0;
          if (!ended_) Settle();
        });
      }
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
  if (ended_) return;
  while (!source_ended_ && ReadSome() > 0) {
  }
  if (!WriteBuffered()) return Conclude(End::kSinkGone);
  Settle();
}

void Pump::Finish() {
  if (ended_) return;
  while (!source_ended_ && ReadSome() > 0) {
  }
  source_ended_ = true;
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
