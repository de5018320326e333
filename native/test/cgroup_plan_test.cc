// Plans: the writes, their order and their values, v1 and v2, without a cgroup.
#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "cgroup/update/plan.h"
#include "cgroup/update/resources_json.h"

using Formula = lc::PlanOptions::SharesFormula;

namespace {

using Files = std::map<std::string, std::string>;

lc::CgroupPaths V1Paths() {
  lc::CgroupPaths paths;
  for (const char* name : {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "rdma"}) {
    paths.v1.push_back({name, std::string("/c/") + name});
  }
  return paths;
}

lc::CgroupPaths V2Paths() {
  lc::CgroupPaths paths;
  paths.unified = "/c";
  return paths;
}

lc::Result<lc::CgroupPlan> Plan(const char* json, const lc::CgroupPaths& paths, const Files& files = {},
                                const lc::PlanOptions& options = {}) {
  auto resources = lc::ParseResources(json);
  REQUIRE_MESSAGE(resources.ok(), resources.error().text);
  auto read = [&](const std::string&, const char* file) -> std::optional<std::string> {
    auto found = files.find(file);
    if (found == files.end()) return std::nullopt;
    return found->second;
  };
  return lc::PlanUpdate(*resources, paths, options, read);
}

// "file=value" in order.
std::vector<std::string> Writes(const char* json, const lc::CgroupPaths& paths, const Files& files = {},
                                const lc::PlanOptions& options = {}) {
  CAPTURE(json);
  auto plan = Plan(json, paths, files, options);
  REQUIRE_MESSAGE(plan.ok(), plan.error().text);
  std::vector<std::string> out;
  for (const lc::CgroupWrite& write : plan->writes) out.push_back(write.file + "=" + write.value);
  return out;
}

std::string ErrorCode(const char* json, const lc::CgroupPaths& paths, const Files& files = {},
                      const lc::PlanOptions& options = {}) {
  CAPTURE(json);
  auto plan = Plan(json, paths, files, options);
  REQUIRE_FALSE(plan.ok());
  return plan.error().code == nullptr ? "errno " + std::to_string(plan.error().err) : plan.error().code;
}

using List = std::vector<std::string>;
const Files kMem100 = {{"memory.limit_in_bytes", "100\n"}, {"memory.memsw.limit_in_bytes", "200\n"}};

}  // namespace

TEST_CASE("plan: shares to weight, both formulas") {
  auto curve = [](uint64_t s) { return lc::SharesToWeight(s, Formula::kCurve); };
  CHECK(curve(0) == 0);
  CHECK(curve(1) == 1);
  CHECK(curve(2) == 1);
  CHECK(curve(512) == 59);
  CHECK(curve(1024) == 100);
  CHECK(curve(262144) == 10000);
  CHECK(curve(UINT64_MAX) == 10000);
  auto linear = [](uint64_t s) { return lc::SharesToWeight(s, Formula::kLinear); };
  CHECK(linear(0) == 0);
  CHECK(linear(1) == 1);
  CHECK(linear(2) == 1);
  CHECK(linear(512) == 20);
  CHECK(linear(1024) == 39);
  CHECK(linear(262144) == 10000);
  for (Formula formula : {Formula::kCurve, Formula::kLinear}) {
    uint64_t before = 0;
    for (uint64_t shares = 1; shares < 300000; shares += 37) {
      uint64_t weight = lc::SharesToWeight(shares, formula);
      CHECK(weight >= before);
      REQUIRE(weight >= 1);
      REQUIRE(weight <= 10000);
      before = weight;
    }
  }
  CHECK(lc::BlkioToIoWeight(10) == 1);
  CHECK(lc::BlkioToIoWeight(1000) == 10000);
  CHECK(lc::BlkioToIoWeight(500) == 4950);
}

TEST_CASE("plan: swap for v2") {
  auto swap = [](int64_t s, int64_t m) {
    auto out = lc::SwapForV2(s, m);
    REQUIRE(out.ok());
    return *out;
  };
  CHECK(swap(0, -1) == -1);
  CHECK(!swap(0, 0).has_value());
  CHECK(!swap(0, 100).has_value());
  CHECK(swap(-1, 100) == -1);
  CHECK(swap(300, -1) == 300);
  CHECK(swap(300, 100) == 200);
  CHECK(swap(100, 100) == 0);
  CHECK_FALSE(lc::SwapForV2(100, 0).ok());
  CHECK_FALSE(lc::SwapForV2(99, 100).ok());
  CHECK(!lc::SwapForV2(std::nullopt, std::nullopt)->has_value());
}

TEST_CASE("plan v1: the order of the two memory limits") {
  auto v1 = V1Paths();
  // Up: the limit of both first. Down: memory first.
  CHECK(Writes(R"({"memory":{"limit":300,"swap":400}})", v1, kMem100) ==
        List{"memory.memsw.limit_in_bytes=400", "memory.limit_in_bytes=300"});
  CHECK(Writes(R"({"memory":{"limit":50,"swap":80}})", v1, kMem100) ==
        List{"memory.limit_in_bytes=50", "memory.memsw.limit_in_bytes=80"});
  CHECK(Writes(R"({"memory":{"limit":50,"swap":-1}})", v1, kMem100) ==
        List{"memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=50"});
  CHECK(Writes(R"({"memory":{"limit":-1}})", v1, kMem100) ==
        List{"memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"});
  // Swap is not counted on this one.
  CHECK(Writes(R"({"memory":{"limit":-1}})", v1, {{"memory.limit_in_bytes", "100\n"}}) ==
        List{"memory.limit_in_bytes=-1"});
  CHECK(Writes(R"({"memory":{"swap":80}})", v1, kMem100) == List{"memory.memsw.limit_in_bytes=80"});
  CHECK(Writes(R"({"memory":{"limit":0,"swap":0}})", v1, kMem100) == List{});
  CHECK(Writes(R"({"memory":{"reservation":7,"disableOOMKiller":true,"swappiness":0}})", v1) ==
        List{"memory.soft_limit_in_bytes=7", "memory.oom_control=1", "memory.swappiness=0"});
}

TEST_CASE("plan: a limit below what is used is refused beforehand when asked for") {
  Files used = {{"memory.usage_in_bytes", "100\n"}, {"memory.current", "100\n"}};
  for (const lc::CgroupPaths& paths : {V1Paths(), V2Paths()}) {
    CHECK(ErrorCode(R"({"memory":{"limit":100,"checkBeforeUpdate":true}})", paths, used) == "errno 16");
    CHECK(ErrorCode(R"({"memory":{"limit":200,"swap":99,"checkBeforeUpdate":true}})", paths, used) ==
          "errno 16");
    CHECK(Writes(R"({"memory":{"limit":101,"checkBeforeUpdate":true}})", paths, used).size() == 1);
    CHECK(Writes(R"({"memory":{"limit":100}})", paths, used).size() == 1);
  }
}

TEST_CASE("plan v1: cpu") {
  auto v1 = V1Paths();
  CHECK(Writes(
            R"({"cpu":{"shares":1,"quota":5000,"period":6000,"burst":1,"realtimeRuntime":2,"realtimePeriod":3,
                   "cpus":"0","mems":"1","idle":1}})",
            v1) == List{"cpuset.cpus=0", "cpuset.mems=1", "cpu.shares=1", "cpu.cfs_period_us=6000",
                        "cpu.cfs_burst_us=1", "cpu.cfs_quota_us=5000", "cpu.idle=1", "cpu.rt_period_us=3",
                        "cpu.rt_runtime_us=2"});
  CHECK(Writes(R"({"cpu":{"shares":10,"idle":0}})", v1) == List{"cpu.idle=0", "cpu.shares=10"});
  CHECK(Writes(R"({"cpu":{"quota":-7}})", v1) == List{"cpu.cfs_quota_us=-1"});
  auto plan = Plan(R"({"cpu":{"quota":5000,"period":6000,"shares":2}})", v1);
  CHECK(plan->writes[0].read_back);
  CHECK(plan->writes[1].retry_after);
  CHECK(plan->writes[2].then_retry);
  // The same for realtime (runc 1.1.13).
  auto realtime = Plan(R"({"cpu":{"realtimeRuntime":2,"realtimePeriod":3}})", v1);
  REQUIRE(realtime.ok());
  CHECK(realtime->writes[0].file == "cpu.rt_period_us");
  CHECK(realtime->writes[0].retry_after);
  CHECK(realtime->writes[1].then_retry);
  CHECK_FALSE(Plan(R"({"cpu":{"realtimePeriod":3}})", v1)->writes[0].retry_after);
  // Nothing will come that could make the period right.
  CHECK_FALSE(Plan(R"({"cpu":{"period":6000}})", v1)->writes[0].retry_after);
}

TEST_CASE("plan v1: the rest") {
  auto v1 = V1Paths();
  CHECK(Writes(R"({"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":300}],
                   "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1000}]}})",
               v1) == List{"blkio.bfq.weight=500", "blkio.bfq.weight_device=8:0 300",
                           "blkio.throttle.read_bps_device=8:0 1000"});
  CHECK(Writes(R"({"blockIO":{"weight":500}})", v1, {{"blkio.weight", "10\n"}}) == List{"blkio.weight=500"});
  CHECK(Writes(R"({"hugepageLimits":[{"pageSize":"2MB","limit":4}],"rdma":{"a":{"hcaObjects":1},"b":{}}})",
               v1) ==
        List{"hugetlb.2MB.limit_in_bytes=4", "hugetlb.2MB.rsvd.limit_in_bytes=4", "rdma.max=a hca_object=1"});
  CHECK(Writes(R"({"pids":{"limit":-5}})", v1) == List{"pids.max=max"});
  CHECK(Writes(R"({"pids":{"limit":0}})", v1) == List{});
  CHECK(Writes(R"({"pids":{"limit":0}})", v1, {}, {.pids_zero_is_one = true}) == List{"pids.max=1"});
  CHECK(ErrorCode(R"({"unified":{"memory.high":"1"}})", v1) == "ERR_UNSUPPORTED");
}

TEST_CASE("plan: controllers that are not there") {
  lc::CgroupPaths paths;
  paths.v1.push_back({"memory", "/c/memory"});
  CHECK(ErrorCode(R"({"pids":{"limit":5}})", paths) == "ERR_UNSUPPORTED");
  CHECK(Plan(R"({"pids":{"limit":5}})", paths).error().text.find("pids controller") != std::string::npos);
  // Hybrid: what v1 does not have may be in v2.
  paths.unified = "/u";
  auto plan = Plan(R"({"hugepageLimits":[{"pageSize":"2MB","limit":4}],"memory":{"limit":5}})", paths);
  REQUIRE(plan.ok());
  CHECK(plan->writes[0].controller == "memory");
  CHECK(plan->writes[1].controller.empty());
  CHECK(plan->writes[1].file == "hugetlb.2MB.max");
  CHECK(ErrorCode(R"({"unified":{"memory.high":"1"}})", paths) == "ERR_UNSUPPORTED");
}

TEST_CASE("plan v2: order and conversions") {
  auto v2 = V2Paths();
  CHECK(
      Writes(
          R"({"memory":{"limit":100,"swap":300,"reservation":50},"cpu":{"shares":1024,"quota":5000,"period":7000,
                   "burst":1,"cpus":"0","idle":0},"pids":{"limit":9},"blockIO":{"weight":500},
                   "hugepageLimits":[{"pageSize":"2MB","limit":4}],"unified":{"memory.high":"70"}})",
          v2) == List{"pids.max=9", "memory.swap.max=200", "memory.max=100", "memory.low=50",
                      "io.weight=4950", "cpu.idle=0", "cpu.weight=100", "cpu.max.burst=1",
                      "cpu.max=5000 7000", "cpuset.cpus=0", "hugetlb.2MB.max=4", "hugetlb.2MB.rsvd.max=4",
                      "memory.high=70"});
  CHECK(Writes(R"({"memory":{"limit":-1}})", v2) == List{"memory.swap.max=max", "memory.max=max"});
  CHECK(Writes(R"({"memory":{"limit":100,"swap":100}})", v2) == List{"memory.swap.max=0", "memory.max=100"});
  CHECK(Writes(R"({"cpu":{"shares":1024}})", v2, {}, {.shares = Formula::kLinear}) == List{"cpu.weight=39"});
  CHECK(Writes(R"({"cpu":{"idle":1,"shares":5}})", v2) == List{"cpu.weight=2", "cpu.idle=1"});
}

TEST_CASE("plan v2: a swap limit that comes alone, and one that is on record") {
  auto v2 = V2Paths();
  CHECK(Writes(R"({"memory":{"swap":300}})", v2, {{"memory.max", "100\n"}}) == List{"memory.swap.max=200"});
  CHECK(Writes(R"({"memory":{"swap":300}})", v2, {{"memory.max", "max\n"}}) == List{"memory.swap.max=300"});
  CHECK(Writes(R"({"memory":{"swap":300}})", v2, {{"memory.max", "100\n"}}, {.recorded_memory = 250}) ==
        List{"memory.swap.max=50"});
  CHECK(ErrorCode(R"({"memory":{"swap":300}})", v2) == "ERR_INVALID_ARG_VALUE");
  CHECK(Writes(R"({"memory":{"limit":200}})", v2, {}, {.recorded_memory = 100, .recorded_swap = 300}) ==
        List{"memory.swap.max=100", "memory.max=200"});
  CHECK(ErrorCode(R"({"memory":{"limit":400}})", v2, {}, {.recorded_swap = 300}) == "ERR_INVALID_ARG_VALUE");
  CHECK(Writes(R"({"memory":{"limit":400}})", v2, {}, {.recorded_swap = 0}) == List{"memory.max=400"});
  CHECK(Writes(R"({"memory":{"limit":400}})", v2, {}, {.recorded_swap = -1}) ==
        List{"memory.swap.max=max", "memory.max=400"});
}

TEST_CASE("plan v2: cpu.max keeps the half that is left out") {
  auto v2 = V2Paths();
  Files now = {{"cpu.max", "30000 60000\n"}};
  CHECK(Writes(R"({"cpu":{"quota":5000}})", v2, now) == List{"cpu.max=5000 60000"});
  CHECK(Writes(R"({"cpu":{"period":5000}})", v2, now) == List{"cpu.max=30000 5000"});
  CHECK(Writes(R"({"cpu":{"quota":-1}})", v2, now) == List{"cpu.max=max 60000"});
  CHECK(Writes(R"({"cpu":{"quota":5000}})", v2) == List{"cpu.max=5000 100000"});
  CHECK(Writes(R"({"cpu":{"quota":5000,"period":0}})", v2, now) == List{"cpu.max=5000 100000"});
  CHECK(Writes(R"({"cpu":{"quota":0}})", v2, now) == List{});
}

TEST_CASE("plan v2: devices") {
  auto v2 = V2Paths();
  const char* json = R"({"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":300}],
     "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":0}]}})";
  CHECK(Writes(json, v2, {{"io.bfq.weight", "default 100\n"}}) ==
        List{"io.bfq.weight=500", "io.bfq.weight=8:0 300", "io.max=8:0 rbps=1", "io.max=8:0 wiops=max"});
  CHECK(Writes(json, v2) ==
        List{"io.weight=4950", "io.weight=8:0 2930", "io.max=8:0 rbps=1", "io.max=8:0 wiops=max"});
  CHECK(ErrorCode(json, v2, {{"io.bfq.weight", "100\n"}}) == "ERR_UNSUPPORTED");
}

TEST_CASE("plan v2: what v2 does not have") {
  auto v2 = V2Paths();
  for (const char* json : {R"({"memory":{"kernel":5}})", R"({"memory":{"kernelTCP":5}})",
                           R"({"memory":{"swappiness":5}})", R"({"memory":{"disableOOMKiller":true}})",
                           R"({"memory":{"useHierarchy":false}})", R"({"cpu":{"realtimeRuntime":5}})",
                           R"({"cpu":{"realtimePeriod":5}})", R"({"blockIO":{"leafWeight":10}})"}) {
    CHECK(ErrorCode(json, v2) == "ERR_UNSUPPORTED");
  }
  CHECK(Writes(R"({"memory":{"disableOOMKiller":false,"useHierarchy":true}})", v2) == List{});
}

TEST_CASE("plan: unified keys and lines") {
  auto v2 = V2Paths();
  for (const char* key :
       {"", ".", "..", "a/b", "/etc/passwd", "../memory.max", "memory", "a..b", "memory.max\n"}) {
    CHECK(lc::CheckUnifiedKey(key) != nullptr);
  }
  CHECK(lc::CheckUnifiedKey("memory.high") == nullptr);
  CHECK(ErrorCode(R"({"unified":{"memory.high":"1","../x.y":"2"}})", v2) == "ERR_INVALID_ARG_VALUE");
  CHECK(Writes(R"({"unified":{"io.max":"8:0 rbps=1\n8:16 wbps=2","cpuset.cpus":""}})", v2) ==
        List{"io.max=8:0 rbps=1", "io.max=8:16 wbps=2", "cpuset.cpus=\n"});
}
