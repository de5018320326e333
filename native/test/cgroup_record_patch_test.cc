// runc's state.json: only the changed keys change, the rest stays byte for byte.
#include <doctest/doctest.h>

#include <string>

#include "cgroup/update/json_text.h"
#include "cgroup/update/record_patch.h"
#include "cgroup/update/resources_json.h"
#include "cgroup_trees.h"
#include "core/files.h"

namespace {

std::string Patch(const std::string& state, const char* resources, const lc::PlanOptions& options = {}) {
  auto parsed = lc::ParseResources(resources);
  REQUIRE_MESSAGE(parsed.ok(), parsed.error().text);
  auto record = lc::RuncRecord::Parse(state, "/run/x/state.json");
  REQUIRE_MESSAGE(record.ok(), record.error().text);
  std::string out = record->Patch(*parsed, options);
  REQUIRE(lc::IsJson(out));
  return out;
}

std::string Replace(std::string text, const std::string& from, const std::string& to) {
  size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

std::string Wrap(const std::string& cgroups) {
  return "{\"id\":\"a\", \"n\":1.50e+3,\"config\":{\"x\":[1,{\"memory\":5}],\"cgroups\":" + cgroups +
         ",\"y\":18446744073709551615},\"cgroup_paths\":{}}\n";
}

}  // namespace

TEST_CASE("record: a real state.json of runc 1.1.5") {
  auto state = lc::ReadFile(lc_test::Fixture("runc-1.1.5-state.json"));
  REQUIRE(state.ok());
  CHECK(Patch(*state, "{}") == *state);
  CHECK(Patch(*state, R"({"memory":{"limit":209715200}})") ==
        Replace(*state, "\"memory\":104857600,", "\"memory\":209715200,"));
  CHECK(Patch(*state, R"({"cpu":{"shares":1024}})", {.shares = lc::PlanOptions::SharesFormula::kLinear}) ==
        Replace(Replace(*state, "\"cpu_shares\":512", "\"cpu_shares\":1024"), "\"cpu_weight\":20",
                "\"cpu_weight\":39"));
  CHECK(Patch(*state, R"({"pids":{"limit":-1},"cpu":{"cpus":"0-1"}})") ==
        Replace(Replace(*state, "\"pids_limit\":50", "\"pids_limit\":-1"), "\"cpuset_cpus\":\"\"",
                "\"cpuset_cpus\":\"0-1\""));
  CHECK(Patch(*state, R"({"memory":{"limit":-1}})") ==
        Replace(Replace(*state, "\"memory\":104857600,", "\"memory\":-1,"), "\"memory_swap\":0",
                "\"memory_swap\":-1"));
  CHECK(Patch(*state, R"({"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":7}]}})") ==
        Replace(*state, "\"blkio_throttle_read_bps_device\":null",
                "\"blkio_throttle_read_bps_device\":[{\"major\":8,\"minor\":0,\"rate\":7}]"));
  CHECK(Patch(*state, R"({"memory":{"swappiness":10}})") ==
        Replace(*state, "\"memory_swappiness\":null", "\"memory_swappiness\":10"));
  // A key that this record does not have goes to the end of the object.
  CHECK(Patch(*state, R"({"cpu":{"idle":1,"burst":5}})") ==
        Replace(*state, "\"Rootless\":false}", "\"Rootless\":false,\"cpu_burst\":5,\"cpu_idle\":1}"));
  auto recorded = lc::RuncRecord::Parse(*state, "x");
  REQUIRE(recorded.ok());
  CHECK(recorded->memory() == 104857600);
  CHECK(recorded->memory_swap() == 0);
}

TEST_CASE("record: keys that are missing, in an object of any shape") {
  CHECK(Patch(Wrap("{}"), R"({"memory":{"limit":7}})") == Wrap("{\"memory\":7}"));
  CHECK(Patch(Wrap("{ }"), R"({"memory":{"limit":7},"pids":{"limit":1}})") ==
        Wrap("{\"memory\":7,\"pids_limit\":1 }"));
  CHECK(Patch(Wrap("{ \"path\" : \"/x\" \n}"), R"({"memory":{"limit":7}})") ==
        Wrap("{ \"path\" : \"/x\",\"memory\":7 \n}"));
  CHECK(Patch(Wrap("{\"memory\" : 5 }"), R"({"memory":{"limit":7,"swap":9}})") ==
        Wrap("{\"memory\" : 7,\"memory_swap\":9 }"));
  // Names may be written with escapes; of two the last counts.
  CHECK(Patch(Wrap("{\"mem\\u006fry\":5}"), R"({"memory":{"limit":7}})") == Wrap("{\"mem\\u006fry\":7}"));
  CHECK(Patch(Wrap("{\"memory\":5,\"memory\":6}"), R"({"memory":{"limit":7}})") ==
        Wrap("{\"memory\":5,\"memory\":7}"));
}

TEST_CASE("record: of lists and maps only the entries named change") {
  std::string state = Wrap(
      "{\"blkio_weight_device\":[{\"major\":8,\"minor\":0,\"weight\":1,\"leafWeight\":2}, "
      "{\"major\":8,\"minor\":16,\"weight\":3,\"leafWeight\":0,\"new\":1.0}],"
      "\"hugetlb_limit\":[{\"page_size\":\"1GB\",\"limit\":18446744073709551615}],"
      "\"rdma\":{\"a\":{\"hca_handles\":1},\"b\":{}},\"unified\":{\"memory.high\":\"1\"}}");
  std::string out = Patch(state,
                          R"({"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":500}]},
                              "hugepageLimits":[{"pageSize":"2MB","limit":4}],
                              "rdma":{"a":{"hcaObjects":9},"c":{"hcaHandles":3}}})");
  CHECK(out ==
        Wrap("{\"blkio_weight_device\":[{\"major\":8,\"minor\":0,\"weight\":500,\"leafWeight\":0},"
             "{\"major\":8,\"minor\":16,\"weight\":3,\"leafWeight\":0,\"new\":1.0}],"
             "\"hugetlb_limit\":[{\"page_size\":\"1GB\",\"limit\":18446744073709551615},"
             "{\"page_size\":\"2MB\",\"limit\":4}],"
             "\"rdma\":{\"a\":{\"hca_handles\":1,\"hca_objects\":9},\"b\":{},\"c\":{\"hca_handles\":3}},"
             "\"unified\":{\"memory.high\":\"1\"}}"));
  CHECK(Patch(Wrap("{\"unified\":null}"), R"({"unified":{"memory.high":"a\"b\n"}})") ==
        Wrap("{\"unified\":{\"memory.high\":\"a\\\"b\\u000a\"}}"));
  CHECK(Patch(Wrap("{\"unified\":{\"cpu.max\":\"1\",\"memory.high\":\"2\"}}"),
              R"({"unified":{"cpu.max":"9"}})") ==
        Wrap("{\"unified\":{\"cpu.max\":\"9\",\"memory.high\":\"2\"}}"));
}

TEST_CASE("record: what is no record") {
  std::string whole = Wrap("{\"memory\":5}");
  for (size_t length = 0; length + 1 < whole.size(); ++length) {
    auto out = lc::RuncRecord::Parse(whole.substr(0, length), "/p");
    REQUIRE_FALSE(out.ok());
    CHECK(std::string(out.error().code) == "ERR_STATE_CORRUPT");
    CHECK(out.error().path == "/p");
  }
  for (const char* text :
       {"null", "[]", "{}", "{\"config\":1}", "{\"config\":{}}", "{\"config\":{\"cgroups\":null}}",
        "{\"config\":{\"cgroups\":[]}}", "{\"config\":{\"cgroups\":{}},\"config\":1}",
        "{\"config\":{\"cgroups\":{},\"cgroups\":null}}", "{\"config\":{\"cgroups\":{}}} x",
        "{\"config\":{\"cgroups\":{\"a\":01}}}", "{\"config\":{\"cgroups\":{,}}}",
        "{\"config\":{\"cgroups\":{\"a\":nul}}}", "{\"config\":{\"cgroups\":{\"a\":\"\\x\"}}}"}) {
    CHECK_FALSE(lc::RuncRecord::Parse(text, "/p").ok());
  }
  std::string deep(300'000, '[');
  CHECK_FALSE(lc::IsJson(deep));
  CHECK(lc::IsJson(deep + std::string(300'000, ']')));
}
