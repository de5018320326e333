// The runtimes' records and the OCI process: what is taken over, and what is refused.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <string>

#include "core/json.h"
#include "oci/process_json.h"
#include "state/runtime_record.h"

namespace {

constexpr const char* kRuncState = R"({
  "id": "web", "init_process_pid": 4711, "init_process_start": 18446744073709551615, "rootless": false,
  "config": {
    "namespaces": [{"type": "NEWPID", "path": ""}, {"type": "NEWNS", "path": ""}, {"type": "NEWNET", "path": "/x"}],
    "seccomp": null, "umask": 18, "oom_score_adj": -5, "no_new_keyring": true,
    "cgroups": {"Systemd": true}, "mount_label": "label", "personality": {"domain": 8}
  },
  "cgroup_paths": {"": "/sys/fs/cgroup/unified/web", "memory": "/sys/fs/cgroup/memory/a/web", "cpu": ""},
  "key of a later version": 1
})";

lc::Result<lc::OciProcess> Parse(const std::string& text) {
  lc::JsonDocument json;
  REQUIRE(lc::ParseJson(text, &json));
  return lc::ParseOciProcess(json);
}

// All but args and `typed` from a config.json.
lc::Result<lc::OciProcess> ParseInherited(const std::string& text, std::vector<std::string> typed = {},
                                          bool crun = false) {
  lc::JsonDocument json;
  REQUIRE(lc::ParseJson(text, &json));
  return lc::ParseOciProcess(json, {.all = false, .names = std::move(typed), .crun = crun});
}

}  // namespace

TEST_CASE("runc's state.json") {
  auto record = lc::ParseRuncState(kRuncState, "state.json");
  REQUIRE(record.ok());
  CHECK(record->init_pid == 4711);
  CHECK(record->init_start == UINT64_MAX);
  CHECK(record->namespaces == std::vector<std::string>{"pid", "mount", "network"});
  CHECK(record->cgroups.unified == "/sys/fs/cgroup/unified/web");
  REQUIRE(record->cgroups.v1.size() == 1);
  CHECK(*record->cgroups.Find("memory") == "/sys/fs/cgroup/memory/a/web");
  CHECK(record->cgroups.Find("cpu") == nullptr);
  CHECK_FALSE(record->has_seccomp);
  CHECK(record->no_new_keyring);
  CHECK(record->systemd_cgroup);
  CHECK(record->umask == 18U);
  CHECK(record->oom_score_adj == -5);
  CHECK(record->personality == 8U);
}

TEST_CASE("a record that is garbled says so with its path") {
  std::string whole = kRuncState;
  for (const std::string& bad :
       {std::string(), std::string("null"), std::string("[]"), std::string("{}"),
        whole.substr(0, whole.size() / 2), std::string(100000, '['),
        std::string(R"({"init_process_pid": -1, "init_process_start": 1, "config": {}})"),
        std::string(R"({"init_process_pid": 1, "init_process_start": "1", "config": {}})"),
        std::string(R"({"init_process_pid": 1, "init_process_start": 1, "config": []})"),
        std::string(R"({"init_process_pid": 1, "init_process_start": 1,
                                                 "config": {"namespaces": [{"type": "NEWTHING"}]}})")}) {
    auto record = lc::ParseRuncState(bad, "/run/runc/web/state.json");
    REQUIRE_FALSE(record.ok());
    CHECK(std::string(record.error().code) == "ERR_STATE_CORRUPT");
    CHECK(record.error().path == "/run/runc/web/state.json");
  }
}

TEST_CASE("crun's status and saved config") {
  auto record = lc::ParseCrunStatus(
      R"({"pid": 12, "process-start-time": 99, "cgroup-path": "/web", "systemd-cgroup": false})",
      R"({"process": {"oomScoreAdj": 7, "user": {"umask": 63}},
          "linux": {"namespaces": [{"type": "pid"}, {"type": "user"}], "seccomp": {"defaultAction": "x"}}})",
      "status");
  REQUIRE(record.ok());
  CHECK(record->init_pid == 12);
  CHECK(record->init_start == 99);
  CHECK(record->cgroup_path == "/web");
  CHECK(record->namespaces == std::vector<std::string>{"pid", "user"});
  CHECK(record->has_seccomp);
  CHECK(record->oom_score_adj == 7);
  CHECK(record->umask == 63U);
  CHECK_FALSE(lc::ParseCrunStatus("{}", "{}", "status").ok());
  CHECK_FALSE(lc::ParseCrunStatus(R"({"pid": 1})", "", "status").ok());
}

TEST_CASE("where a runtime keeps its records") {
  using V = std::vector<std::string>;
  CHECK(lc::RuntimeRoots("runc", {"--root=/x"}) == V{"/x"});
  CHECK(lc::RuntimeRoots("runc", {"--root", "/x"}) == V{"/x"});
  CHECK(lc::RuntimeRoots("runc", {"-root", "/x", "--debug"}) == V{"/x"});
  CHECK(lc::RuntimeRoots("runc", {"--root=/x", "--root=/y"}) == V{"/y"});
  CHECK(lc::RuntimeRoots("runc", {"--rootless=true"}).front() == "/run/runc");
  CHECK(lc::RuntimeRoots("/usr/bin/crun", {}).front() == "/run/crun");
}

TEST_CASE("an OCI process") {
  auto process = Parse(R"({
    "args": ["/bin/true"], "env": ["A=1"], "cwd": "/tmp", "terminal": true,
    "consoleSize": {"height": 24, "width": 80},
    "user": {"uid": 4294967294, "gid": 2, "umask": 18, "additionalGids": [3, 4]},
    "capabilities": {"bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"], "ambient": []},
    "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 18446744073709551615}],
    "noNewPrivileges": true, "oomScoreAdj": -1000, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "scheduler": {"policy": "SCHED_BATCH", "nice": 5}, "execCPUAffinity": {"initial": "0-1,3"}
  })");
  REQUIRE(process.ok());
  CHECK(process->uid == 4294967294U);
  CHECK(process->groups == std::vector<gid_t>{3, 4});
  CHECK(process->capabilities.bounding == ((uint64_t{1} << 40U) | 1U));
  CHECK(process->rlimits[0].resource == RLIMIT_NOFILE);
  CHECK(process->rlimits[0].hard == UINT64_MAX);
  CHECK(process->io_priority == ((2 << 13) | 4));
  CHECK(process->rows == 24);
  CHECK(process->no_new_privileges);
}

TEST_CASE("what no OCI process may hold is refused by its name") {
  struct Bad {
    const char* json;
    const char* field;
  };
  for (const Bad& bad : {
           Bad{R"({})", "args"},
           Bad{R"({"args": []})", "args"},
           Bad{R"({"args": [""]})", "args"},
           Bad{R"({"args": ["a\u0000b"]})", "args"},
           Bad{R"({"args": ["a"], "env": ["X"]})", "env"},
           Bad{R"({"args": ["a"], "cwd": "tmp"})", "cwd"},
           // A user that is no whole id must never end as root (CVE-2016-3697, CVE-2024-40635).
           Bad{R"({"args": ["a"], "user": {"uid": -1}})", "user.uid"},
           Bad{R"({"args": ["a"], "user": {"uid": 4294967295}})", "user.uid"},
           Bad{R"({"args": ["a"], "user": {"uid": 4294967296}})", "user.uid"},
           Bad{R"({"args": ["a"], "user": {"uid": "0"}})", "user.uid"},
           Bad{R"({"args": ["a"], "user": {"uid": 1.5}})", "user.uid"},
           Bad{R"({"args": ["a"], "user": {"gid": 4294967296}})", "user.gid"},
           Bad{R"({"args": ["a"], "user": {"additionalGids": [-5]}})", "user.additionalGids"},
           Bad{R"({"args": ["a"], "capabilities": {"effective": ["CAP_NOPE"]}})", "capabilities.effective"},
           Bad{R"({"args": ["a"], "rlimits": [{"type": "RLIMIT_X", "soft": 1, "hard": 1}]})", "rlimits"},
           Bad{R"({"args": ["a"], "rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]})", "rlimits"},
           Bad{R"({"args": ["a"], "oomScoreAdj": 1001})", "oomScoreAdj"},
           Bad{R"({"args": ["a"], "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}})",
               "ioPriority.priority"},
           Bad{R"({"args": ["a"], "execCPUAffinity": {"initial": "3-1"}})", "execCPUAffinity"},
           Bad{R"({"args": ["a"], "execCPUAffinity": "0"})", "execCPUAffinity"},
           Bad{R"({"args": ["a"], "execCPUAffinity": {"final": 0}})", "execCPUAffinity.final"},
           // What does not read as confinement must not read as none.
           Bad{R"({"args": ["a"], "noNewPrivileges": "true"})", "noNewPrivileges"},
           Bad{R"({"args": ["a"], "noNewPrivileges": 1})", "noNewPrivileges"},
           Bad{R"({"args": ["a"], "apparmorProfile": ["x"]})", "apparmorProfile"},
           Bad{R"({"args": ["a"], "apparmorProfile": "x\u0000"})", "apparmorProfile"},
           Bad{R"({"args": ["a"], "selinuxLabel": 7})", "selinuxLabel"},
           Bad{R"({"args": ["a"], "terminal": "yes"})", "terminal"},
           Bad{R"({"args": ["a"], "consoleSize": {"height": 65536, "width": 1}})", "consoleSize"},
           Bad{R"({"args": ["a"], "scheduler": []})", "scheduler"},
           Bad{R"({"args": ["a"], "scheduler": {"policy": "SCHED_OTHER", "nice": "5"}})", "scheduler.nice"},
           Bad{R"({"args": ["a"], "scheduler": {"policy": "SCHED_FIFO", "priority": -1}})",
               "scheduler.priority"},
           Bad{R"({"args": ["a"], "scheduler": {"policy": "SCHED_OTHER", "flags": "x"}})", "scheduler.flags"},
           Bad{R"({"args": ["a"], "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": "7"}})",
               "ioPriority.priority"},
           Bad{R"({"args": ["a"], "env": ["=1"]})", "env"},
       }) {
    CAPTURE(bad.json);
    auto process = Parse(bad.json);
    REQUIRE_FALSE(process.ok());
    CHECK(std::string(process.error().code) == "ERR_INVALID_ARG_VALUE");
    CHECK(process.error().path == bad.field);
    CHECK(process.error().text.rfind(std::string("spec.") + bad.field + " ", 0) == 0);
  }
}

TEST_CASE("CPU lists") {
  CHECK(*lc::ParseCpuList("0") == std::vector<int>{0});
  CHECK(*lc::ParseCpuList("0-2, 5") == std::vector<int>{0, 1, 2, 5});
  // Each processor once: what a list of the greatest length would make fits into no memory.
  std::string often = "0-8191";
  for (int i = 0; i < 100'000; ++i) often += ",0-8191";
  CHECK(lc::ParseCpuList(often)->size() == 8192);
  for (const char* bad : {"", ",", "1-", "-1", "a", "2-1", "0-99999999", "1;2"}) {
    CAPTURE(bad);
    CHECK_FALSE(lc::ParseCpuList(bad).ok());
  }
}

TEST_CASE("what a config.json carries is taken as the runtimes take it, what is typed is strict") {
  const std::string capabilities =
      R"({"args":["a"],"capabilities":{"bounding":["CAP_KILL","CAP_FUTURE","cap_chown"]}})";
  CHECK(ParseInherited(capabilities)->capabilities.bounding == 1U << 5);
  CHECK(ParseInherited(capabilities, {}, true)->capabilities.bounding == (1U << 5 | 1U));
  CHECK_FALSE(ParseInherited(capabilities, {"capabilities"}).ok());
  CHECK_FALSE(Parse(capabilities).ok());
  const std::string user = R"({"args":["a"],"user":{"uid":-1}})";
  CHECK(ParseInherited(user, {"user"}).error().text.find("config.json") == std::string::npos);
  CHECK(ParseInherited(user).error().text.find("; it comes from the container's config.json") !=
        std::string::npos);

  const std::string env = R"({"args":["a"],"env":["A=1","B=1","A","=x","","C","A=2","B=3"]})";
  CHECK(ParseInherited(env)->env == std::vector<std::string>{"B=1", "=x", "A=2", "B=3"});
  CHECK_FALSE(ParseInherited(env, {"env"}).ok());
  CHECK_FALSE(ParseInherited(R"({"args":["a"],"env":["A=\u0000"]})").ok());

  const std::string limits = R"({"args":["a"],"rlimits":[{"type":"RLIMIT_CORE","soft":1,"hard":2},
      {"type":"RLIMIT_CORE","soft":0,"hard":-1},{"type":"RLIMIT_FSIZE","soft":3,"hard":18446744073709551615}]})";
  auto inherited = ParseInherited(limits);
  REQUIRE(inherited.ok());
  REQUIRE(inherited->rlimits.size() == 2);
  CHECK(inherited->rlimits[0].soft == 0);
  CHECK(inherited->rlimits[0].hard == UINT64_MAX);
  CHECK(inherited->rlimits[1].hard == UINT64_MAX);
  CHECK_FALSE(ParseInherited(limits, {"rlimits"}).ok());
  CHECK_FALSE(
      ParseInherited(R"({"args":["a"],"rlimits":[{"type":"RLIMIT_FUTURE","soft":1,"hard":2}]})").ok());

  const std::string scheduling = R"({"args":["a"],"scheduler":{"policy":"SCHED_FUTURE"},
      "ioPriority":{"class":"IOPRIO_CLASS_FUTURE"},"execCPUAffinity":{"initial":"zz","final":"0"}})";
  auto ignored = ParseInherited(scheduling);
  REQUIRE(ignored.ok());
  CHECK_FALSE(ignored->scheduler.has_value());
  CHECK_FALSE(ignored->io_priority.has_value());
  CHECK(ignored->affinity_initial.empty());
  CHECK(ignored->affinity_final.empty());
  for (const char* name : {"scheduler", "ioPriority", "execCPUAffinity"})
    CHECK_FALSE(ParseInherited(scheduling, {name}).ok());

  const std::string rest = R"({"args":["a"],"cwd":"tmp","user":{"umask":4095}})";
  CHECK(ParseInherited(rest)->cwd == "/tmp");
  CHECK(ParseInherited(rest)->umask == 0777);
  CHECK_FALSE(ParseInherited(rest, {"cwd"}).ok());
  CHECK_FALSE(ParseInherited(rest, {"user"}).ok());
  // Nothing less confined: what is of the wrong type, and ids.
  CHECK_FALSE(ParseInherited(R"({"args":["a"],"noNewPrivileges":"yes"})").ok());
  CHECK_FALSE(ParseInherited(R"({"args":["a"],"user":{"uid":-1}})").ok());
}

TEST_CASE("a config.json with half a surrogate pair, or bytes that are no UTF-8") {
  for (const auto& [text, value] : std::vector<std::pair<std::string, std::string>>{
           {R"({"a":"x\ud800y"})", "x\xef\xbf\xbdy"},
           {R"({"a":"\udc00"})", "\xef\xbf\xbd"},
           {R"({"a":"\ud800\ud800"})", "\xef\xbf\xbd\xef\xbf\xbd"},
           {R"({"a":"\ud83d\ude00"})", "\xf0\x9f\x98\x80"},
           {R"({"a":"\\ud800"})", "\\ud800"},
           {"{\"a\":\"\xff\"}", "\xff"}}) {
    lc::JsonDocument json;
    REQUIRE(lc::ParseForeignJson(text, &json));
    CHECK(lc::StringMember(json, "a") == value);
  }
  for (const char* bad : {R"({"a":"\ud8"})", R"({"a":"\)", R"({"a":"\ud800)", "{", ""}) {
    lc::JsonDocument json;
    CHECK_FALSE(lc::ParseForeignJson(bad, &json));
  }
}
