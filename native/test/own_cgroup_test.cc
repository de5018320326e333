// A process's own cgroup: where it is made, what it counts, and that a kill of it leaves nobody.
#include "cgroup/own_cgroup.h"

#include <sys/prctl.h>

#include <csignal>

#include "cgroup/pids.h"
#include "cgroup/remove.h"
#include "cgroup/tree_kill.h"
#include "cgroup_trees.h"
#include "container/recorded_cgroups.h"

namespace {

using lc_test::CannotRun;
using lc_test::Eventually;
using lc_test::Put;
using lc_test::ReadOrEmpty;
using lc_test::RealCgroup;
using lc_test::Tree;

// Joins the cgroups, then doubles itself without end in sessions of their own, whose parents exit at once.
[[noreturn]] void Bomb() {
  for (;;) {
    for (int i = 0; i < 2; ++i) {
      if (fork() == 0) {
        setsid();
        if (fork() != 0) _exit(0);
      }
    }
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
  }
}

// Ends all of it; how many attempts that took, or -1 if something is left after half a minute.
int KillTree(const lc::CgroupPaths& paths) {
  lc::TreeKill kill(paths);
  int attempts = 0;
  bool gone = Eventually([&] {
    ++attempts;
    auto done = kill.Work(lc::WalkDeadline(1000));
    REQUIRE(done.ok());
    return *done;
  });
  return gone ? attempts : -1;
}

void Limit(const RealCgroup& cgroup, const char* count) {
  const std::string* pids = cgroup.paths.Find("pids");
  const std::string directory = pids != nullptr ? *pids : cgroup.paths.unified;
  if (access((directory + "/pids.max").c_str(), F_OK) == 0) REQUIRE(Put(directory + "/pids.max", count));
}

void Remove(const lc::CgroupPaths& paths) {
  const bool removed = Eventually([&] {
    lc::CgroupRemoval removal(lc::Directories(paths), lc::CgroupRemoval::Extent::kAll);
    return removal.Work(lc::WalkDeadline()) && !removal.left();
  });
  CHECK(removed);
}

}  // namespace

TEST_CASE("own cgroup: names") {
  auto name = lc::NewOwnCgroupName();
  REQUIRE(name.ok());
  CHECK(lc::IsOwnCgroupName(*name));
  CHECK(*name != *lc::NewOwnCgroupName());
  for (const char* other : {"", "lc.", "lc.0123456789abcde", "lc.0123456789abcdef0", "lc.0123456789abcdeF",
                            "xx.0123456789abcdef"})
    CHECK_FALSE(lc::IsOwnCgroupName(other));
  for (const char* path : {"a", "a/b", "lc.x", "a b", "..."}) CHECK(lc::IsRelativeCgroup(path));
  for (const char* path : {"", "/", "/a", "a/", "a//b", ".", "..", "a/..", "../a", "a/./b"})
    CHECK_FALSE(lc::IsRelativeCgroup(path));
  CHECK_FALSE(lc::IsRelativeCgroup(std::string_view("a\0b", 3)));
}

TEST_CASE("own cgroup: which hierarchies it has") {
  Tree tree;
  lc::CgroupPaths container;
  for (const char* name : {"memory", "pids", "freezer", "cpuacct", "cpu", "cpuset", "blkio", "devices"})
    container.v1.push_back({name, tree.Dir(name)});
  auto names = [&] {
    std::string out;
    const lc::CgroupPaths own = lc::OwnCgroupPaths(container, "x");
    for (const auto& cgroup : own.v1) out += cgroup.name + " ";
    return out + (own.unified.empty() ? "" : "v2");
  };
  CHECK(names() == "memory pids freezer cpuacct ");
  container.unified = tree.Dir("unified");
  CHECK(names() == "memory pids freezer cpuacct v2");
  tree.File("unified/cgroup.kill", "");
  CHECK(names() == "memory pids v2");
  tree.File("memory/memory.use_hierarchy", "1\n");
  CHECK(names() == "memory pids v2");
  tree.File("memory/memory.use_hierarchy", "0\n");
  CHECK(names() == "pids v2");
}

TEST_CASE("own cgroup: all of it is made, or nothing") {
  RealCgroup cgroup("own-made");
  if (!cgroup.usable()) return;
  auto made = lc::MakeOwnCgroup(cgroup.paths, "lc.0000000000000001");
  REQUIRE(made.ok());
  CHECK(lc::Directories(lc::ExistingPaths(*made)) == lc::Directories(*made));
  CHECK(lc::Directories(lc::FindOwnCgroup(cgroup.paths, "lc.0000000000000001")) == lc::Directories(*made));
  auto again = lc::MakeOwnCgroup(cgroup.paths, "lc.0000000000000001");
  CHECK(again.error().err == EEXIST);
  Remove(*made);
  CHECK(lc::FindOwnCgroup(cgroup.paths, "lc.0000000000000001").empty());
  // The last one is in the way: what was made before it goes again.
  const std::string last = lc::Directories(*made).back();
  REQUIRE(mkdir(last.c_str(), 0755) == 0);
  CHECK_FALSE(lc::MakeOwnCgroup(cgroup.paths, "lc.0000000000000001").ok());
  CHECK(lc::Directories(lc::FindOwnCgroup(cgroup.paths, "lc.0000000000000001")) == std::vector{last});
}

TEST_CASE("own cgroup: a bomb leaves nobody") {
  RealCgroup cgroup("own-bomb");
  if (!cgroup.usable()) return;
  Limit(cgroup, "300");
  lc::CgroupPaths frozen = cgroup.paths;
  frozen.unified.clear();
  for (const lc::CgroupPaths& container : {cgroup.paths, frozen}) {
    if (container.empty()) continue;
    for (int round = 0; round < 5; ++round) {
      auto own = lc::MakeOwnCgroup(container, "lc.000000000000000a");
      REQUIRE(own.ok());
      REQUIRE(cgroup.Spawn(Bomb, "/lc.000000000000000a") > 0);
      REQUIRE(Eventually([&] {
        auto pids = lc::ReadPids(*own);
        return pids.ok() && pids->size() > 50;
      }));
      CHECK(KillTree(*own) > 0);
      auto left = lc::ReadPids(*own);
      REQUIRE(left.ok());
      CHECK(left->empty());
      Remove(*own);
    }
  }
}

TEST_CASE("own cgroup: cgroups below it, frozen ones too, are part of it") {
  RealCgroup cgroup("own-below");
  if (!cgroup.usable()) return;
  auto own = lc::MakeOwnCgroup(cgroup.paths, "lc.000000000000000b");
  REQUIRE(own.ok());
  for (const std::string& directory : lc::Directories(*own))
    REQUIRE(mkdir((directory + "/deep").c_str(), 0755) == 0);
  REQUIRE(cgroup.SpawnSleeper("/lc.000000000000000b/deep") > 0);
  const std::string* freezer = own->Find("freezer");
  if (freezer != nullptr) {
    REQUIRE(Put(*freezer + "/deep/freezer.state", "FROZEN"));
  } else {
    REQUIRE(Put(own->unified + "/deep/cgroup.freeze", "1"));
  }
  CHECK(lc::ReadPids(*own)->size() == 1);
  CHECK(KillTree(*own) > 0);
  Remove(*own);
}

TEST_CASE("own cgroup: a v1 controller that is added takes its processes along" *
          doctest::skip(lc_test::LacksV1("cpuset"))) {
  RealCgroup cgroup("own-more");
  if (!cgroup.usable()) return;
  auto own = lc::MakeOwnCgroup(cgroup.paths, "lc.000000000000000c");
  REQUIRE(own.ok());
  const pid_t sleeper = cgroup.SpawnSleeper("/lc.000000000000000c");
  REQUIRE(sleeper > 0);
  REQUIRE(lc::ExtendOwnCgroup(cgroup.paths, "lc.000000000000000c", "cpuset", &*own).ok());
  REQUIRE(own->Find("cpuset") != nullptr);
  CHECK(ReadOrEmpty(*own->Find("cpuset") + "/cgroup.procs") == std::to_string(sleeper));
  CHECK_FALSE(ReadOrEmpty(*own->Find("cpuset") + "/cpuset.cpus").empty());
  auto refused = lc::ExtendOwnCgroup(cgroup.paths, "lc.000000000000000c", "blkio", &*own);
  CHECK(std::string(refused.error().code) == "ERR_UNSUPPORTED");
  CHECK(KillTree(*own) > 0);
  Remove(*own);
}

TEST_CASE("own cgroup: what it counted") {
  RealCgroup cgroup("own-usage");
  if (!cgroup.usable()) return;
  auto own = lc::MakeOwnCgroup(cgroup.paths, "lc.000000000000000d");
  REQUIRE(own.ok());
  const pid_t busy = cgroup.Spawn([] { lc_test::Spin(); }, "/lc.000000000000000d");
  REQUIRE(busy > 0);
  CHECK(Eventually([&] { return lc::ReadOwnCgroupUsage(*own).cpu_usec.value_or(0) > 20'000; }));
  if (own->Find("memory") != nullptr) {
    CHECK(lc::ReadOwnCgroupUsage(*own).oom_kills == 0);
    CHECK(lc::ReadOwnCgroupUsage(*own).memory_peak_bytes.has_value());
  }
  CHECK(KillTree(*own) > 0);
  Remove(*own);
}
