// How a process ended, and its files: exitStatus (containerd's, one number) and, where that is not all,
// exit.json.
#include "shim/exit_record.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <ctime>

#include "core/files.h"

namespace lc::shim {
namespace {

int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

ExitRecord ExitRecord::FromWait(int status) {
  ExitRecord exit;
  exit.exited_at_ms = NowMs();
  if (WIFSIGNALED(status)) {
    exit.signal = WTERMSIG(status);
    exit.exit_code = 128 + exit.signal;
  } else {
    exit.exit_code = WEXITSTATUS(status);
  }
  return exit;
}

ExitRecord ExitRecord::Unknown() {
  ExitRecord exit;
  exit.exited_at_ms = NowMs();
  exit.known = false;
  return exit;
}

void AddExit(Message* message, const ExitRecord& exit) {
  message->Add("exitCode", exit.exit_code)
      .Add("signal", exit.signal)
      .Add("exitedAtMs", exit.exited_at_ms)
      .Add("oomKilled", exit.oom_killed)
      .Add("known", exit.known);
  if (exit.timed_out) message->Add("timedOut", true);
  if (exit.oom_kills) message->Add("oomKills", *exit.oom_kills);
  if (exit.container_oom_kills) message->Add("containerOomKills", *exit.container_oom_kills);
}

Status WriteExit(const std::string& process_directory, const ExitRecord& exit) {
  const bool kills = exit.oom_kills.value_or(0) > 0 || exit.container_oom_kills.value_or(0) > 0;
  if (exit.signal != 0 || exit.oom_killed || !exit.known || exit.timed_out || kills) {
    Message message;
    AddExit(&message, exit);
    auto status = WriteWholeAt(AT_FDCWD, process_directory + "/exit.json", message.Done());
    if (!status) return status;
  }
  timespec at{exit.exited_at_ms / 1000, exit.exited_at_ms % 1000 * 1'000'000};
  return WriteWholeAt(AT_FDCWD, process_directory + "/exitStatus", std::to_string(exit.exit_code), 0600, &at);
}

Result<std::optional<ExitRecord>> ReadExit(const std::string& process_directory) {
  auto number = ReadFile(process_directory + "/exitStatus", 64);
  if (!number && IsShortage(number.error())) return number.error();
  if (!number) return std::optional<ExitRecord>();
  auto code = ParseU64(TrimEnd(*number));
  ExitRecord exit;
  exit.exit_code = code && *code <= 255 ? static_cast<int>(*code) : 255;
  exit.known = code.has_value();
  struct stat st {};
  if (stat((process_directory + "/exitStatus").c_str(), &st) == 0) {
    exit.exited_at_ms = int64_t{st.st_mtim.tv_sec} * 1000 + st.st_mtim.tv_nsec / 1'000'000;
  }
  auto text = ReadFile(process_directory + "/exit.json", 4096);
  if (!text && IsShortage(text.error())) return text.error();
  JsonDocument json;
  if (text && ParseJson(*text, &json)) {
    exit.signal = static_cast<int>(IntMember(json, "signal").value_or(0));
    exit.exited_at_ms = IntMember(json, "exitedAtMs").value_or(0);
    exit.oom_killed = BoolMember(json, "oomKilled").value_or(false);
    exit.known = exit.known && BoolMember(json, "known").value_or(true);
    exit.timed_out = BoolMember(json, "timedOut").value_or(false);
    exit.oom_kills = UintMember(json, "oomKills");
    exit.container_oom_kills = UintMember(json, "containerOomKills");
  }
  return std::optional(exit);
}

}  // namespace lc::shim
