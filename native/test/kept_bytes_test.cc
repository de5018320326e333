// What is kept of a stream: the last bytes, each once, also when whoever keeps them is killed.
#include "shim/kept_bytes.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "core/files.h"

using lc::UniqueFd;
using lc::shim::KeptBytes;

namespace {

struct Ground {
  Ground() {
    char name[] = "/tmp/lc-native-test-XXXXXX";
    directory = mkdtemp(name);
    path = directory + "/stdout.kept";
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    from = UniqueFd(ends[0]);
    to = UniqueFd(ends[1]);
  }
  ~Ground() { (void)lc::RemoveTreeAt(AT_FDCWD, directory); }
  void Write(const std::string& text) const {
    REQUIRE(write(to.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  std::string directory;
  std::string path;
  UniqueFd from;
  UniqueFd to;
};

void TakeAll(KeptBytes* kept, int pipe) {
  for (;;) {
    auto taken = kept->TakeFrom(pipe, kept->capacity());
    REQUIRE(taken.ok());
    if (*taken == 0) return;
  }
}

std::string All(const KeptBytes& kept) {
  std::string out;
  for (uint64_t at = kept.begin(); at < kept.end();) {
    std::string_view piece = kept.From(at);
    out += piece;
    at += piece.size();
  }
  return out;
}

// Any byte of the stream is told by its place.
char ByteAt(uint64_t at) {
  return static_cast<char>(at * 131 + (at >> 8U) * 31 + (at >> 16U));
}

}  // namespace

TEST_CASE("the last bytes are kept, and found again") {
  Ground ground;
  {
    auto kept = KeptBytes::Create(ground.path, 10);
    REQUIRE(kept.ok());
    CHECK(All(*kept).empty());
    ground.Write("abcdef");
    TakeAll(&*kept, ground.from.get());
    CHECK(All(*kept) == "abcdef");
    ground.Write("ghijklmnopqrstuvwxyz");
    TakeAll(&*kept, ground.from.get());
    CHECK(All(*kept) == "qrstuvwxyz");
    CHECK(kept->begin() == 16);
    CHECK_FALSE(KeptBytes::Create(ground.path, 10).ok());
  }
  auto again = KeptBytes::Open(ground.path);
  REQUIRE(again.ok());
  CHECK(All(*again) == "qrstuvwxyz");
  CHECK(again->end() == 26);
}

TEST_CASE("no more is taken than there is room for") {
  Ground ground;
  auto kept = KeptBytes::Create(ground.path, 10);
  REQUIRE(kept.ok());
  ground.Write("abcdef");
  CHECK(*kept->TakeFrom(ground.from.get(), 4) == 4);
  CHECK(All(*kept) == "abcd");
  CHECK(*kept->TakeFrom(ground.from.get(), 0) == 0);
}

TEST_CASE("a file that is not what it should be is refused") {
  Ground ground;
  CHECK(KeptBytes::Open(ground.path).error().err == ENOENT);
  for (const std::string& text : {std::string(), std::string("short"), std::string(500, 'x')}) {
    REQUIRE(lc::WriteWholeAt(AT_FDCWD, ground.path, text).ok());
    auto kept = KeptBytes::Open(ground.path);
    REQUIRE_FALSE(kept.ok());
    CHECK(std::string(kept.error().code) == "ERR_STATE_CORRUPT");
  }
}

TEST_CASE("killed at any moment it has each byte once") {
  Ground ground;
  constexpr size_t kCapacity = 4099;
  REQUIRE(KeptBytes::Create(ground.path, kCapacity).ok());
  uint64_t written = 0;
  unsigned seed = 7;
  for (int round = 0; round < 300; ++round) {
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto kept = KeptBytes::Open(ground.path);
      if (!kept) _exit(1);
      for (;;) (void)kept->TakeFrom(ground.from.get(), static_cast<size_t>(rand_r(&seed)) % 700 + 1);
    }
    for (int burst = 0; burst < 40; ++burst) {
      std::string bytes(static_cast<size_t>(rand_r(&seed)) % 300 + 1, '\0');
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = ByteAt(written + i);
      ssize_t n = write(ground.to.get(), bytes.data(), bytes.size());
      if (n > 0) written += static_cast<uint64_t>(n);
    }
    usleep(static_cast<useconds_t>(rand_r(&seed)) % 300);
    kill(child, SIGKILL);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    seed += 1;
  }
  auto kept = KeptBytes::Open(ground.path);
  REQUIRE(kept.ok());
  TakeAll(&*kept, ground.from.get());
  REQUIRE(kept->end() == written);
  std::string all = All(*kept);
  REQUIRE(all.size() == kCapacity);
  bool same = true;
  for (size_t i = 0; i < all.size(); ++i) same = same && all[i] == ByteAt(kept->begin() + i);
  CHECK(same);
}
