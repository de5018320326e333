// Descriptors that a host waits for through the epoll thread.
#include "events/readiness.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "events/epoll_thread.h"

using lc::UniqueFd;
using lc::events::EpollThread;
using lc::events::Readiness;

namespace {

constexpr auto kOwner = EpollThread::Owner::kReadiness;

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    reader = UniqueFd(ends[0]);
    writer = UniqueFd(ends[1]);
  }
  void Write() const { REQUIRE(write(writer.get(), "x", 1) == 1); }

  UniqueFd reader;
  UniqueFd writer;
};

// A thread, what it serves, and the thread of the host that sleeps until it is notified.
class Host {
 public:
  Host() : thread_([this] { Notify(); }) {
    auto epoll = thread_.Share();
    REQUIRE(epoll);
    readiness_.emplace(std::move(*epoll), EpollThread::Tag(kOwner, 0));
    thread_.SetHandler(kOwner, &*readiness_);
  }

  uint32_t Await(const UniqueFd& fd, bool writing = false) {
    auto number = readiness_->Await(fd.get(), writing);
    REQUIRE(number);
    return *number;
  }

  // All that became ready by the next notification.
  std::vector<uint32_t> Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    notified_.wait(lock, [this] { return notifications_ > 0; });
    notifications_ = 0;
    return readiness_->Take();
  }

  Readiness& readiness() { return *readiness_; }

 private:
  void Notify() {
    std::lock_guard<std::mutex> lock(mutex_);
    ++notifications_;
    notified_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable notified_;
  int notifications_ = 0;
  std::optional<Readiness> readiness_;
  EpollThread thread_;  // ends before what it serves
};

}  // namespace

TEST_CASE("readiness: a pipe is told once for each time that it is awaited") {
  Host host;
  Pipe pipe;
  const uint32_t first = host.Await(pipe.reader);
  pipe.Write();
  CHECK(host.Next() == std::vector<uint32_t>{first});
  // Still readable, and nobody waits: the other pipe alone is told.
  Pipe other;
  const uint32_t second = host.Await(other.reader);
  other.Write();
  CHECK(host.Next() == std::vector<uint32_t>{second});
  const uint32_t again = host.Await(pipe.reader);
  CHECK(again != first);
  CHECK(host.Next() == std::vector<uint32_t>{again});
  CHECK((fcntl(pipe.reader.get(), F_GETFL) & O_NONBLOCK) != 0);
}

TEST_CASE("readiness: the end of either side is told") {
  Host host;
  Pipe read;
  const uint32_t reader = host.Await(read.reader);
  read.writer.Reset();
  CHECK(host.Next() == std::vector<uint32_t>{reader});
  Pipe written;
  REQUIRE(fcntl(written.writer.get(), F_SETFL, O_NONBLOCK) == 0);
  const std::vector<char> page(4096);
  while (write(written.writer.get(), page.data(), page.size()) > 0) continue;
  const uint32_t writer = host.Await(written.writer, true);
  written.reader.Reset();
  CHECK(host.Next() == std::vector<uint32_t>{writer});
}

TEST_CASE(
    "readiness: a number that is forgotten is not told, though its descriptor has a copy that is open") {
  Host host;
  Pipe pipe;
  UniqueFd copy(dup(pipe.reader.get()));
  const uint32_t waiting = host.Await(pipe.reader);
  host.readiness().Forget(waiting);
  pipe.reader.Reset();
  pipe.Write();
  // Served already, and not taken yet.
  Pipe ready;
  const uint32_t served = host.Await(ready.reader);
  CHECK(host.readiness().Serve(served, 0));
  host.readiness().Forget(served);
  host.readiness().Forget(served);
  CHECK_FALSE(host.readiness().Serve(served, 0));
  Pipe other;
  const uint32_t last = host.Await(other.reader);
  other.Write();
  CHECK(host.Next() == std::vector<uint32_t>{last});
}

TEST_CASE("readiness: a descriptor that cannot be awaited is an error, and so is one that is awaited") {
  Host host;
  CHECK(host.readiness().Await(-1, false).error().err == EBADF);
  Pipe pipe;
  host.Await(pipe.reader);
  CHECK(host.readiness().Await(pipe.reader.get(), false).error().err == EEXIST);
}
