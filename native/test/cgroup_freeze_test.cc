// Pause and resume: texts, real cgroups, ancestors, processes that keep forking, one that cannot be frozen.
#include <doctest/doctest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include <string>

#include "cgroup/freeze.h"
#include "cgroup_trees.h"

using lc::FreezerState;

namespace {

char StateOf(pid_t pid) {
  std::string stat = lc_test::ReadOrEmpty("/proc/" + std::to_string(pid) + "/stat");
  size_t at = stat.rfind(") ");
  return at == std::string::npos ? '?' : stat[at + 2];
}

long Milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t CpuTicks(pid_t pid) {
  std::string stat = lc_test::ReadOrEmpty("/proc/" + std::to_string(pid) + "/stat");
  size_t at = stat.rfind(") ");
  unsigned long user = 0;
  unsigned long kernel = 0;
  if (at == std::string::npos ||
      sscanf(stat.c_str() + at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) !=
          2) {
    return 0;
  }
  return user + kernel;
}

// Each kind of freezer that the machine has: v1's and v2's.
std::vector<lc::CgroupPaths> Freezers(const lc::CgroupPaths& all) {
  std::vector<lc::CgroupPaths> out;
  if (const std::string* path = all.Find("freezer")) {
    out.emplace_back();
    out.back().v1.push_back({"freezer", *path});
  }
  if (!all.unified.empty() && access((all.unified + "/cgroup.freeze").c_str(), F_OK) == 0) {
    out.emplace_back();
    out.back().unified = all.unified;
  }
  return out;
}

}  // namespace

TEST_CASE("freezer: what the files say") {
  CHECK(lc::ParseFreezerState("THAWED\n") == FreezerState::kThawed);
  CHECK(lc::ParseFreezerState("FREEZING\n") == FreezerState::kFreezing);
  CHECK(lc::ParseFreezerState("FROZEN") == FreezerState::kFrozen);
  CHECK(!lc::ParseFreezerState("frozen\n"));
  CHECK(!lc::ParseFreezerState(""));
  CHECK(lc::ParseFlag("1\n") == true);
  CHECK(!lc::ParseFlag("2\n"));
  auto v2 = lc::ParseFreezerV2("1\n", "populated 1\nfrozen 0\n");
  REQUIRE(v2);
  CHECK(v2->state == FreezerState::kFreezing);
  v2 = lc::ParseFreezerV2("0\n", "populated 1\nfrozen 1\n");
  CHECK(v2->by_ancestor());
  CHECK(!lc::ParseFreezerV2("", "frozen 1\n"));
  CHECK(!lc::ParseFreezerV2("1\n", "populated 1\n"));
  CHECK(!lc::ParseFreezerV2("1\n", "frozen 7\n"));
}

TEST_CASE("freezer: none, and garbage") {
  lc::CgroupPaths paths;
  CHECK(std::string(lc::ReadFreezer(paths).error().code) == "ERR_UNSUPPORTED");
  CHECK(std::string(lc::Freeze(paths).error().code) == "ERR_UNSUPPORTED");
  lc_test::Tree tree;
  paths.v1.push_back({"freezer", tree.path});
  CHECK(std::string(lc::Freeze(paths).error().code) == "ERR_UNSUPPORTED");
  tree.File("freezer.state", "garbage that is longer");
  CHECK(std::string(lc::ReadFreezer(paths).error().code) == "ERR_STATE_CORRUPT");
  CHECK(std::string(lc::Freeze(paths, 50).error().code) == "ERR_STATE_CORRUPT");
  paths.v1[0].path += "/none";
  CHECK(std::string(lc::Thaw(paths).error().code) == "ERR_CONTAINER_EXITED");
  lc::CgroupPaths v2;
  v2.unified = tree.path;
  CHECK(std::string(lc::Freeze(v2).error().code) == "ERR_UNSUPPORTED");
  v2.unified += "/none";
  CHECK(std::string(lc::ReadFreezer(v2).error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("freezer: v2 files that never say frozen") {
  lc_test::Tree tree;
  tree.File("cgroup.freeze", "0");
  tree.File("cgroup.events", "populated 1\nfrozen 0\n");
  lc::CgroupPaths v2;
  v2.unified = tree.path;
  auto frozen = lc::Freeze(v2, 30);
  REQUIRE_FALSE(frozen.ok());
  CHECK(frozen.error().err == ETIMEDOUT);
  CHECK(tree.Text("cgroup.freeze") == "0");
}

TEST_CASE("freezer: a process stands still, and runs again") {
  lc_test::RealCgroup cgroup("freeze");
  if (!cgroup.usable()) return;
  pid_t pid = cgroup.Spawn([] { lc_test::Spin(); });
  REQUIRE(pid > 0);
  for (const lc::CgroupPaths& paths : Freezers(cgroup.paths)) {
    CHECK(lc::ReadFreezer(paths)->state == FreezerState::kThawed);
    auto frozen = lc::Freeze(paths);
    REQUIRE_MESSAGE(frozen.ok(), frozen.error().text);
    CHECK(frozen->state == FreezerState::kFrozen);
    CHECK(frozen->self);
    CHECK(lc::ReadFreezer(paths)->state == FreezerState::kFrozen);
    uint64_t before = CpuTicks(pid);
    usleep(60000);
    CHECK(CpuTicks(pid) == before);
    CHECK(lc::Freeze(paths).ok());  // again is no error
    REQUIRE(lc::Thaw(paths).ok());
    CHECK(lc::ReadFreezer(paths)->state == FreezerState::kThawed);
    CHECK(lc::Thaw(paths).ok());
    CHECK(lc_test::Eventually([&] { return CpuTicks(pid) > before; }));
  }
}

TEST_CASE("freezer: an ancestor freezes") {
  lc_test::RealCgroup cgroup("ancestor");
  if (!cgroup.usable()) return;
  for (const std::string& directory : cgroup.Directories()) mkdir((directory + "/inner").c_str(), 0755);
  for (const lc::CgroupPaths& outer : Freezers(cgroup.paths)) {
    lc::CgroupPaths inner = Below(outer, "inner");
    REQUIRE(lc::Freeze(outer).ok());
    auto state = lc::ReadFreezer(inner);
    REQUIRE(state.ok());
    CHECK(state->state == FreezerState::kFrozen);
    CHECK_FALSE(state->self);
    CHECK(state->by_ancestor());
    // Thawing the inner one is no error; it still stands.
    REQUIRE(lc::Thaw(inner).ok());
    CHECK(lc::ReadFreezer(inner)->by_ancestor());
    // Frozen itself too, it stays when the ancestor thaws.
    REQUIRE(lc::Freeze(inner).ok());
    REQUIRE(lc::Thaw(outer).ok());
    state = lc::ReadFreezer(inner);
    CHECK(state->state == FreezerState::kFrozen);
    CHECK(state->self);
    REQUIRE(lc::Thaw(inner).ok());
    CHECK(lc::ReadFreezer(inner)->state == FreezerState::kThawed);
  }
}

TEST_CASE("freezer: processes that come and go") {
  lc_test::RealCgroup cgroup("forks");
  if (!cgroup.usable()) return;
  pid_t pid = cgroup.Spawn([] {
    for (;;) {
      pid_t child = fork();
      if (child == 0) _exit(0);
      if (child > 0) waitpid(child, nullptr, 0);
    }
  });
  REQUIRE(pid > 0);
  for (const lc::CgroupPaths& paths : Freezers(cgroup.paths)) {
    for (int i = 0; i < 20; ++i) {
      auto frozen = lc::Freeze(paths);
      REQUIRE_MESSAGE(frozen.ok(), frozen.error().text);
      CHECK(lc::ReadFreezer(paths)->state == FreezerState::kFrozen);
      REQUIRE(lc::Thaw(paths).ok());
    }
  }
}

TEST_CASE("freezer: a process that cannot be frozen is left running when time is up") {
  lc_test::RealCgroup cgroup("stuck");
  if (!cgroup.usable()) return;
  // One process writes to a file from a page that only a userfaultfd handler could bring, and so waits with
  // the file's lock in its hand. Another that writes to that file waits for the lock, where no signal and no
  // freezer reaches it.
  lc_test::Tree tree;
  tree.File("locked", "x");
  std::string file = tree.path + "/locked";
  int fault = static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC));
  if (lc_test::CannotRun(fault < 0, "no userfaultfd can be made here")) return;
  close(fault);
  pid_t holder = fork();
  if (holder == 0) {
    int handler = static_cast<int>(syscall(SYS_userfaultfd, 0));
    uffdio_api api{UFFD_API, 0, 0};
    ioctl(handler, UFFDIO_API, &api);
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uffdio_register range{{reinterpret_cast<uintptr_t>(page), 4096}, UFFDIO_REGISTER_MODE_MISSING, 0};
    ioctl(handler, UFFDIO_REGISTER, &range);
    int fd = open(file.c_str(), O_WRONLY);
    if (write(fd, page, 1) < 0) _exit(1);
    _exit(0);
  }
  const std::string where = "/proc/" + std::to_string(holder) + "/wchan";
  REQUIRE(lc_test::Eventually([&] { return lc_test::ReadOrEmpty(where) == "handle_userfault"; }));
  pid_t pid = cgroup.Spawn([&] {
    int fd = open(file.c_str(), O_WRONLY);
    if (write(fd, "x", 1) < 0) _exit(1);
    for (;;) pause();
  });
  bool stuck = lc_test::Eventually([&] { return StateOf(pid) == 'D'; });
  CHECK(pid > 0);
  for (const lc::CgroupPaths& paths : Freezers(cgroup.paths)) {
    if (!stuck) break;
    long begin = Milliseconds();
    auto frozen = lc::Freeze(paths, 300);
    long took = Milliseconds() - begin;
    CHECK_FALSE(frozen.ok());
    CHECK(frozen.error().err == ETIMEDOUT);
    CHECK(took >= 299);
    CHECK(took < 10'000);  // which it takes when no time is given
    CHECK(lc::ReadFreezer(paths)->state == FreezerState::kThawed);
  }
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  (void)lc_test::CannotRun(!stuck, "this kernel let nothing get stuck");
}
