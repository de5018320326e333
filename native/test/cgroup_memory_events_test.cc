// The counters of memory events: texts of both versions, and a real OOM kill.
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "cgroup/memory_events.h"
#include "cgroup_trees.h"

TEST_CASE("memory events: what the texts say") {
  auto v2 = lc::ParseMemoryEvents("low 0\nhigh 5\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n");
  CHECK(v2.oom_kill == 3U);
  CHECK(v2.oom == 4);
  CHECK(v2.high == 5);
  CHECK(v2.max == 9);
  CHECK_FALSE(v2.killer_off);
  auto old = lc::ParseMemoryEvents("oom_kill_disable 1\nunder_oom 0\n");  // before Linux 4.13
  CHECK_FALSE(old.oom_kill.has_value());
  CHECK(old.killer_off);
  auto v1 = lc::ParseMemoryEvents("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
  CHECK(v1.oom_kill == 7U);
  CHECK_FALSE(v1.killer_off);
  for (const char* nothing : {"", "oom_kill\n", "oom_kill x\n", "oom_kill 18446744073709551616\n"}) {
    CAPTURE(nothing);
    CHECK_FALSE(lc::ParseMemoryEvents(nothing).oom_kill.has_value());
  }
}

TEST_CASE("memory events: where the file is") {
  lc::CgroupPaths paths;
  CHECK(lc::MemoryEventsFile(paths).empty());
  paths.unified = "/u";
  CHECK(lc::MemoryEventsFile(paths) == "/u/memory.events");
  paths.v1.push_back({"memory", "/m"});
  CHECK(lc::MemoryEventsFile(paths) == "/m/memory.oom_control");
}

TEST_CASE("memory events: a process is killed") {
  lc_test::RealCgroup cgroup("oom");
  if (!cgroup.usable()) return;
  if (const std::string* memory = cgroup.paths.Find("memory")) {
    REQUIRE(lc_test::Put(*memory + "/memory.limit_in_bytes", "8388608"));
    (void)lc_test::Put(*memory + "/memory.memsw.limit_in_bytes", "8388608");
  } else {
    REQUIRE(lc_test::Put(cgroup.paths.unified + "/memory.max", "8388608"));
    (void)lc_test::Put(cgroup.paths.unified + "/memory.swap.max", "0");
  }
  auto kills = [&] {
    return lc::ParseMemoryEvents(lc_test::ReadOrEmpty(lc::MemoryEventsFile(cgroup.paths))).oom_kill;
  };
  CHECK(kills() == 0U);
  pid_t pid = cgroup.Spawn([] {
    for (;;) memset(malloc(1 << 20), 1, 1 << 20);
  });
  REQUIRE(pid > 0);
  CHECK(lc_test::Eventually([&] { return kills() == 1U; }));
}
