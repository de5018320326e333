// Resources from JSON: every field, exact numbers, and errors that name the field.
#include <doctest/doctest.h>

#include <string>

#include "cgroup/update/resources_json.h"

namespace {

void CheckError(const char* json, const char* code, const char* field) {
  CAPTURE(json);
  auto parsed = lc::ParseResources(json);
  REQUIRE_FALSE(parsed.ok());
  CHECK(std::string(parsed.error().code) == code);
  CHECK(parsed.error().path == field);
  CHECK(parsed.error().text.find(field) != std::string::npos);
}

constexpr const char* kType = "ERR_INVALID_ARG_TYPE";
constexpr const char* kValue = "ERR_INVALID_ARG_VALUE";

}  // namespace

TEST_CASE("resources: every field") {
  auto r = lc::ParseResources(R"({
    "memory": {"limit": 9223372036854775807, "reservation": -1, "swap": 0, "kernel": 1, "kernelTCP": 2,
               "swappiness": 60, "disableOOMKiller": true, "useHierarchy": false, "checkBeforeUpdate": true},
    "cpu": {"shares": 18446744073709551615, "quota": -1, "burst": 3, "period": 100000, "realtimeRuntime": -5,
            "realtimePeriod": 6, "cpus": "0-3,7", "mems": "0", "idle": 1},
    "pids": {"limit": -1},
    "blockIO": {"weight": 10, "leafWeight": 1000,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 500, "leafWeight": 300}],
                "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
                "throttleWriteBpsDevice": [{"major": 8, "minor": 16, "rate": 0}],
                "throttleReadIOPSDevice": [], "throttleWriteIOPSDevice": null},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 18446744073709551615}],
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4294967295}},
    "unified": {"memory.high": "1\n2", "cpu.weight": "5"}
  })");
  REQUIRE_MESSAGE(r.ok(), r.error().text);
  CHECK(r->memory.limit == INT64_MAX);
  CHECK(r->memory.reservation == -1);
  CHECK(r->memory.swap == 0);
  CHECK(r->memory.disable_oom_killer == true);
  CHECK(r->memory.use_hierarchy == false);
  CHECK(r->cpu.shares == UINT64_MAX);
  CHECK(r->cpu.quota == -1);
  CHECK(r->cpu.realtime_runtime == -5);
  CHECK(r->cpu.cpus == "0-3,7");
  CHECK(r->cpu.idle == 1);
  CHECK(r->pids_limit == -1);
  CHECK(r->block_io.weight == 10);
  REQUIRE(r->block_io.weight_device.size() == 1);
  CHECK(r->block_io.weight_device[0].leaf_weight == 300);
  CHECK(r->block_io.throttle_write_bps[0].minor == 16);
  CHECK(r->hugepage_limits[0].limit == UINT64_MAX);
  CHECK(r->rdma[0].device == "mlx5_1");
  CHECK(r->rdma[0].hca_objects == UINT32_MAX);
  REQUIRE(r->unified.size() == 2);
  CHECK(r->unified[0].value == "1\n2");
}

TEST_CASE("resources: nothing, and null as nothing") {
  auto r =
      lc::ParseResources(R"({"memory": null, "cpu": {"shares": null, "cpus": ""}, "pids": {}, "rdma": {}})");
  REQUIRE(r.ok());
  CHECK(!r->cpu.shares);
  CHECK(r->cpu.cpus.empty());
  CHECK(!r->pids_limit);
}

TEST_CASE("resources: what is refused, by name") {
  CheckError("", kValue, "resources");
  CheckError("{\"cpu\":", kValue, "resources");
  CheckError("[]", kType, "resources");
  CheckError("{\"memory\": 5}", kType, "memory");
  CheckError(R"({"memory": {"limit": "1"}})", kType, "memory.limit");
  CheckError(R"({"memory": {"limit": 1.5}})", kValue, "memory.limit");
  CheckError(R"({"memory": {"limit": 9223372036854775808}})", kValue, "memory.limit");
  CheckError(R"({"memory": {"limit": 1e30}})", kValue, "memory.limit");
  CheckError(R"({"memory": {"limit": -2}})", kValue, "memory.limit");
  CheckError(R"({"memory": {"swappiness": 101}})", kValue, "memory.swappiness");
  CheckError(R"({"memory": {"limt": 1}})", kValue, "memory.limt");
  CheckError(R"({"memory": {"checkBeforeUpdate": 1}})", kType, "memory.checkBeforeUpdate");
  CheckError(R"({"cpu": {"shares": -1}})", kValue, "cpu.shares");
  CheckError(R"({"cpu": {"period": 18446744073709551616}})", kValue, "cpu.period");
  CheckError(R"({"cpu": {"cpus": 3}})", kType, "cpu.cpus");
  CheckError("{\"cpu\": {\"cpus\": \"0\\n1\"}}", kValue, "cpu.cpus");
  CheckError("{\"cpu\": {\"cpus\": \"0\\u0000\"}}", kValue, "cpu.cpus");
  CheckError(R"({"cpu": {"idle": 2}})", kValue, "cpu.idle");
  CheckError(R"({"pids": {"limit": "max"}})", kType, "pids.limit");
  CheckError(R"({"blockIO": {"weight": 70000}})", kValue, "blockIO.weight");
  CheckError(R"({"blockIO": {"weight": 9}})", kValue, "blockIO.weight");
  CheckError(R"({"blockIO": {"weightDevice": {}}})", kType, "blockIO.weightDevice");
  CheckError(R"({"blockIO": {"weightDevice": [5]}})", kType, "blockIO.weightDevice[0]");
  CheckError(R"({"blockIO": {"weightDevice": [{"major": 1}]}})", kType, "blockIO.weightDevice[0].minor");
  CheckError(R"({"blockIO": {"throttleReadBpsDevice": [{"major": 1, "minor": -1, "rate": 1}]}})", kValue,
             "blockIO.throttleReadBpsDevice[0]");
  CheckError(R"({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]})", kValue,
             "hugepageLimits[0].pageSize");
  CheckError(R"({"hugepageLimits": [{"pageSize": "2MB"}]})", kType, "hugepageLimits[0].limit");
  CheckError(R"({"hugepageLimits": [{"limit": 2}]})", kValue, "hugepageLimits[0].pageSize");
  CheckError(R"({"rdma": {"a b": {}}})", kValue, "rdma.a b");
  CheckError(R"({"rdma": {"a": {"hcaHandles": 4294967296}}})", kValue, "rdma.a.hcaHandles");
  CheckError(R"({"unified": {"memory.high": 5}})", kType, "unified.memory.high");
  CheckError(R"({"unified": []})", kType, "unified");
  CheckError(R"({"devices": [{"allow": true}]})", "ERR_UNSUPPORTED", "devices");
  CheckError(R"({"network": {}})", "ERR_UNSUPPORTED", "network");
  CheckError(R"({"memroy": {}})", kValue, "memroy");
}

TEST_CASE("resources: hostile nesting") {
  std::string deep(1'000'000, '[');
  CHECK_FALSE(lc::ParseResources(deep).ok());
  std::string closed = "{\"rdma\":" + std::string(200'000, '[') + std::string(200'000, ']') + "}";
  CHECK_FALSE(lc::ParseResources(closed).ok());
}
