// Output on its way to a regular file: each byte once, also when whoever copies is killed; and what a version
// before kept.
#include "shim/file_sink.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "core/files.h"

using lc::UniqueFd;
using lc::shim::FileSink;
using lc::shim::KeptBytes;

namespace {

struct Ground {
  Ground() {
    char name[] = "/tmp/lc-native-test-XXXXXX";
    directory = mkdtemp(name);
    kept = directory + "/stdout.kept";
    note = directory + "/stdout.to";
    file = directory + "/log";
    int ends[2];
    REQUIRE(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    from = UniqueFd(ends[0]);
    to = UniqueFd(ends[1]);
  }
  ~Ground() { (void)lc::RemoveTreeAt(AT_FDCWD, directory); }
  UniqueFd Open(int flags) const { return UniqueFd(open(file.c_str(), O_WRONLY | O_CREAT | flags, 0600)); }
  std::string directory, kept, note, file;
  UniqueFd from;
  UniqueFd to;
};

char ByteAt(uint64_t at) {
  return static_cast<char>(at * 131 + (at >> 8U) * 31 + (at >> 16U));
}

// One that is killed in the middle of it.
[[noreturn]] void CopyForEver(const Ground& ground) {
  auto kept = KeptBytes::Open(ground.kept);
  if (!kept) _exit(1);
  auto sink = FileSink::Reopen(ground.note, &*kept);
  if (!sink) _exit(2);
  for (;;) {
    if (!sink->Write(&*kept)) _exit(3);
    (void)kept->TakeFrom(ground.from.get(), kept->capacity());
  }
}

}  // namespace

TEST_CASE("a copy to a file that is killed at any moment has each byte once") {
  for (int flags : {O_APPEND, 0}) {
    Ground ground;
    {
      auto kept = KeptBytes::Create(ground.kept, 4099);
      REQUIRE(kept.ok());
      FileSink sink(ground.Open(flags), flags == 0 ? std::string() : ground.file);
      REQUIRE(sink.Save(ground.note).ok());
    }
    uint64_t written = 0;
    unsigned seed = 11;
    for (int round = 0; round < 200; ++round) {
      pid_t child = fork();
      REQUIRE(child >= 0);
      if (child == 0) CopyForEver(ground);
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
    }
    auto kept = KeptBytes::Open(ground.kept);
    REQUIRE(kept.ok());
    auto sink = FileSink::Reopen(ground.note, &*kept);
    REQUIRE(sink.ok());
    do {
      REQUIRE(sink->Write(&*kept));
    } while (*kept->TakeFrom(ground.from.get(), kept->capacity()) > 0);
    auto text = lc::ReadFile(ground.file);
    REQUIRE(text.ok());
    REQUIRE(text->size() == written);
    bool same = true;
    for (size_t i = 0; i < text->size(); ++i) same = same && (*text)[i] == ByteAt(i);
    CHECK(same);
  }
}

TEST_CASE("a file that cannot be written for good makes nobody wait") {
  Ground ground;
  auto kept = KeptBytes::Create(ground.kept, 100);
  REQUIRE(kept.ok());
  REQUIRE(ground.Open(0));
  FileSink sink(UniqueFd(open(ground.file.c_str(), O_RDONLY)), ground.file);
  REQUIRE(write(ground.to.get(), "lost", 4) == 4);
  REQUIRE(*kept->TakeFrom(ground.from.get(), 100) == 4);
  CHECK(sink.Write(&*kept));
  CHECK(kept->handed() == 4);
}

TEST_CASE("kept output of version 0.1 is read, and has no pipe without a name") {
  Ground ground;
  std::string old("lc-kep1\0", 8);
  for (uint64_t value : {uint64_t{10}, uint64_t{0}, uint64_t{6}, uint64_t{0}, uint64_t{0}})
    old.append(reinterpret_cast<const char*>(&value), sizeof(value));
  old.append(16, 'p');
  old += "abcdef";
  old.append(4, '\0');
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, ground.kept, old).ok());
  auto kept = KeptBytes::Open(ground.kept);
  REQUIRE(kept.ok());
  CHECK(kept->From(0) == "abcdef");
  CHECK(kept->pipe() == 0);
  CHECK(kept->handed() == 6);
}
