// The container's seccomp filter as the kernel takes it: made once, applied to every exec.
#include "shim/seccomp_filter.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <ctime>

#include "core/files.h"
#include "core/json.h"
#include "oci/seccomp_json.h"
#include "seccomp/compile.h"
#include "seccomp/shrink.h"

namespace lc::shim {
namespace {

constexpr int kCompileMs = 10'000;
constexpr size_t kMaxInstructions = 32768;  // the kernel takes that many for a whole stack of filters

// A child's answer: this, then the program or, after an error, its text.
struct Answer {
  uint32_t flags = 0;
  int32_t err = 0;
  char code[32] = {};  // empty: the program follows
  char call[32] = {};
};

Result<SeccompProfile> LoadProfile(const RuntimeRecord& record) {
  bool runc = record.kind == RuntimeRecord::Kind::kRunc;
  std::string path = record.directory + (runc ? "/state.json" : "/config.json");
  auto text = ReadFile(path);
  if (!text) return text.error();
  JsonDocument json;
  const JsonValue* parent =
      ParseForeignJson(*text, &json) ? Member(json, runc ? "config" : "linux") : nullptr;
  const JsonValue* seccomp = parent == nullptr ? nullptr : Member(*parent, "seccomp");
  if (seccomp == nullptr) return Error::Coded("ERR_STATE_CORRUPT", "no seccomp profile where one was", path);
  return runc ? ParseRuncSeccomp(*seccomp, path) : ParseOciSeccomp(*seccomp, path);
}

Result<SeccompFilter> MakeFilter(const RuntimeRecord& record) {
  auto profile = LoadProfile(record);
  if (!profile) return profile.error();
  SeccompFilter filter;
  filter.flags = profile->flags;
  bool crun = record.kind == RuntimeRecord::Kind::kCrun;
  if (crun && !profile->has_flags) filter.flags = SECCOMP_FILTER_FLAG_SPEC_ALLOW;  // its own choice
  if (crun && !seccomp::WantsListener(*profile)) {
    auto compiled = ReadFile(record.directory + "/seccomp.bpf");
    if (compiled) {
      filter.program = std::move(*compiled);
      return filter;
    }
    if (compiled.error().err != ENOENT) return compiled.error();
  }
  auto program = seccomp::Compile(*profile, !crun);
  if (!program) return program.error();
  filter.program = std::move(*program);
  return filter;
}

[[noreturn]] void RunCompiler(const RuntimeRecord& record, int out) {
  auto filter = MakeFilter(record);
  Answer answer;
  std::string bytes(sizeof(answer), '\0');
  if (filter) {
    answer.flags = filter->flags;
    bytes += seccomp::Shrink(filter->program);
  } else {
    const Error& error = filter.error();
    strncpy(answer.code, error.code != nullptr ? error.code : "ERR_SYSCALL", sizeof(answer.code) - 1);
    strncpy(answer.call, error.call.c_str(), sizeof(answer.call) - 1);
    answer.err = error.err;
    bytes += error.text.empty() ? error.path : error.text;
  }
  memcpy(bytes.data(), &answer, sizeof(answer));
  (void)WriteAll(out, bytes, "pipe");
  _exit(0);
}

int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

// What the child wrote, to the end of file; short when it took too long.
std::string ReadAnswer(int fd) {
  std::string out;
  int64_t deadline = NowMs() + kCompileMs;
  std::array<char, 16384> chunk;
  while (out.size() <= sizeof(Answer) + kMaxInstructions * sizeof(sock_filter)) {
    int64_t left = deadline - NowMs();
    pollfd ready{fd, POLLIN, 0};
    if (left <= 0 || poll(&ready, 1, static_cast<int>(left)) <= 0) return {};
    ssize_t n = read(fd, chunk.data(), chunk.size());
    if (n == 0) return out;
    if (n < 0) return {};
    out.append(chunk.data(), static_cast<size_t>(n));
  }
  return {};
}

// The code's static string: Error keeps no copy.
const char* KnownCode(const char* code) {
  for (const char* known : {"ERR_UNSUPPORTED", "ERR_STATE_CORRUPT"}) {
    if (strcmp(code, known) == 0) return known;
  }
  return nullptr;
}

}  // namespace

Result<SeccompFilter> LoadSeccompFilter(const RuntimeRecord& record) {
  int pipe[2];
  if (pipe2(pipe, O_CLOEXEC) != 0) return Error::Sys("pipe2");
  UniqueFd in(pipe[0]);
  UniqueFd out(pipe[1]);
  pid_t pid = fork();
  if (pid < 0) return Error::Sys("fork");
  if (pid == 0) RunCompiler(record, out.get());
  out.Reset();
  std::string bytes = ReadAnswer(in.get());
  kill(pid, SIGKILL);  // ended, or not to be waited for
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  Answer answer;
  if (bytes.size() < sizeof(answer)) return Error::Of(ETIMEDOUT, "seccomp_export_bpf", record.directory);
  memcpy(&answer, bytes.data(), sizeof(answer));
  std::string rest = bytes.substr(sizeof(answer));
  if (const char* code = KnownCode(answer.code)) return Error::Coded(code, std::move(rest), record.directory);
  if (answer.code[0] != '\0') return Error::Of(answer.err, answer.call, std::move(rest));
  if (rest.empty() || rest.size() % sizeof(sock_filter) != 0) {
    return Error::Coded("ERR_STATE_CORRUPT", "no whole number of filter instructions", record.directory);
  }
  return SeccompFilter{std::move(rest), answer.flags};
}

}  // namespace lc::shim
