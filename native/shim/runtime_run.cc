// One run of the OCI runtime binary, and what came of it.
#include "shim/runtime_run.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>

#include "core/files.h"
#include "core/json.h"
#include "core/process_identity.h"
#include "nsexec/child_memory.h"

extern char** environ;

namespace lc::shim {
namespace {

constexpr size_t kMaxLog = 64U << 10U;
constexpr uint64_t kEverything = UINT64_MAX;  // of capabilities

std::string Tail(std::string text) {
  if (text.size() > kMaxLog) text.erase(0, text.size() - kMaxLog);
  return text;
}

// What execve(2) is to be tried with: the path, or the name in each directory of PATH.
std::vector<std::string> Candidates(const std::string& runtime) {
  if (runtime.find('/') != std::string::npos) return {runtime};
  std::vector<std::string> out;
  const char* path = getenv("PATH");
  std::string_view rest = path != nullptr ? path : "/usr/local/bin:/bin:/usr/bin";
  for (;;) {
    size_t colon = rest.find(':');
    // Any other entry counts from the working directory, which here is a state directory.
    if (rest.starts_with('/')) out.push_back(std::string(rest.substr(0, colon)) + "/" + runtime);
    if (colon == std::string_view::npos) return out;
    rest.remove_prefix(colon + 1);
  }
}

// All that the child reads is a copy in a block of memory of its own: see ChildMemory.
struct Child {
  int fds[3];
  mode_t umask;
  int channel;
  int other_end;
  char** files;
  char** argv;
  char** environment;
};

// A null pointer ends it.
char** PutWords(nsexec::Block* block, const std::vector<std::string_view>& words) {
  std::vector<char*> pointers;
  for (std::string_view word : words) pointers.push_back(block->Put(word));
  pointers.push_back(nullptr);
  return block->Put(std::span<char* const>(pointers));
}

// System calls only.
int RunChild(void* argument) {
  const Child& child = *static_cast<Child*>(argument);
  setsid();
  umask(child.umask);
  for (int i = 0; i < 3; ++i) dup2(child.fds[i], i);
  uint64_t none = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof(none));
  close(child.other_end);
  char go = 0;
  // The shim that ends before it has recorded this run closes the channel.
  if (recv(child.channel, &go, 1, 0) != 1) _exit(1);
  int err = ENOENT;
  for (char** file = child.files; *file != nullptr; ++file) {
    execve(*file, child.argv, child.environment);
    if (errno == EACCES) err = EACCES;
    // As execvp(3) has it: what is not there, or may not be executed, is looked for further on.
    if (errno == ENOENT || errno == ENOTDIR || errno == EACCES || errno == ELOOP || errno == ENAMETOOLONG)
      continue;
    err = errno;
    break;
  }
  (void)send(child.channel, &err, sizeof(err), MSG_NOSIGNAL);
  _exit(127);
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

Result<RuntimeRun> RuntimeRun::Start(const RuntimeCommand& command, nsexec::Bounding* bounding) {
  RuntimeRun run;
  run.name = command.name;
  run.log_path = command.log_path;
  // Made here, since the runtime would make it with whatever mode the umask leaves.
  unlink(run.log_path.c_str());
  UniqueFd(open(run.log_path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)).Reset();
  if (command.fds[1] < 0 || command.fds[2] < 0) {
    run.output.Reset(memfd_create("runtime-output", MFD_CLOEXEC));
    if (!run.output) return Error::Sys("memfd_create");
  }
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return Error::Sys("socketpair");
  UniqueFd near(pair[0]);
  UniqueFd far(pair[1]);
  const std::vector<std::string> files = Candidates(command.runtime);
  const std::vector<std::string_view> found(files.begin(), files.end());
  std::vector<std::string_view> words = {command.runtime};
  words.insert(words.end(), command.args.begin(), command.args.end());
  std::vector<std::string_view> environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
    environment.emplace_back(*entry);
  Child child{};
  for (int i = 0; i < 3; ++i) {
    child.fds[i] = command.fds[i] >= 0 ? command.fds[i] : i == 0 ? command.null_device : run.output.get();
  }
  child.umask = command.umask;
  child.channel = far.get();
  child.other_end = near.get();
  auto lay_out = [&](nsexec::Block block) {
    child.files = PutWords(&block, found);
    child.argv = PutWords(&block, words);
    child.environment = PutWords(&block, environment);
    Child* laid = block.Put(std::span<const Child>(&child, 1));
    return std::pair(laid, block.used());
  };
  nsexec::ChildMemory memory;
  auto reserved = memory.Reserve(lay_out(nsexec::Block()).second);
  if (!reserved) return reserved.error();
  Child* laid = lay_out(nsexec::Block(memory.block())).first;
  int fork_error = 0;
  bounding->Run(kEverything, [&] {
    run.pid = memory.Fork(RunChild, laid, -1);
    if (run.pid < 0) fork_error = errno;
  });
  if (fork_error != 0) return Error::Of(fork_error, "clone", command.runtime);
  far.Reset();
  // Until it is told to go on it has done nothing, and it ends with the channel.
  auto stat = ReadProcStat(run.pid);
  if (!stat) return stat.error();
  auto written =
      WriteWholeAt(AT_FDCWD, command.record, std::to_string(run.pid) + " " + std::to_string(stat->start));
  if (!written && command.name != "delete") return written.error();
  char go = 1;
  // One that is not told is not waited for: it ends with the channel.
  if (send(near.get(), &go, 1, MSG_NOSIGNAL) != 1 && errno != EPIPE) {
    Error error = Error::Sys("send");
    unlink(command.record.c_str());
    return error;
  }
  int err = 0;
  ssize_t told = -1;
  do {
    told = recv(near.get(), &err, sizeof(err), 0);
  } while (told < 0 && errno == EINTR);
  if (told == sizeof(err)) {
    unlink(command.record.c_str());
    return Error::Of(err, "execve", command.runtime).With("ERR_RUNTIME", "the runtime cannot be executed");
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
