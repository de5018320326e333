// Carrying out plans: on plain files for the mechanics, on real cgroups for what the kernel says.
#include <doctest/doctest.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <string>

#include "cgroup/update/resources_json.h"
#include "cgroup/update/writer.h"
#include "cgroup_trees.h"

using lc::CgroupWrite;
using lc_test::ReadOrEmpty;

namespace {

lc::CgroupWrite Write(const std::string& file, const std::string& value) {
  lc::CgroupWrite write;
  write.controller = "memory";
  write.file = file;
  write.value = value;
  write.field = "memory.limit";
  return write;
}

lc::CgroupPaths PathsOf(const std::string& directory) {
  lc::CgroupPaths paths;
  paths.v1.push_back({"memory", directory});
  return paths;
}

lc::Result<lc::AppliedPlan> Update(const lc::CgroupPaths& paths, const char* json) {
  auto resources = lc::ParseResources(json);
  REQUIRE_MESSAGE(resources.ok(), resources.error().text);
  auto plan = lc::PlanUpdate(*resources, paths, {}, lc::CurrentOf(paths));
  REQUIRE_MESSAGE(plan.ok(), plan.error().text);
  return lc::ApplyPlan(paths, *plan);
}

}  // namespace

TEST_CASE("writer: values to put back") {
  CgroupWrite write = Write("f", "8:0 rbps=1");
  CHECK(lc::ValueToRestore(write, "max\n") == "max");
  CHECK(lc::ValueToRestore(write, "\n") == "\n");
  write.restore = CgroupWrite::Restore::kFirstWord;
  write.when_missing = "8:0 rbps=max";
  CHECK(lc::ValueToRestore(write, "8:16 rbps=5\n8:0 rbps=7 wbps=max\n") == "8:0 rbps=7 wbps=max");
  CHECK(lc::ValueToRestore(write, "8:00 rbps=5\n") == "8:0 rbps=max");
  write.restore = CgroupWrite::Restore::kDefaultLine;
  CHECK(lc::ValueToRestore(write, "default 100\n8:0 50\n") == "default 100");
  CHECK(lc::ValueToRestore(write, "100\n") == "100");
  write.restore = CgroupWrite::Restore::kOomControl;
  CHECK(lc::ValueToRestore(write, "oom_kill_disable 1\nunder_oom 0\n") == "1");
  write.restore = CgroupWrite::Restore::kNone;
  CHECK(!lc::ValueToRestore(write, "x"));
}

TEST_CASE("writer: all or nothing, in a tree of files") {
  lc_test::Tree tree;
  tree.File("a", "old a\n");
  tree.File("b", "a longer old b\n");
  lc::CgroupPaths paths = PathsOf(tree.path);
  auto applied = lc::ApplyPlan(paths, {{Write("a", "1"), Write("b", "2")}});
  REQUIRE(applied.ok());
  CHECK(applied->size() == 2);
  CHECK(tree.Text("a") == "1");
  CHECK(tree.Text("b") == "2");
  CHECK(applied->Undo() == "");
  CHECK(tree.Text("a") == "old a");
  CHECK(tree.Text("b") == "a longer old b");

  auto failed = lc::ApplyPlan(paths, {{Write("a", "1"), Write("missing", "2"), Write("b", "3")}});
  REQUIRE_FALSE(failed.ok());
  CHECK(std::string(failed.error().code) == "ERR_UNSUPPORTED");
  CHECK(failed.error().path == tree.path + "/missing");
  CHECK(tree.Text("a") == "old a");
  CHECK(tree.Text("b") == "a longer old b");

  CgroupWrite optional = Write("missing", "2");
  optional.may_be_missing = true;
  CHECK(lc::ApplyPlan(paths, {{optional, Write("a", "1")}})->size() == 1);
  // Twice the same file: back to what it was first.
  auto twice = lc::ApplyPlan(paths, {{Write("b", "x"), Write("b", "y")}});
  CHECK(twice->Undo() == "");
  CHECK(tree.Text("b") == "a longer old b");

  auto gone = lc::ApplyPlan(PathsOf(tree.path + "/none"), {{optional}});
  REQUIRE_FALSE(gone.ok());
  CHECK(std::string(gone.error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("writer: real memory limits" * doctest::skip(lc_test::LacksV1("memory"))) {
  lc_test::RealCgroup cgroup("writer-memory");
  const std::string* memory = cgroup.paths.Find("memory");
  if (!cgroup.usable()) return;
  CHECK(
      Update(cgroup.paths, R"({"memory":{"limit":104857600,"swap":209715200,"reservation":52428800}})").ok());
  CHECK(ReadOrEmpty(*memory + "/memory.limit_in_bytes") == "104857600");
  CHECK(ReadOrEmpty(*memory + "/memory.memsw.limit_in_bytes") == "209715200");
  CHECK(ReadOrEmpty(*memory + "/memory.soft_limit_in_bytes") == "52428800");
  // Up and down, both ways round.
  CHECK(Update(cgroup.paths, R"({"memory":{"limit":419430400,"swap":419430400}})").ok());
  CHECK(Update(cgroup.paths, R"({"memory":{"limit":104857600,"swap":104857600}})").ok());
  CHECK(ReadOrEmpty(*memory + "/memory.memsw.limit_in_bytes") == "104857600");

  // Above memory+swap: EINVAL, a hint, and what was written before is put back.
  auto above = Update(cgroup.paths, R"({"cpu":{"cpus":"0"},"memory":{"limit":209715200}})");
  REQUIRE_FALSE(above.ok());
  CHECK(above.error().err == EINVAL);
  CHECK(above.error().path == *memory + "/memory.limit_in_bytes");
  CHECK(above.error().text.find("give memory.swap too (memory.memsw.limit_in_bytes: 104857600)") !=
        std::string::npos);
  if (const std::string* cpuset = cgroup.paths.Find("cpuset")) {
    CHECK(ReadOrEmpty(*cpuset + "/cpuset.cpus") == ReadOrEmpty(*cpuset + "/../cpuset.cpus"));
  }
  CHECK(Update(cgroup.paths, R"({"memory":{"limit":-1}})").ok());
  CHECK(ReadOrEmpty(*memory + "/memory.limit_in_bytes") == "9223372036854771712");
  CHECK(ReadOrEmpty(*memory + "/memory.memsw.limit_in_bytes") == "9223372036854771712");

  // Below what is used and cannot be swapped out: EBUSY.
  pid_t pid = cgroup.Spawn([] {
    void* locked = mmap(nullptr, 33 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    // By number: the address sanitizer makes mlock(3) do nothing.
    if (syscall(SYS_mlock, locked, 33 << 20) != 0) _exit(1);
    for (;;) pause();
  });
  REQUIRE(pid > 0);
  auto used = [&] { return std::stoull(ReadOrEmpty(*memory + "/memory.usage_in_bytes")); };
  REQUIRE(lc_test::Eventually([&] { return used() >= 32 << 20; }));
  auto below = Update(cgroup.paths, R"({"memory":{"limit":8388608}})");
  REQUIRE_FALSE(below.ok());
  CHECK(below.error().err == EBUSY);
  CHECK(below.error().text.find("memory.usage_in_bytes") != std::string::npos);
  CHECK(ReadOrEmpty(*memory + "/memory.limit_in_bytes") == "9223372036854771712");
  auto checked =
      lc::PlanUpdate(*lc::ParseResources(R"({"memory":{"limit":8388608,"checkBeforeUpdate":true}})"),
                     cgroup.paths, {}, lc::CurrentOf(cgroup.paths));
  CHECK_FALSE(checked.ok());
}

TEST_CASE("writer: realtime period and runtime, whichever the kernel takes first" *
          doctest::skip(lc_test::LacksV1("cpu", "cpu.rt_period_us"))) {
  lc_test::RealCgroup cgroup("writer-rt");
  const std::string* cpu = cgroup.paths.Find("cpu");
  // Without CONFIG_RT_GROUP_SCHED there are no such files.
  if (!cgroup.usable()) return;
  auto now = [&] {
    return ReadOrEmpty(*cpu + "/cpu.rt_runtime_us") + " of " + ReadOrEmpty(*cpu + "/cpu.rt_period_us");
  };
  CHECK(Update(cgroup.paths, R"({"cpu":{"realtimePeriod":1000000,"realtimeRuntime":100000}})").ok());
  CHECK(now() == "100000 of 1000000");
  // The new period is below the old runtime.
  CHECK(Update(cgroup.paths, R"({"cpu":{"realtimePeriod":50000,"realtimeRuntime":5000}})").ok());
  CHECK(now() == "5000 of 50000");
  // The new runtime is above the old period.
  CHECK(Update(cgroup.paths, R"({"cpu":{"realtimePeriod":1000000,"realtimeRuntime":100000}})").ok());
  CHECK(now() == "100000 of 1000000");
  // A pair that no order helps leaves both as they were.
  auto refused = Update(cgroup.paths, R"({"cpu":{"realtimePeriod":50000,"realtimeRuntime":60000}})");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().err == EINVAL);
  CHECK(now() == "100000 of 1000000");
}

TEST_CASE("writer: real cpu limits" * doctest::skip(lc_test::LacksV1("cpu"))) {
  lc_test::RealCgroup cgroup("writer-cpu");
  const std::string* cpu = cgroup.paths.Find("cpu");
  if (!cgroup.usable()) return;
  CHECK(Update(cgroup.paths, R"({"cpu":{"shares":512,"quota":50000,"period":100000}})").ok());
  CHECK(ReadOrEmpty(*cpu + "/cpu.shares") == "512");
  CHECK(ReadOrEmpty(*cpu + "/cpu.cfs_quota_us") == "50000");
  // The burst fits the new quota only.
  CHECK(Update(cgroup.paths, R"({"cpu":{"quota":90000,"burst":80000}})").ok());
  CHECK(ReadOrEmpty(*cpu + "/cpu.cfs_burst_us") == "80000");
  // The kernel clamps: said, and put back.
  auto clamped = Update(cgroup.paths, R"({"cpu":{"shares":1}})");
  REQUIRE_FALSE(clamped.ok());
  CHECK(clamped.error().err == ERANGE);
  CHECK(clamped.error().text.find("least is 2") != std::string::npos);
  CHECK(ReadOrEmpty(*cpu + "/cpu.shares") == "512");
  auto period = Update(cgroup.paths, R"({"cpu":{"shares":300,"period":1}})");
  REQUIRE_FALSE(period.ok());
  CHECK(period.error().err == EINVAL);
  CHECK(period.error().text.find("from 1000 to 1000000") != std::string::npos);
  CHECK(ReadOrEmpty(*cpu + "/cpu.shares") == "512");
  CHECK(Update(cgroup.paths, R"({"cpu":{"idle":1}})").ok());
  auto idle = Update(cgroup.paths, R"({"cpu":{"shares":300}})");
  REQUIRE_FALSE(idle.ok());
  CHECK(idle.error().text.find("idle") != std::string::npos);
  CHECK(Update(cgroup.paths, R"({"cpu":{"shares":300,"idle":0}})").ok());
  CHECK(ReadOrEmpty(*cpu + "/cpu.shares") == "300");
}

TEST_CASE("writer: real cpuset, pids and block devices") {
  lc_test::RealCgroup cgroup("writer-rest");
  if (!cgroup.usable()) return;
  if (const std::string* cpuset = cgroup.paths.Find("cpuset")) {
    auto none = Update(cgroup.paths, R"({"cpu":{"cpus":"900"}})");
    REQUIRE_FALSE(none.ok());
    CHECK(none.error().path == *cpuset + "/cpuset.cpus");
    CHECK(!none.error().text.empty());
    CHECK(Update(cgroup.paths, R"({"cpu":{"cpus":"0","mems":"0"}})").ok());
    CHECK(ReadOrEmpty(*cpuset + "/cpuset.cpus") == "0");
  }
  if (const std::string* pids = cgroup.paths.Find("pids")) {
    CHECK(Update(cgroup.paths, R"({"pids":{"limit":20}})").ok());
    CHECK(ReadOrEmpty(*pids + "/pids.max") == "20");
    CHECK(Update(cgroup.paths, R"({"pids":{"limit":-1}})").ok());
    CHECK(ReadOrEmpty(*pids + "/pids.max") == "max");
  }
  if (const std::string* blkio = cgroup.paths.Find("blkio")) {
    auto device =
        Update(cgroup.paths, R"({"blockIO":{"throttleReadBpsDevice":[{"major":999,"minor":0,"rate":5}]}})");
    REQUIRE_FALSE(device.ok());
    CHECK(device.error().err == ENODEV);
    CHECK(device.error().text.find("no such block device") != std::string::npos);
    if (access((*blkio + "/blkio.bfq.weight").c_str(), F_OK) == 0) {
      CHECK(Update(cgroup.paths, R"({"blockIO":{"weight":300}})").ok());
      CHECK(ReadOrEmpty(*blkio + "/blkio.bfq.weight") == "300");
    }
  }
  cgroup.RemoveNow();
  auto gone = Update(cgroup.paths, R"({"pids":{"limit":20}})");
  REQUIRE_FALSE(gone.ok());
  CHECK(std::string(gone.error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("writer: real v2 limits" * doctest::skip(lc_test::IsNotV2Only())) {
  lc_test::RealCgroup cgroup("writer-v2");
  if (!cgroup.usable()) return;
  const std::string& dir = cgroup.paths.unified;
  CHECK(Update(cgroup.paths, R"({"memory":{"limit":104857600,"swap":209715200,"reservation":52428800},
     "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0"},"pids":{"limit":20},
     "unified":{"memory.high":"94371840","cpu.max.burst":"20000"}})")
            .ok());
  CHECK(ReadOrEmpty(dir + "/memory.max") == "104857600");
  CHECK(ReadOrEmpty(dir + "/memory.low") == "52428800");
  CHECK(ReadOrEmpty(dir + "/memory.high") == "94371840");
  std::string swap = ReadOrEmpty(dir + "/memory.swap.max");
  CHECK((swap == "104857600" || swap.empty()));
  CHECK(ReadOrEmpty(dir + "/cpu.weight") == "59");
  CHECK(ReadOrEmpty(dir + "/cpu.max") == "50000 100000");
  CHECK(ReadOrEmpty(dir + "/cpuset.cpus") == "0");
  CHECK(ReadOrEmpty(dir + "/pids.max") == "20");
  CHECK(Update(cgroup.paths, R"({"cpu":{"period":50000}})").ok());
  CHECK(ReadOrEmpty(dir + "/cpu.max") == "50000 50000");

  // The last of several is refused: all that was written is as before.
  auto refused =
      Update(cgroup.paths, R"({"pids":{"limit":30},"memory":{"limit":83886080},"cpu":{"quota":10}})");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().err == EINVAL);
  CHECK(refused.error().path == dir + "/cpu.max");
  CHECK(refused.error().text.find("1000 microseconds") != std::string::npos);
  CHECK(ReadOrEmpty(dir + "/pids.max") == "20");
  CHECK(ReadOrEmpty(dir + "/memory.max") == "104857600");
  CHECK(Update(cgroup.paths, R"({"cpu":{"idle":1}})").ok());
  auto idle = Update(cgroup.paths, R"({"cpu":{"shares":300}})");
  REQUIRE_FALSE(idle.ok());
  CHECK(idle.error().text.find("idle") != std::string::npos);
  CHECK(Update(cgroup.paths, R"({"cpu":{"shares":1024,"idle":0}})").ok());
  CHECK(ReadOrEmpty(dir + "/cpu.weight") == "100");

  auto burst = Update(cgroup.paths, R"({"cpu":{"burst":60000}})");
  REQUIRE_FALSE(burst.ok());
  CHECK(burst.error().text.find("above the quota") != std::string::npos);
  CHECK(Update(cgroup.paths, R"({"cpu":{"burst":60000,"quota":70000}})").ok());
  CHECK(ReadOrEmpty(dir + "/cpu.max.burst") == "60000");

  auto device = Update(cgroup.paths, R"({"pids":{"limit":31},
     "blockIO":{"throttleReadBpsDevice":[{"major":999,"minor":0,"rate":5}]}})");
  REQUIRE_FALSE(device.ok());
  CHECK(device.error().err == ENODEV);
  CHECK(ReadOrEmpty(dir + "/pids.max") == "20");
  auto file = Update(cgroup.paths, R"({"unified":{"memory.nosuch":"1"}})");
  REQUIRE_FALSE(file.ok());
  CHECK(std::string(file.error().code) == "ERR_UNSUPPORTED");
  auto controller = Update(cgroup.paths, R"({"unified":{"nosuch.max":"1"}})");
  REQUIRE_FALSE(controller.ok());
  CHECK(controller.error().text.find("nosuch controller is not enabled") != std::string::npos);
  CHECK(Update(cgroup.paths, R"({"unified":{"cpuset.cpus":""}})").ok());
  CHECK(ReadOrEmpty(dir + "/cpuset.cpus") == "");
  CHECK(Update(cgroup.paths, R"({"memory":{"limit":-1}})").ok());
  CHECK(ReadOrEmpty(dir + "/memory.max") == "max");
}
