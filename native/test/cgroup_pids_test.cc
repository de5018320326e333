// Pids: pieces of text, trees of files, and real cgroups, nested and vanishing.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "cgroup/pids.h"
#include "cgroup_trees.h"

namespace {

lc::Result<std::vector<pid_t>> ReadV1(const std::string& directory) {
  lc::CgroupPaths paths;
  paths.v1.push_back({"devices", directory});
  return lc::ReadPids(paths);
}

using Pids = std::vector<pid_t>;

}  // namespace

TEST_CASE("pids: numbers cut in two, and what is no pid") {
  lc::PidListParser parser;
  Pids out;
  CHECK(parser.Feed("1\n2", &out));
  CHECK(parser.Feed("3\n0\n", &out));
  CHECK(parser.Feed("4194304", &out));
  CHECK(parser.Finish(&out));
  CHECK(out == Pids{1, 23, 4194304});
  for (const char* text : {"x", "1 2", "-1", "\n", "1\n\n", "4194305", "99999999999999999999"}) {
    lc::PidListParser fresh;
    CHECK_FALSE(fresh.Feed(text, &out));
  }
}

TEST_CASE("pids: which hierarchy tells") {
  lc::CgroupPaths paths;
  bool v2 = true;
  CHECK(lc::PidsDirectory(paths, &v2) == nullptr);
  CHECK(std::string(lc::ReadPids(paths).error().code) == "ERR_UNSUPPORTED");
  paths.unified = "/u";
  CHECK(*lc::PidsDirectory(paths, &v2) == "/u");
  CHECK(v2);
  paths.v1.push_back({"name=systemd", "/s"});
  CHECK(*lc::PidsDirectory(paths, &v2) == "/u");
  paths.v1.push_back({"freezer", "/f"});
  CHECK(*lc::PidsDirectory(paths, &v2) == "/f");
  CHECK_FALSE(v2);
  paths.v1.push_back({"devices", "/d"});
  CHECK(*lc::PidsDirectory(paths, &v2) == "/d");
}

TEST_CASE("pids: the subtree, each pid once") {
  lc_test::Tree tree;
  tree.File("cgroup.procs", "5\n9\n");
  tree.File("a/cgroup.procs", "7\n5\n");
  tree.File("a/b/cgroup.procs", "11\n");
  tree.Dir("no-file-in-it");
  auto pids = ReadV1(tree.path);
  REQUIRE(pids.ok());
  CHECK(*pids == Pids{5, 9, 7, 11});
  tree.File("a/cgroup.procs", "garbage");
  auto bad = ReadV1(tree.path);
  REQUIRE_FALSE(bad.ok());
  CHECK(std::string(bad.error().code) == "ERR_STATE_CORRUPT");
  CHECK(bad.error().path == tree.path + "/a/cgroup.procs");
}

TEST_CASE("pids: many, none, far too many") {
  lc_test::Tree tree;
  std::string many;
  for (int i = 1; i <= 30000; ++i) many += std::to_string(i) + "\n";
  tree.File("cgroup.procs", many);
  auto pids = ReadV1(tree.path);
  REQUIRE(pids.ok());
  CHECK(pids->size() == 30000);
  CHECK(pids->back() == 30000);
  tree.File("cgroup.procs", "");
  CHECK(ReadV1(tree.path)->empty());
  std::string huge(100U << 20U, '\n');
  for (size_t i = 0; i < huge.size(); i += 2) huge[i] = '1';
  tree.File("cgroup.procs", huge);
  auto refused = ReadV1(tree.path);
  REQUIRE_FALSE(refused.ok());
  CHECK(std::string(refused.error().code) == "ERR_STATE_CORRUPT");
  unlink((tree.path + "/cgroup.procs").c_str());
  CHECK(std::string(ReadV1(tree.path).error().code) == "ERR_CONTAINER_EXITED");
  CHECK(std::string(ReadV1(tree.path + "/none").error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("pids: real cgroups, nested, and gone") {
  lc_test::RealCgroup cgroup("pids");
  if (!cgroup.usable()) return;
  bool v2 = false;
  std::string directory = *lc::PidsDirectory(cgroup.paths, &v2);
  CHECK(lc::ReadPids(cgroup.paths)->empty());
  mkdir((directory + "/nested").c_str(), 0755);
  mkdir((directory + "/nested/deep").c_str(), 0755);
  pid_t deep = cgroup.SpawnSleeper("/nested/deep");
  pid_t top = v2 ? deep : cgroup.SpawnSleeper();
  REQUIRE(deep > 0);
  REQUIRE(top > 0);
  auto pids = lc::ReadPids(cgroup.paths);
  REQUIRE(pids.ok());
  Pids expected = v2 ? Pids{deep} : Pids{top, deep};
  CHECK(*pids == expected);
  if (!v2) {
    // A list that is read again at once is not the old one (v1 keeps it for a second on an open descriptor).
    pid_t third = cgroup.SpawnSleeper();
    pids = lc::ReadPids(cgroup.paths);
    CHECK(std::find(pids->begin(), pids->end(), third) != pids->end());
  }
  cgroup.RemoveNow();
  auto gone = lc::ReadPids(cgroup.paths);
  REQUIRE_FALSE(gone.ok());
  CHECK(std::string(gone.error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("pids: v2 threaded cgroups" * doctest::skip(lc_test::LacksV2())) {
  lc_test::RealCgroup cgroup("threaded");
  if (!cgroup.usable()) return;
  lc::CgroupPaths v2;
  v2.unified = cgroup.paths.unified;
  mkdir((v2.unified + "/t").c_str(), 0755);
  pid_t pid = cgroup.SpawnSleeper();
  REQUIRE(pid > 0);
  REQUIRE(lc_test::Put(v2.unified + "/t/cgroup.type", "threaded"));
  REQUIRE(lc_test::Put(v2.unified + "/t/cgroup.threads", std::to_string(pid)));
  // Listed at the top of the threaded subtree alone.
  auto pids = lc::ReadPids(v2);
  REQUIRE(pids.ok());
  CHECK(*pids == Pids{pid});
  // And from within, where only threads are.
  lc::CgroupPaths inner;
  inner.unified = v2.unified + "/t";
  pids = lc::ReadPids(inner);
  REQUIRE_MESSAGE(pids.ok(), pids.error().path);
  CHECK(*pids == Pids{pid});
}
