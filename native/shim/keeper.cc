// One stream of a process whose output is kept: from a pipe to a bounded file, and on to those who follow it,
// or to the regular file that the output is for.
#include "shim/keeper.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace lc::shim {
namespace {

// Of one stream in one round of the loop, so that no other waits for a program that writes without end.
constexpr int kTakesAtOnce = 8;
constexpr int64_t kRetryMs = 100;

// A FIFO by its name, as version 0.1 made them.
UniqueFd OpenNamed(const std::string& path) {
  UniqueFd fifo(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  // The end of a FIFO is told only to those who have seen a writer come.
  if (fifo) UniqueFd seen(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW));
  return fifo;
}

}  // namespace

Result<std::unique_ptr<Keeper>> Keeper::Create(EventLoop& loop, const std::string& base, size_t capacity,
                                               std::optional<FileSink> sink) {
  auto kept = KeptBytes::Create(base + ".kept", capacity);
  if (!kept) return kept.error();
  if (sink) {
    auto saved = sink->Save(base + ".to");
    if (!saved) return saved.error();
  }
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return Error::Sys("pipe2");
  UniqueFd write_end(ends[1]);
  std::unique_ptr<Keeper> keeper(new Keeper(loop, std::move(*kept)));
  keeper->source_.Reset(ends[0]);
  keeper->sink_ = std::move(sink);
  keeper->child_ = shim::Reopen(ends[1], O_RDWR);
  if (!keeper->child_) return Error::Sys("open", "/proc/self/fd");
  struct stat st {};
  if (fstat(ends[0], &st) != 0) return Error::Sys("fstat");
  keeper->kept_.set_pipe(st.st_ino);
  return keeper;
}

Result<std::unique_ptr<Keeper>> Keeper::Reopen(EventLoop& loop, const std::string& base, PipeUsers* users,
                                               pid_t pid) {
  auto kept = KeptBytes::Open(base + ".kept");
  if (!kept) return kept.error();
  std::unique_ptr<Keeper> keeper(new Keeper(loop, std::move(*kept)));
  auto sink = FileSink::Reopen(base + ".to", &keeper->kept_);
  if (sink) keeper->sink_ = std::move(*sink);
  if (!sink && IsShortage(sink.error())) return sink.error();
  std::string fifo = base + ".fifo";
  if (keeper->kept_.pipe() != 0) {
    keeper->source_ = users->Open(keeper->kept_.pipe(), pid);
    if (!keeper->source_) keeper->kept_.set_pipe(0);  // nobody is left who could write
  } else {
    keeper->source_ = OpenNamed(fifo);
    if (!keeper->source_ && errno != ENOENT) return Error::Sys("open", fifo);
  }
  return keeper;
}

Keeper::~Keeper() {
  if (watching_) loop_.Unwatch(source_.get());
  if (retry_ != 0) loop_.Cancel(retry_);
  for (auto& follower : followers_) loop_.Unwatch(follower->to.get());
}

void Keeper::Begin(std::string base, std::function<void()> on_done, std::function<void()> on_less) {
  base_ = std::move(base);
  on_done_ = std::move(on_done);
  on_less_ = std::move(on_less);
  Pace();
  if (sink_) Rest(0);
}

// The source is watched while there is room for what comes of it. It is taken out rather than muted: EPOLLHUP
// cannot be muted and would spin.
void Keeper::Pace() {
  bool wanted = source_ && Room() > 0;
  if (wanted == watching_) return;
  if (wanted) {
    watching_ = loop_.Watch(source_.get(), EPOLLIN, [this](uint32_t events) { OnSource(events); }).ok();
    if (!watching_) Rest(kRetryMs);
  } else {
    loop_.Unwatch(source_.get());
    watching_ = false;
  }
}

// Without memory or room for it now, there may be some later.
void Keeper::Rest(int64_t milliseconds) {
  if (watching_) loop_.Unwatch(source_.get());
  watching_ = false;
  if (retry_ != 0) return;
  retry_ = loop_.After(milliseconds, [this] {
    retry_ = 0;
    Serve();
    Pace();
  });
}

size_t Keeper::Room() const {
  uint64_t needed = sink_ ? kept_.handed() : kept_.end();
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
    if (!taken) return Rest(kRetryMs);
    more = *taken;
    if (more) Serve();
  }
  if (!more && Room() > 0) {
    LookForLess();
    // Nobody can write any more once the kernel has said so, and nothing is left.
    if ((events & EPOLLHUP) != 0) EndSource();
  }
  Pace();
}

// What lay in the pipe when the process ended, and was not taken then, may have been read by another one.
void Keeper::LookForLess() {
  if (promised_ <= kept_.end()) return;
  promised_ = 0;
  if (on_less_) on_less_();
}

void Keeper::EndSource() {
  if (watching_) loop_.Unwatch(source_.get());
  watching_ = false;
  source_.Reset();
  if (kept_.pipe() == 0) unlink((base_ + ".fifo").c_str());
  kept_.set_pipe(0);
  Serve();
}

void Keeper::HandOver() {
  if (!sink_ || kept_.handed() == kept_.end()) return;
  // A disk that is full makes the program wait, as a pipe does that nobody reads.
  if (!sink_->Write(&kept_)) Rest(kRetryMs);
}

Result<Following> Keeper::Follow(uint64_t at, UniqueFd to) {
  auto endpoint = Endpoint::Shared(to.get(), O_WRONLY);
  if (!endpoint) return endpoint.error();
  auto follower = std::make_unique<Follower>();
  follower->to = std::move(*endpoint);
  follower->at = std::clamp(at, kept_.begin(), kept_.end());
  follower->waits = false;
  Follower* raw = follower.get();
  Following following{follower->at, !source_ && follower->at == kept_.end()};
  // Watched also while it needs nothing: an error is how its reader's end is told.
  auto watched = loop_.Watch(raw->to.get(), 0, [this, raw](uint32_t events) {
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
    ssize_t n = follower->to.Write(piece.data(), piece.size());
    if (n < 0 && errno != EAGAIN) return false;
    if (n > 0) follower->at += static_cast<uint64_t>(n);
    full = n < 0 && errno == EAGAIN;
  }
  if (!full && !source_) return false;
  if (full != follower->waits) loop_.Change(follower->to.get(), full ? static_cast<uint32_t>(EPOLLOUT) : 0U);
  follower->waits = full;
  return true;
}

void Keeper::Serve() {
  HandOver();
  std::erase_if(followers_, [this](const std::unique_ptr<Follower>& follower) {
    if (ServeOne(follower.get())) return false;
    loop_.Unwatch(follower->to.get());
    return true;
  });
  if (!done() || !on_done_) return;
  if (sink_) {
    unlink((base_ + ".kept").c_str());
    unlink((base_ + ".to").c_str());
  }
  std::exchange(on_done_, nullptr)();
}

uint64_t Keeper::TakeAll() {
  if (!source_) return kept_.end();
  int pending = 0;
  if (ioctl(source_.get(), FIONREAD, &pending) != 0) pending = 0;
  uint64_t written = kept_.end() + static_cast<uint64_t>(pending);
  uint64_t limit = std::min(written, kept_.end() + kMostTaken);
  while (kept_.end() < limit) {
    auto more = Take();
    if (!more || !*more) break;
    Serve();
  }
  // Whatever is not there although there was room for it, somebody else has read.
  if (kept_.end() < limit && Room() > 0) written = kept_.end();
  promised_ = written;
  Pace();
  return written;
}

}  // namespace lc::shim
