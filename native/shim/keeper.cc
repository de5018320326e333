// One stream of a process whose output is kept: from a FIFO to a bounded file, and on to those who follow it.
#include "shim/keeper.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace lc::shim {
namespace {

// Of one stream in one round of the loop, so that no other waits for a program that writes without end.
constexpr int kTakesAtOnce = 8;
constexpr int64_t kRetryMs = 100;

UniqueFd OpenFifo(const std::string& path, int mode) {
  return UniqueFd(open(path.c_str(), mode | O_CLOEXEC | O_NOFOLLOW));
}

}  // namespace

Result<std::unique_ptr<Keeper>> Keeper::Create(EventLoop& loop, const std::string& base, size_t capacity) {
  auto kept = KeptBytes::Create(base + ".kept", capacity);
  if (!kept) return kept.error();
  std::string fifo = base + ".fifo";
  if (mkfifo(fifo.c_str(), 0600) != 0) return Error::Sys("mkfifo", fifo);
  std::unique_ptr<Keeper> keeper(new Keeper(loop, std::move(*kept)));
  keeper->source_ = OpenFifo(fifo, O_RDONLY | O_NONBLOCK);
  if (!keeper->source_) return Error::Sys("open", fifo);
  keeper->child_ = OpenFifo(fifo, O_RDWR);
  if (!keeper->child_) return Error::Sys("open", fifo);
  return keeper;
}

Result<std::unique_ptr<Keeper>> Keeper::Reopen(EventLoop& loop, const std::string& base) {
  auto kept = KeptBytes::Open(base + ".kept");
  if (!kept) return kept.error();
  std::unique_ptr<Keeper> keeper(new Keeper(loop, std::move(*kept)));
  std::string fifo = base + ".fifo";
  keeper->source_ = OpenFifo(fifo, O_RDONLY | O_NONBLOCK);
  if (keeper->source_) {
    // The end of a FIFO is told only to those who have seen a writer come.
    UniqueFd seen = OpenFifo(fifo, O_WRONLY | O_NONBLOCK);
  } else if (errno != ENOENT) {
    return Error::Sys("open", fifo);
  }
  return keeper;
}

Keeper::~Keeper() {
  if (watching_) loop_.Unwatch(source_.get());
  if (retry_ != 0) loop_.Cancel(retry_);
  for (auto& follower : followers_) loop_.Unwatch(follower->fd.get());
}

void Keeper::Begin(std::string base, std::function<void()> on_done) {
  base_ = std::move(base);
  on_done_ = std::move(on_done);
  Pace();
}

// The source is watched while there is room for what comes of it. It is taken out rather than muted: EPOLLHUP
// cannot be muted and would spin.
void Keeper::Pace() {
  bool wanted = source_ && Room() > 0;
  if (wanted == watching_) return;
  if (wanted) {
    watching_ = loop_.Watch(source_.get(), EPOLLIN, [this](uint32_t events) { OnSource(events); }).ok();
    if (!watching_) Rest();
  } else {
    loop_.Unwatch(source_.get());
    watching_ = false;
  }
}

// Without memory for it now, there may be some later.
void Keeper::Rest() {
  if (watching_) loop_.Unwatch(source_.get());
  watching_ = false;
  if (retry_ != 0) return;
  retry_ = loop_.After(kRetryMs, [this] {
    retry_ = 0;
    Pace();
  });
}

size_t Keeper::Room() const {
  uint64_t needed = kept_.end();
  for (const auto& follower : followers_) needed = std::min(needed, follower->at);
  return kept_.capacity() - static_cast<size_t>(kept_.end() - needed);
}

// True where there may be more.
Result<bool> Keeper::Take() {
  auto taken = kept_.TakeFrom(source_.get(), Room());
  if (!taken) return taken.error();
  return *taken > 0;
}

void Keeper::OnSource(uint32_t events) {
  bool more = true;
  for (int i = 0; i < kTakesAtOnce && more; ++i) {
    auto taken = Take();
    // What could not be read is there still, also of a source at its end.
    if (!taken) return Rest();
    more = *taken;
    if (more) Serve();
  }
  // Nobody can write any more once the kernel has said so, and nothing is left.
  if (!more && Room() > 0 && (events & EPOLLHUP) != 0) EndSource();
  Pace();
}

void Keeper::EndSource() {
  if (watching_) loop_.Unwatch(source_.get());
  watching_ = false;
  source_.Reset();
  unlink((base_ + ".fifo").c_str());
  Serve();
}

Following Keeper::Follow(uint64_t at, UniqueFd to) {
  fcntl(to.get(), F_SETFL, O_NONBLOCK);
  auto follower = std::make_unique<Follower>();
  follower->fd = std::move(to);
  follower->at = std::clamp(at, kept_.begin(), kept_.end());
  follower->waits = false;
  Follower* raw = follower.get();
  Following following{follower->at, !source_ && follower->at == kept_.end()};
  // Watched also while it needs nothing: an error is how its reader's end is told.
  auto watched = loop_.Watch(raw->fd.get(), 0, [this, raw](uint32_t events) {
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) raw->at = UINT64_MAX;
    Serve();
    Pace();
  });
  if (!watched) return following;  // closed: it asks again
  followers_.push_back(std::move(follower));
  Serve();
  Pace();
  return following;
}

// False: it has everything, or is gone.
bool Keeper::ServeOne(Follower* follower) {
  if (follower->at == UINT64_MAX) return false;
  bool full = false;
  while (follower->at < kept_.end() && !full) {
    std::string_view piece = kept_.From(follower->at);
    ssize_t n = write(follower->fd.get(), piece.data(), piece.size());
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (n > 0) follower->at += static_cast<uint64_t>(n);
    full = n < 0 && errno == EAGAIN;
  }
  if (!full && !source_) return false;
  if (full != follower->waits) loop_.Change(follower->fd.get(), full ? static_cast<uint32_t>(EPOLLOUT) : 0U);
  follower->waits = full;
  return true;
}

void Keeper::Serve() {
  std::erase_if(followers_, [this](const std::unique_ptr<Follower>& follower) {
    if (ServeOne(follower.get())) return false;
    loop_.Unwatch(follower->fd.get());
    return true;
  });
  if (done() && on_done_) on_done_();
}

uint64_t Keeper::TakeAll() {
  if (!source_) return kept_.end();
  int pending = 0;
  if (ioctl(source_.get(), FIONREAD, &pending) != 0) pending = 0;
  uint64_t written = kept_.end() + static_cast<uint64_t>(pending);
  // No further: someone else may write without end.
  for (;;) {
    if (kept_.end() >= written) break;
    auto more = Take();
    if (!more || !*more) break;
    Serve();
  }
  Pace();
  return written;
}

}  // namespace lc::shim
