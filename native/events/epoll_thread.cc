// The one epoll thread of a Node environment: it waits for all descriptors that its handlers have in the set.
#include "events/epoll_thread.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <csignal>

namespace lc::events {
namespace {

constexpr uint64_t kWakeTag = EpollThread::Tag(EpollThread::Owner::kThread, 0);

}  // namespace

EpollThread::~EpollThread() {
  if (!has_thread_) return;
  uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));
  pthread_join(thread_, nullptr);
}

Status EpollThread::Begin() {
  if (has_thread_) return Ok();
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return Error::Sys("epoll_create1");
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return Error::Sys("eventfd");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kWakeTag;
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) != 0) return Error::Sys("epoll_ctl");
  epoll_ = std::move(epoll);
  wake_ = std::move(wake);
  auto work = [](void* self) -> void* {
    static_cast<EpollThread*>(self)->Loop();
    return nullptr;
  };
  // The host's signals are the host's: none is delivered to this thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // Not std::thread, which ends the program if no thread can be made.
  int error = pthread_create(&thread_, nullptr, work, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) return Error::Of(error, "pthread_create");
  has_thread_ = true;
  return Ok();
}

Result<UniqueFd> EpollThread::Share() {
  std::lock_guard<std::mutex> lock(mutex_);
  auto begun = Begin();
  if (!begun) return begun.error();
  UniqueFd copy(fcntl(epoll_.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy) return Error::Sys("fcntl");
  return copy;
}

void EpollThread::Loop() {
  pthread_setname_np(pthread_self(), "libcontainer");
  epoll_event events[64];
  for (;;) {
    int n = epoll_wait(epoll_.get(), events, 64, -1);
    bool tell = false;
    for (int i = 0; i < n; ++i) {
      const uint64_t tag = events[i].data.u64;
      if (tag == kWakeTag) return;
      EpollHandler* handler = handlers_[static_cast<size_t>(tag >> 32U)].load();
      if (handler != nullptr && handler->Serve(static_cast<uint32_t>(tag), events[i].events)) tell = true;
    }
    if (tell) notify_();
  }
}

}  // namespace lc::events
