// core: files read bounded and written whole, strict numbers, who a pid is.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "core/files.h"
#include "core/process_identity.h"

namespace {

struct TempDir {
  TempDir() {
    char name[] = "/tmp/lc-native-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempDir() { (void)lc::RemoveTreeAt(AT_FDCWD, path); }
  std::string path;
};

}  // namespace

TEST_CASE("ParseU64 takes a whole number and nothing else") {
  CHECK(lc::ParseU64("0") == 0U);
  CHECK(lc::ParseU64("42\n") == 42U);
  CHECK(lc::ParseU64("18446744073709551615") == UINT64_MAX);
  for (const char* bad : {"", "\n", "-1", "+1", " 1", "1 ", "1x", "0x1", "18446744073709551616", "1\n\n"}) {
    CAPTURE(bad);
    CHECK_FALSE(lc::ParseU64(bad).has_value());
  }
}

TEST_CASE("a file is written whole or not at all, and read bounded") {
  TempDir dir;
  std::string path = dir.path + "/file";
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, path, "one").ok());
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, path, "two!").ok());
  auto text = lc::ReadFile(path);
  REQUIRE(text.ok());
  CHECK(*text == "two!");
  struct stat st {};
  REQUIRE(stat(path.c_str(), &st) == 0);
  CHECK((st.st_mode & 0777) == 0600);
  CHECK(lc::ReadFile(path, 3).error().err == EFBIG);
  CHECK(lc::ReadFile(dir.path).error().err == EISDIR);
  CHECK(lc::ReadFile(dir.path + "/none").error().err == ENOENT);

  std::string fifo = dir.path + "/fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(lc::ReadFile(fifo).error().err == EINVAL);

  auto lost = lc::WriteWholeAt(AT_FDCWD, dir.path + "/no/file", "x");
  CHECK(lost.error().err == ENOENT);
  CHECK(lost.error().call == "open");
}

TEST_CASE("a failed write leaves no temporary file") {
  TempDir dir;
  std::string target = dir.path + "/target";
  REQUIRE(mkdir(target.c_str(), 0700) == 0);
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, target + "/keep", "x").ok());
  CHECK(lc::WriteWholeAt(AT_FDCWD, target, "y").error().call == "rename");
  CHECK(access((target + ".tmp." + std::to_string(getpid())).c_str(), F_OK) != 0);
}

TEST_CASE("a tree is removed without following links") {
  TempDir outside;
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, outside.path + "/precious", "x").ok());
  TempDir dir;
  std::string tree = dir.path + "/tree";
  REQUIRE(mkdir(tree.c_str(), 0700) == 0);
  REQUIRE(mkdir((tree + "/sub").c_str(), 0700) == 0);
  REQUIRE(lc::WriteWholeAt(AT_FDCWD, tree + "/sub/file", "x").ok());
  REQUIRE(symlink(outside.path.c_str(), (tree + "/link").c_str()) == 0);
  CHECK(lc::RemoveTreeAt(AT_FDCWD, tree).ok());
  CHECK(access(tree.c_str(), F_OK) != 0);
  CHECK(access((outside.path + "/precious").c_str(), F_OK) == 0);
  CHECK(lc::RemoveTreeAt(AT_FDCWD, tree).ok());
}

TEST_CASE("stat lines are read whatever the command is called") {
  auto stat = lc::ParseProcStat("7 (a) b (c) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0\n");
  REQUIRE(stat.ok());
  CHECK(stat->state == 'S');
  CHECK(stat->parent == 3);
  CHECK(stat->start == 4711);
  CHECK(stat->threads == 1);
  CHECK(stat->alive());
  auto of_state = [](const char* state, const char* threads) {
    std::string text = "7 (x) " + std::string(state) + " 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 " + threads +
                       " 0 4711 0 0\n";
    auto parsed = lc::ParseProcStat(text);
    return parsed.ok() && parsed->alive();
  };
  CHECK_FALSE(of_state("Z", "1"));
  CHECK(of_state("Z", "2"));
  CHECK_FALSE(of_state("Z", "0"));
  CHECK_FALSE(of_state("X", "2"));
  CHECK_FALSE(of_state("Z", "many"));
  for (const char* bad :
       {"", "7 (x", "7 (x) ", "7 (x) S 1 2", "7 (x) S y 7 7 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 1 0"}) {
    CAPTURE(bad);
    CHECK_FALSE(lc::ParseProcStat(bad).ok());
  }
}

TEST_CASE("a start time by the clock is the one in /proc, or none") {
  int known = 0;
  for (int i = 0; i < 5000 && known < 50; ++i) {
    const lc::StartClock clock;
    pid_t child = fork();
    if (child == 0) _exit(0);
    auto ticks = clock.Ticks();
    auto stat = lc::ReadProcStat(child);
    waitpid(child, nullptr, 0);
    REQUIRE(stat.ok());
    if (!ticks) continue;
    CHECK(*ticks == stat->start);
    ++known;
  }
  CHECK(known == 50);
  // Longer than a tick: whatever was made meanwhile, nothing is said of when.
  const lc::StartClock clock;
  usleep(20'000);
  CHECK_FALSE(clock.Ticks().has_value());
}

TEST_CASE("a process whose first thread has ended is alive while another runs") {
  int up[2];
  REQUIRE(pipe(up) == 0);
  pid_t child = fork();
  if (child == 0) {
    pthread_t other{};
    pthread_create(
        &other, nullptr,
        [](void*) -> void* {
          for (;;) pause();
        },
        nullptr);
    // The kernel's exit of this thread alone: glibc's would run what belongs to the end of a test program.
    (void)!write(up[1], "x", 1);
    syscall(SYS_exit, 0);
  }
  char byte = 0;
  REQUIRE(read(up[0], &byte, 1) == 1);
  close(up[0]);
  close(up[1]);
  auto stat = lc::ReadProcStat(child);
  while (stat && stat->state != 'Z') stat = lc::ReadProcStat(child);
  REQUIRE(stat.ok());
  CHECK(stat->threads == 2);
  CHECK(stat->alive());
  CHECK(lc::IsAlive(child, stat->start));
  CHECK(lc::SignalProcess(child, stat->start, SIGKILL).ok());
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0);
  CHECK_FALSE(lc::IsAlive(child, stat->start));
  waitpid(child, nullptr, 0);
}

TEST_CASE("a signal reaches that very process and no other") {
  auto handler = signal(SIGTERM, SIG_DFL);  // doctest's, which the child must not have for a moment
  pid_t child = fork();
  if (child > 0) signal(SIGTERM, handler);
  if (child == 0) {
    pause();
    _exit(0);
  }
  auto stat = lc::ReadProcStat(child);
  REQUIRE(stat.ok());
  CHECK(lc::IsAlive(child, stat->start));
  CHECK_FALSE(lc::IsAlive(child, stat->start + 1));
  CHECK(lc::SignalProcess(child, stat->start + 1, SIGKILL).error().err == ESRCH);
  CHECK(lc::SignalProcess(child, stat->start, 0).ok());
  CHECK(lc::SignalProcess(child, stat->start, SIGTERM).ok());
  siginfo_t info{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0);
  CHECK_FALSE(lc::IsAlive(child, stat->start));  // a zombie no longer runs
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(WTERMSIG(status) == SIGTERM);
  CHECK(lc::SignalProcess(child, stat->start, SIGKILL).error().err == ESRCH);
}
