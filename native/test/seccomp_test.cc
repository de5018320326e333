// Seccomp profiles: both ways of writing them down, what is made of them, and what the kernel then does.
#include <doctest/doctest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "oci/seccomp_json.h"
#include "seccomp/compile.h"
#include "seccomp/enosys_stub.h"
#include "seccomp/shrink.h"

namespace {

lc::Result<lc::SeccompProfile> Oci(const std::string& text) {
  lc::JsonDocument json;
  REQUIRE(lc::ParseJson(text, &json));
  return lc::ParseOciSeccomp(json, "/config.json");
}

lc::Result<lc::SeccompProfile> Runc(const std::string& text) {
  lc::JsonDocument json;
  REQUIRE(lc::ParseJson(text, &json));
  return lc::ParseRuncSeccomp(json, "/state.json");
}

std::vector<sock_filter> Program(const std::string& bytes) {
  std::vector<sock_filter> out(bytes.size() / sizeof(sock_filter));
  memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

// The kernel's answer to one call: classic BPF over seccomp_data, as far as filters use it.
uint32_t Decide(const std::vector<sock_filter>& program, const seccomp_data& data) {
  uint32_t a = 0;
  for (size_t at = 0; at < program.size(); ++at) {
    const sock_filter& op = program[at];
    bool taken = false;
    switch (op.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        memcpy(&a, reinterpret_cast<const char*>(&data) + op.k, 4);
        continue;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= op.k;
        continue;
      case BPF_RET | BPF_K:
        return op.k;
      case BPF_JMP | BPF_JA:
        at += op.k;
        continue;
      case BPF_JMP | BPF_JEQ | BPF_K:
        taken = a == op.k;
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        taken = a > op.k;
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        taken = a >= op.k;
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
        taken = (a & op.k) != 0;
        break;
      default:
        FAIL("unknown instruction");
    }
    at += taken ? op.jt : op.jf;
  }
  FAIL("fell off the end");
  return 0;
}

seccomp_data Call(int number, uint64_t first = 0, uint64_t second = 0, uint32_t arch = AUDIT_ARCH_X86_64) {
  seccomp_data data{};
  data.nr = number;
  data.arch = arch;
  data.args[0] = first;
  data.args[1] = second;
  return data;
}

}  // namespace

TEST_CASE("an OCI profile and runc's record of it are the same") {
  auto oci = Oci(R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
    "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],"flags":["SECCOMP_FILTER_FLAG_LOG"],
    "syscalls":[{"names":["read","write"],"action":"SCMP_ACT_ALLOW","args":[
      {"index":1,"value":18446744073709551615,"valueTwo":7,"op":"SCMP_CMP_MASKED_EQ"}]},
      {"names":["ptrace"],"action":"SCMP_ACT_TRACE","errnoRet":3}]})");
  auto runc = Runc(R"({"default_action":2,"default_errno_ret":38,"architectures":["amd64","x86","x32"],
    "flags":["SECCOMP_FILTER_FLAG_LOG"],"syscalls":[
      {"name":"read","action":4,"errnoRet":null,"args":[{"index":1,"value":18446744073709551615,"value_two":7,"op":7}]},
      {"name":"write","action":4,"args":[{"index":1,"value":18446744073709551615,"value_two":7,"op":7}]},
      {"name":"ptrace","action":5,"errnoRet":3,"args":[]}]})");
  REQUIRE(oci.ok());
  REQUIRE(runc.ok());
  for (const auto* profile : {&*oci, &*runc}) {
    CHECK(profile->default_action == lc::SeccompAction::kErrno);
    CHECK(profile->default_errno == 38);
    CHECK(profile->flags == 2);
    CHECK(profile->architectures == std::vector<std::string>{"x86_64", "x86", "x32"});
    REQUIRE(profile->rules.size() == 3);
    CHECK(profile->rules[1].syscall == "write");
    CHECK(profile->rules[1].conditions[0].value == UINT64_MAX);
    CHECK(profile->rules[1].conditions[0].value_two == 7);
    CHECK(profile->rules[1].conditions[0].compare == lc::SeccompCompare::kMaskedEqual);
    CHECK(profile->rules[2].action == lc::SeccompAction::kTrace);
    CHECK(profile->rules[2].errno_return == 3);
  }
  CHECK(*lc::seccomp::Compile(*oci, true) == *lc::seccomp::Compile(*runc, true));
}

TEST_CASE("what a profile says and is not known is refused, never passed over") {
  for (const char* text :
       {R"({})", R"({"defaultAction":"SCMP_ACT_DANCE"})", R"({"defaultAction":4})",
        R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["amd64"]})",
        R"({"defaultAction":"SCMP_ACT_ALLOW","flags":["SECCOMP_FILTER_FLAG_NEW"]})",
        R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_X"}]})",
        R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_KILL",
            "args":[{"index":0,"value":1,"op":"SCMP_CMP_ABOUT"}]}]})"}) {
    auto profile = Oci(text);
    REQUIRE_FALSE(profile.ok());
    CHECK(std::string(profile.error().code) == "ERR_UNSUPPORTED");
    CHECK(profile.error().path == "/config.json");
  }
  for (
      const char* text :
      {R"([])", R"({"default_action":1,"architectures":7})", R"({"default_action":1,"syscalls":7})",
       R"({"default_action":1,"syscalls":[{"action":4}]})", R"({"default_action":1,"default_errno_ret":-1})",
       R"({"default_action":1,"flags":1})",
       R"({"default_action":1,"syscalls":[{"name":"read","action":4,"args":[{"index":6,"value":1,"op":1}]}]})",
       R"({"default_action":1,"syscalls":[{"name":"read","action":4,"args":[{"index":0,"value":-1,"op":1}]}]})"}) {
    auto profile = Runc(text);
    REQUIRE_FALSE(profile.ok());
    CHECK(std::string(profile.error().code) == "ERR_STATE_CORRUPT");
  }
  auto listener = Oci(R"({"defaultAction":"SCMP_ACT_ALLOW",
    "syscalls":[{"names":["mount"],"action":"SCMP_ACT_NOTIFY"}]})");
  REQUIRE(listener.ok());
  auto compiled = lc::seccomp::Compile(*listener, true);
  REQUIRE_FALSE(compiled.ok());
  CHECK(std::string(compiled.error().code) == "ERR_UNSUPPORTED");
}

#if defined(__x86_64__)
TEST_CASE("every action and operator decides as it says") {
  auto profile = Oci(R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],"syscalls":[
    {"names":["getuid"],"action":"SCMP_ACT_KILL"},
    {"names":["getgid"],"action":"SCMP_ACT_KILL_THREAD"},
    {"names":["geteuid"],"action":"SCMP_ACT_KILL_PROCESS"},
    {"names":["getegid"],"action":"SCMP_ACT_TRAP"},
    {"names":["getpid"],"action":"SCMP_ACT_ERRNO"},
    {"names":["gettid"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
    {"names":["getppid"],"action":"SCMP_ACT_TRACE","errnoRet":5},
    {"names":["getpgrp"],"action":"SCMP_ACT_LOG"},
    {"names":["no_such_call"],"action":"SCMP_ACT_KILL"},
    {"names":["dup"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":10,"op":"SCMP_CMP_EQ"}]},
    {"names":["dup2"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":10,"op":"SCMP_CMP_NE"}]},
    {"names":["dup3"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":10,"op":"SCMP_CMP_GT"}]},
    {"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":10,"op":"SCMP_CMP_GE"}]},
    {"names":["write"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":10,"op":"SCMP_CMP_LT"}]},
    {"names":["lseek"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":10,"op":"SCMP_CMP_LE"}]},
    {"names":["clone"],"action":"SCMP_ACT_ERRNO",
      "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
    {"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},
      {"index":1,"value":9223372036854775808,"op":"SCMP_CMP_GE"}]},
    {"names":["tkill"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"},
      {"index":0,"value":2,"op":"SCMP_CMP_EQ"}]}]})");
  REQUIRE(profile.ok());
  auto bytes = lc::seccomp::Compile(*profile, true);
  REQUIRE(bytes.ok());
  auto program = Program(*bytes);
  const uint32_t eperm = SECCOMP_RET_ERRNO | EPERM;
  CHECK(Decide(program, Call(SYS_getuid)) == SECCOMP_RET_KILL_THREAD);
  CHECK(Decide(program, Call(SYS_getgid)) == SECCOMP_RET_KILL_THREAD);
  CHECK(Decide(program, Call(SYS_geteuid)) == SECCOMP_RET_KILL_PROCESS);
  CHECK(Decide(program, Call(SYS_getegid)) == SECCOMP_RET_TRAP);
  CHECK(Decide(program, Call(SYS_getpid)) == eperm);
  CHECK(Decide(program, Call(SYS_gettid)) == (SECCOMP_RET_ERRNO | ENOSYS));
  CHECK(Decide(program, Call(SYS_getppid)) == (SECCOMP_RET_TRACE | 5));
  CHECK(Decide(program, Call(SYS_getpgrp)) == SECCOMP_RET_LOG);
  CHECK(Decide(program, Call(SYS_open)) == SECCOMP_RET_ALLOW);
  struct {
    int number;
    bool below;
    bool at;
    bool above;
  } cases[] = {{SYS_dup, false, true, false},   {SYS_dup2, true, false, true},
               {SYS_dup3, false, false, true},  {SYS_read, false, true, true},
               {SYS_write, true, false, false}, {SYS_lseek, true, true, false}};
  for (const auto& one : cases) {
    CHECK((Decide(program, Call(one.number, 9)) == eperm) == one.below);
    CHECK((Decide(program, Call(one.number, 10)) == eperm) == one.at);
    CHECK((Decide(program, Call(one.number, 11)) == eperm) == one.above);
  }
  CHECK(Decide(program, Call(SYS_clone, SIGCHLD)) == eperm);
  CHECK(Decide(program, Call(SYS_clone, 0x10000000)) == SECCOMP_RET_ALLOW);
  CHECK(Decide(program, Call(SYS_kill, 1, 1ULL << 63)) == eperm);
  CHECK(Decide(program, Call(SYS_kill, 1, 5)) == SECCOMP_RET_ALLOW);
  CHECK(Decide(program, Call(SYS_kill, 2, 1ULL << 63)) == SECCOMP_RET_ALLOW);
  CHECK(Decide(program, Call(SYS_tkill, 1)) == eperm);
  CHECK(Decide(program, Call(SYS_tkill, 2)) == eperm);
  CHECK(Decide(program, Call(SYS_tkill, 3)) == SECCOMP_RET_ALLOW);
  CHECK(Decide(program, Call(SYS_open, 0, 0, AUDIT_ARCH_I386)) == SECCOMP_RET_KILL_THREAD);
}

TEST_CASE("calls newer than the profile are ENOSYS, each architecture by its own numbers") {
  auto profile = Oci(R"({"defaultAction":"SCMP_ACT_ERRNO",
    "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32"],
    "syscalls":[{"names":["read","openat"],"action":"SCMP_ACT_ALLOW"}]})");
  auto with = Program(*lc::seccomp::Compile(*profile, true));
  auto without = Program(*lc::seccomp::Compile(*profile, false));
  const uint32_t enosys = SECCOMP_RET_ERRNO | ENOSYS;
  const uint32_t eperm = SECCOMP_RET_ERRNO | EPERM;
  constexpr int kX32 = 0x40000000;
  CHECK(SYS_openat == 257);
  CHECK(Decide(with, Call(257)) == SECCOMP_RET_ALLOW);
  CHECK(Decide(with, Call(256)) == eperm);
  CHECK(Decide(with, Call(258)) == enosys);
  CHECK(Decide(without, Call(258)) == eperm);
  CHECK(Decide(with, Call(kX32 | 257)) == SECCOMP_RET_ALLOW);
  CHECK(Decide(with, Call(kX32 | 258)) == enosys);
  CHECK(Decide(with, Call(295, 0, 0, AUDIT_ARCH_I386)) == SECCOMP_RET_ALLOW);
  CHECK(Decide(with, Call(258, 0, 0, AUDIT_ARCH_I386)) == eperm);
  CHECK(Decide(with, Call(296, 0, 0, AUDIT_ARCH_I386)) == enosys);
  CHECK(Decide(with, Call(1, 0, 0, AUDIT_ARCH_ARM)) == SECCOMP_RET_KILL_THREAD);
  // One mode alone leaves the other to the filter.
  auto native = Oci(R"({"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64"],
    "syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]})");
  auto alone = Program(*lc::seccomp::Compile(*native, true));
  CHECK(Decide(alone, Call(0)) == SECCOMP_RET_ALLOW);
  auto x32_alone = lc::seccomp::EnosysStub({{AUDIT_ARCH_X86_64, std::nullopt, 5}, {AUDIT_ARCH_S390X, 9, {}}});
  x32_alone.push_back({BPF_RET | BPF_K, 0, 0, 77});
  CHECK(Decide(x32_alone, Call(400)) == 77);
  CHECK(Decide(x32_alone, Call(kX32 | 5)) == 77);
  CHECK(Decide(x32_alone, Call(kX32 | 6)) == enosys);
  CHECK(Decide(x32_alone, Call(0, 0, 0, AUDIT_ARCH_S390X)) == enosys);
  CHECK(Decide(x32_alone, Call(9, 0, 0, AUDIT_ARCH_S390X)) == 77);
  CHECK(Decide(x32_alone, Call(10, 0, 0, AUDIT_ARCH_S390X)) == enosys);
  // A permissive default needs no softening.
  auto open = Oci(R"({"defaultAction":"SCMP_ACT_LOG","architectures":["SCMP_ARCH_X86_64"],
    "syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO"}]})");
  CHECK(Decide(Program(*lc::seccomp::Compile(*open, true)), Call(400)) == SECCOMP_RET_LOG);
}
#endif

TEST_CASE("the kernel takes what was compiled") {
  auto profile = Oci(R"({"defaultAction":"SCMP_ACT_ALLOW",
    "syscalls":[{"names":["getppid"],"action":"SCMP_ACT_ERRNO","errnoRet":71}]})");
  auto bytes = lc::seccomp::Compile(*profile, true);
  REQUIRE(bytes.ok());
  pid_t pid = fork();
  if (pid == 0) {
    sock_fprog program{static_cast<unsigned short>(bytes->size() / sizeof(sock_filter)),
                       reinterpret_cast<sock_filter*>(bytes->data())};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) _exit(1);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) _exit(2);
    _exit(syscall(SYS_getppid) == -1 && errno == 71 ? 0 : 3);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  CHECK(status == 0);
}

namespace {

// As libseccomp and others write them: loads, comparisons forward, answers.
std::vector<sock_filter> RandomProgram(std::mt19937* random) {
  auto below = [&](uint32_t bound) { return static_cast<uint32_t>((*random)() % bound); };
  constexpr uint32_t kLoads[] = {offsetof(seccomp_data, nr), offsetof(seccomp_data, arch),
                                 offsetof(seccomp_data, nr), offsetof(seccomp_data, args),
                                 offsetof(seccomp_data, args) + 8};
  constexpr uint32_t kValues[] = {0, 1, 5, 6, 7, 100, 0x40000000, 0x40000001, 0xc000003e, 0xffffffff};
  constexpr uint16_t kTests[] = {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET};
  size_t size = 20 + below(400);
  std::vector<sock_filter> out{{BPF_LD | BPF_W | BPF_ABS, 0, 0, kLoads[below(2)]}};
  while (out.size() < size) {
    auto left = static_cast<uint32_t>(size - out.size());
    uint32_t kind = below(10);
    if (kind < 2) {
      out.push_back({BPF_LD | BPF_W | BPF_ABS, 0, 0, kLoads[below(5)]});
    } else if (kind == 2) {
      out.push_back({BPF_JMP | BPF_JA, 0, 0, below(left)});
    } else if (kind == 3) {
      out.push_back({BPF_RET | BPF_K, 0, 0, kValues[below(4)]});
    } else {
      uint16_t test = kTests[below(kind == 4 ? 4 : 3)];
      uint32_t value = test == BPF_JSET ? 0x40000000 : kValues[below(10)] + below(2);
      auto jump = [&] { return static_cast<uint8_t>(below(std::min(left, 256U))); };
      uint8_t jt = jump();
      out.push_back({static_cast<uint16_t>(BPF_JMP | test | BPF_K), jt, jump(), value});
    }
  }
  out.push_back({BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW});
  return out;
}

std::string Bytes(const std::vector<sock_filter>& program) {
  return {reinterpret_cast<const char*>(program.data()), program.size() * sizeof(sock_filter)};
}

}  // namespace

TEST_CASE("a shrunk filter answers as it did") {
  std::mt19937 random(1);  // NOLINT(bugprone-random-generator-seed): the same programs each time
  constexpr uint32_t kNumbers[] = {0,          1,          2,          5,          6,          7,
                                   8,          99,         100,        101,        0x3fffffff, 0x40000000,
                                   0x40000001, 0x40000002, 0x7fffffff, 0x80000000, 0xc000003e, 0xffffffff};
  size_t shorter = 0;
  for (int i = 0; i < 2000; ++i) {
    std::vector<sock_filter> before = RandomProgram(&random);
    std::vector<sock_filter> after = Program(lc::seccomp::Shrink(Bytes(before)));
    CHECK(after.size() <= before.size());
    if (after.size() < before.size()) ++shorter;
    for (uint32_t arch : std::vector<uint32_t>{0, 5, AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, UINT32_MAX}) {
      for (uint32_t number : kNumbers) {
        for (uint64_t argument : {0UL, 6UL, 0x4000000000000007UL}) {
          seccomp_data call = Call(static_cast<int>(number), argument, argument >> 1U, arch);
          if (Decide(after, call) != Decide(before, call)) FAIL("program " << i << ", call " << number);
        }
      }
    }
  }
  CHECK(shorter > 1500);
}

TEST_CASE("what is no filter that is understood stays as it is") {
  for (const std::string& bytes :
       {std::string(), std::string("seven b"), std::string(80, '\0'),
        Bytes({{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0}, {BPF_JMP | BPF_JA, 0, 0, 7}}),
        Bytes({{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},
               {BPF_ALU | BPF_AND | BPF_K, 0, 0, 1},
               {BPF_RET | BPF_K, 0, 0, 0}}),
        Bytes({{BPF_LD | BPF_W | BPF_ABS, 0, 0, 16}, {BPF_JMP | BPF_JEQ | BPF_K, 200, 0, 1}})}) {
    CHECK(lc::seccomp::Shrink(bytes) == bytes);
  }
}
