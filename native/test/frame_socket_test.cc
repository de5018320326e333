// Frames over a socket: whole and in pieces, with descriptors, and from a peer that means no good.
#include "core/frame_socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

using lc::Frame;
using lc::FrameSocket;
using lc::UniqueFd;

namespace {

struct Pair {
  Pair() {
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    near = UniqueFd(ends[0]);
    far = UniqueFd(ends[1]);
  }
  UniqueFd near;
  UniqueFd far;
};

std::string Header(uint32_t length, uint32_t fds) {
  std::string out(8, '\0');
  memcpy(out.data(), &length, 4);
  memcpy(out.data() + 4, &fds, 4);
  return out;
}

// With so many copies of a descriptor, whatever the bytes say.
void SendRaw(int socket, std::string bytes, size_t count) {
  UniqueFd null_device(open("/dev/null", O_RDWR | O_CLOEXEC));
  std::vector<int> fds(count, null_device.get());
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 128)] = {};
  iovec data{bytes.data(), bytes.size()};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * count);
  memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * count);
  REQUIRE(sendmsg(socket, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
}

}  // namespace

TEST_CASE("frames arrive as they were sent, descriptors with them") {
  Pair pair;
  FrameSocket a(std::move(pair.near));
  FrameSocket b(std::move(pair.far));
  int pipe_ends[2];
  REQUIRE(pipe2(pipe_ends, O_CLOEXEC) == 0);
  REQUIRE(a.Send("first").ok());
  REQUIRE(a.Send("second", {pipe_ends[0], pipe_ends[1]}).ok());
  REQUIRE(a.Send("").ok());
  std::vector<Frame> frames;
  CHECK(b.Read(&frames) == FrameSocket::State::kOpen);
  // Descriptors end a read of the kernel's; the rest comes with the next.
  while (frames.size() < 3 && b.Read(&frames) == FrameSocket::State::kOpen) {
  }
  REQUIRE(frames.size() == 3);
  CHECK(frames[0].payload == "first");
  CHECK(frames[1].payload == "second");
  REQUIRE(frames[1].fds.size() == 2);
  CHECK((fcntl(frames[1].fds[0].get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(write(frames[1].fds[1].get(), "x", 1) == 1);
  char got = 0;
  CHECK(read(pipe_ends[0], &got, 1) == 1);
  CHECK(frames[2].payload.empty());
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_CASE("a frame larger than the socket's buffer goes out in pieces") {
  Pair pair;
  FrameSocket a(std::move(pair.near));
  FrameSocket b(std::move(pair.far));
  std::string big(5U << 20U, 'x');
  int null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
  REQUIRE(a.Send(big, {null_device}).ok());
  REQUIRE(a.Send("after", {null_device}).ok());
  close(null_device);  // duplicated where it has to wait
  CHECK(a.wants_flush());
  std::vector<Frame> frames;
  while (frames.size() < 2) {
    REQUIRE(b.Read(&frames) == FrameSocket::State::kOpen);
    REQUIRE(a.Flush().ok());
  }
  CHECK(frames[0].payload == big);
  CHECK(frames[0].fds.size() == 1);
  CHECK(frames[1].payload == "after");
  CHECK(frames[1].fds.size() == 1);
  CHECK_FALSE(a.wants_flush());
}

TEST_CASE("a peer that does not read is let go") {
  Pair pair;
  FrameSocket a(std::move(pair.near));
  std::string chunk(8U << 20U, 'x');
  bool refused = false;
  for (int i = 0; i < 8 && !refused; ++i) refused = !a.Send(chunk).ok();
  CHECK(refused);
}

TEST_CASE("a peer that reads, but is always behind, is not let go") {
  Pair pair;
  FrameSocket a(std::move(pair.near));
  FrameSocket b(std::move(pair.far));
  const std::string chunk(64U << 10U, 'x');
  size_t sent = 0;
  size_t got = 0;
  // 64 MiB in all, twice of what may wait at a time; one MiB does.
  for (int i = 0; i < 1024; ++i) {
    REQUIRE(a.Queue(chunk).ok());
    ++sent;
    REQUIRE(a.Flush().ok());
    while (sent - got > 16) {
      std::vector<Frame> frames;
      REQUIRE(b.Read(&frames) == FrameSocket::State::kOpen);
      got += frames.size();
      REQUIRE(a.Flush().ok());
    }
    if (i > 16) CHECK(a.wants_flush());
  }
}

TEST_CASE("descriptors that find no number are lost to their frame alone") {
  Pair pair;
  FrameSocket a(std::move(pair.near));
  FrameSocket b(std::move(pair.far));
  int ends[2];
  REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
  int null_device = open("/dev/null", O_RDWR | O_CLOEXEC);
  const std::string large(100'000, 'x');
  REQUIRE(a.Send("one", {null_device}).ok());
  REQUIRE(a.Send(large, {null_device, null_device, null_device}).ok());
  REQUIRE(a.Send("three", {ends[1]}).ok());
  std::vector<Frame> frames;
  REQUIRE(b.Read(&frames) == FrameSocket::State::kOpen);
  while (frames.empty()) REQUIRE(b.Read(&frames) == FrameSocket::State::kOpen);
  CHECK(frames[0].fds.size() == 1);
  frames.clear();
  // One number is left, for three.
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  UniqueFd lowest(fcntl(null_device, F_DUPFD_CLOEXEC, 0));
  rlimit little = before;
  little.rlim_cur = static_cast<rlim_t>(lowest.get()) + 1;
  lowest.Reset();
  REQUIRE(setrlimit(RLIMIT_NOFILE, &little) == 0);
  while (frames.size() < 2 && b.Read(&frames) == FrameSocket::State::kOpen) {
    if (!a.Flush()) break;
  }
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(frames.size() == 2);
  CHECK(frames[0].payload == large);
  CHECK(frames[0].cut_off);
  CHECK(frames[0].fds.empty());
  CHECK_FALSE(frames[1].cut_off);
  REQUIRE(frames[1].fds.size() == 1);
  CHECK(write(frames[1].fds[0].get(), "x", 1) == 1);
  char got = 0;
  CHECK(read(ends[0], &got, 1) == 1);
  for (int fd : {ends[0], ends[1], null_device}) close(fd);
}

TEST_CASE("wrong lengths and descriptor counts are garbled, not believed") {
  for (const std::string& bytes : {Header(FrameSocket::kMaxPayload + 1, 0), Header(0xffffffff, 0xffffffff),
                                   Header(1, FrameSocket::kMaxFds + 1), Header(1, 2) + "x"}) {
    Pair pair;
    FrameSocket b(std::move(pair.far));
    REQUIRE(write(pair.near.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    std::vector<Frame> frames;
    CHECK(b.Read(&frames) == FrameSocket::State::kGarbled);
    CHECK(frames.empty());
  }
}

TEST_CASE("descriptors that no frame claims are garbled, not kept for a later one") {
  for (const std::string& bytes :
       {Header(2, 0) + "{}", Header(2, 0), Header(2, 1) + "{}", std::string("abc")}) {
    Pair pair;
    FrameSocket b(std::move(pair.far));
    SendRaw(pair.near.get(), bytes, bytes.size() < 8 ? FrameSocket::kMaxFds + 1 : 2);
    std::vector<Frame> frames;
    CHECK(b.Read(&frames) == FrameSocket::State::kGarbled);
  }
}

TEST_CASE("a peer that writes without end does not hold its reader") {
  Pair pair;
  FrameSocket b(std::move(pair.far));
  int size = 4 << 20;
  setsockopt(pair.near.get(), SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
  std::string noise;
  for (int i = 0; i < 1000; ++i) noise += Header(4000, 0) + std::string(4000, 'x');
  auto written = write(pair.near.get(), noise.data(), noise.size());
  std::vector<Frame> frames;
  CHECK(b.Read(&frames) == FrameSocket::State::kOpen);
  CHECK(frames.size() * 4008 <= (1U << 20U));
  // Without the privilege for such a buffer there is no more to read than that.
  if (written > (2 << 20)) CHECK(frames.size() < static_cast<size_t>(written) / 4008);
}

TEST_CASE("the end of the peer is told after its last frame") {
  Pair pair;
  {
    FrameSocket a(std::move(pair.near));
    REQUIRE(a.Send("last words").ok());
  }
  FrameSocket b(std::move(pair.far));
  std::vector<Frame> frames;
  auto state = b.Read(&frames);
  if (state == FrameSocket::State::kOpen) state = b.Read(&frames);
  CHECK(state == FrameSocket::State::kClosed);
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].payload == "last words");
}

TEST_CASE("half a frame waits for its other half") {
  Pair pair;
  FrameSocket b(std::move(pair.far));
  std::string bytes = Header(4, 0) + "ab";
  REQUIRE(write(pair.near.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  std::vector<Frame> frames;
  CHECK(b.Read(&frames) == FrameSocket::State::kOpen);
  CHECK(frames.empty());
  REQUIRE(write(pair.near.get(), "cd", 2) == 2);
  CHECK(b.Read(&frames) == FrameSocket::State::kOpen);
  REQUIRE(frames.size() == 1);
  CHECK(frames[0].payload == "abcd");
}
