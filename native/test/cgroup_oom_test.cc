// The count of OOM kills: texts, none, gone, and a real one.
#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "cgroup/oom.h"
#include "cgroup_trees.h"

TEST_CASE("oom: counts from files") {
  lc::CgroupPaths paths;
  CHECK(!lc::ReadOomKills(paths)->has_value());
  lc_test::Tree tree;
  paths.unified = tree.path;
  CHECK(!lc::ReadOomKills(paths)->has_value());
  tree.File("memory.events", "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n");
  CHECK(**lc::ReadOomKills(paths) == 3);
  tree.File("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
  paths.v1.push_back({"memory", tree.path});
  CHECK(!lc::ReadOomKills(paths)->has_value());
  tree.File("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
  CHECK(**lc::ReadOomKills(paths) == 7);
  paths.v1[0].path += "/none";
  auto gone = lc::ReadOomKills(paths);
  REQUIRE_FALSE(gone.ok());
  CHECK(std::string(gone.error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("oom: a process is killed") {
  lc_test::RealCgroup cgroup("oom");
  if (!cgroup.usable()) return;
  if (const std::string* memory = cgroup.paths.Find("memory")) {
    REQUIRE(lc_test::Put(*memory + "/memory.limit_in_bytes", "8388608"));
    (void)lc_test::Put(*memory + "/memory.memsw.limit_in_bytes", "8388608");
  } else if (lc_test::Put(cgroup.paths.unified + "/memory.max", "8388608")) {
    (void)lc_test::Put(cgroup.paths.unified + "/memory.swap.max", "0");
  } else {
    return;
  }
  CHECK(**lc::ReadOomKills(cgroup.paths) == 0);
  pid_t pid = cgroup.Spawn([] {
    for (;;) memset(malloc(1 << 20), 1, 1 << 20);
  });
  REQUIRE(pid > 0);
  for (int i = 0; i < 500 && **lc::ReadOomKills(cgroup.paths) == 0; ++i) usleep(10000);
  CHECK(**lc::ReadOomKills(cgroup.paths) == 1);
}
