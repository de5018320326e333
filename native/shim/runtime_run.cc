// One run of the OCI runtime binary, and what came of it.
#include "shim/runtime_run.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#include "core/files.h"
#include "core/json.h"

extern char** environ;

namespace lc::shim {
namespace {

constexpr size_t kMaxLog = 64U << 10U;
constexpr uint64_t kEverything = UINT64_MAX;  // of capabilities

std::string Tail(std::string text) {
  if (text.size() > kMaxLog) text.erase(0, text.size() - kMaxLog);
  return text;
}

// The message of the last line of level error or fatal of a JSON log (runc and crun write the same keys).
std::string LastError(const std::string& log) {
  std::string found;
  size_t at = 0;
  while (at < log.size()) {
    size_t end = log.find('\n', at);
    if (end == std::string::npos) end = log.size();
    JsonDocument line;
    if (ParseJson(std::string_view(log).substr(at, end - at), &line) && line.IsObject()) {
      auto level = StringMember(line, "level");
      auto message = StringMember(line, "msg");
      if (message && level && (*level == "error" || *level == "fatal")) found = *message;
    }
    at = end + 1;
  }
  return found;
}

}  // namespace

Result<RuntimeRun> RuntimeRun::Start(const std::string& runtime, const std::vector<std::string>& args,
                                     std::string name, std::string log_path, const int fds[3],
                                     nsexec::Bounding* bounding) {
  RuntimeRun run;
  run.name = std::move(name);
  run.log_path = std::move(log_path);
  unlink(run.log_path.c_str());
  UniqueFd null_device;
  if (fds[0] < 0) {
    null_device.Reset(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null_device) return Error::Sys("open", "/dev/null");
  }
  if (fds[1] < 0 || fds[2] < 0) {
    run.output.Reset(memfd_create("runtime-output", MFD_CLOEXEC));
    if (!run.output) return Error::Sys("memfd_create");
  }

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int i = 0; i < 3; ++i) {
    int fd = fds[i] >= 0 ? fds[i] : i == 0 ? null_device.get() : run.output.get();
    posix_spawn_file_actions_adddup2(&actions, fd, i);
  }
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(
      &attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID));
  std::vector<char*> argv;
  argv.push_back(const_cast<char*>(runtime.c_str()));
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  int err = 0;
  bounding->Run(kEverything, [&] {
    err = posix_spawnp(&run.pid, runtime.c_str(), &actions, &attributes, argv.data(), environ);
  });
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (err != 0) {
    return Error::Of(err, "execve", runtime).With("ERR_RUNTIME", "the runtime cannot be executed");
  }
  return run;
}

void RuntimeRun::KillAll() const {
  // Its own session and so its own group; what left the group dies with the container.
  if (pid > 0) kill(-pid, SIGKILL);
  if (pid > 0) kill(pid, SIGKILL);
}

std::string RuntimeRun::Log() const {
  auto text = ReadFile(log_path);
  if (text && !text->empty()) return Tail(std::move(*text));
  if (output) {
    auto printed = RereadFd(output.get(), "output", kMaxFileBytes);
    if (printed) return Tail(std::move(*printed));
  }
  return {};
}

Error RuntimeRun::FailureOf(int wait_status, const std::string& log) const {
  std::string text = "the runtime's " + name;
  if (WIFSIGNALED(wait_status)) {
    text += " was killed by signal " + std::to_string(WTERMSIG(wait_status));
  } else {
    text += " exited with " + std::to_string(WEXITSTATUS(wait_status));
  }
  std::string said = LastError(log);
  if (said.empty()) said = std::string(TrimEnd(log.size() < 500 ? log : log.substr(log.size() - 500)));
  if (!said.empty()) text += ": " + said;
  return Error::Coded("ERR_RUNTIME", std::move(text));
}

}  // namespace lc::shim
