// Whom the OOM killer ended, as the kernel's log names them: the one place that tells it of a process and not
// of a cgroup.
#include "shim/oom_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace lc::shim {
namespace {

// PROC_PID_INIT_INO: the log has the pids of the first namespace.
constexpr std::string_view kFirstNamespace = "pid:[4026531836]";

// Why a process was killed, as the kernel words it. No other line that begins with a name of somebody's
// choice can look like it: the name of a task has 15 bytes at most, and paths begin with '/'.
constexpr std::string_view kReasons[] = {
    "Memory cgroup out of memory: ",
    "Out of memory: ",
    "Out of memory (oom_kill_allocating_task): ",
};
constexpr std::string_view kKilled = "Killed process ";
constexpr std::string_view kFigures = "total-vm:";

}  // namespace

void OomLog::Open() {
  char link[64];
  ssize_t size = readlink("/proc/self/ns/pid", link, sizeof(link));
  if (size < 0 || std::string_view(link, static_cast<size_t>(size)) != kFirstNamespace) return;
  UniqueFd fd(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (fd && lseek(fd.get(), 0, SEEK_END) == 0) fd_ = std::move(fd);
}

bool OomLog::Read(const std::function<void(pid_t)>& on_kill) {
  bool whole = true;
  char record[8192];
  for (;;) {
    ssize_t size = read(fd_.get(), record, sizeof(record));
    if (size > 0) {
      if (auto victim = OomVictim({record, static_cast<size_t>(size)})) on_kill(*victim);
    } else if (size < 0 && errno == EPIPE) {
      whole = false;  // the next read has the oldest that is left
    } else if (size == 0 || errno != EINTR) {
      return whole && (size == 0 || errno == EAGAIN);
    }
  }
}

std::optional<pid_t> OomVictim(std::string_view record) {
  // "priority and facility,sequence,microseconds,flags;text"
  constexpr unsigned kFacility = ~7U;
  unsigned prefix = 0;
  const char* end = record.data() + record.size();
  auto [comma, bad] = std::from_chars(record.data(), end, prefix);
  if (bad != std::errc() || comma == end || *comma != ',' || (prefix & kFacility) != 0) return std::nullopt;
  size_t text = record.find(';');
  if (text == std::string_view::npos) return std::nullopt;
  record.remove_prefix(text + 1);
  // At the beginning of the text, since what comes later holds names that programs and containers choose. The
  // formats of mm/oom_kill.c:
  //   Linux 5.3:  "Memory cgroup out of memory: Killed process 4711 (name) total-vm:4kB, ..."
  //   before:     "Killed process 4711 (name) total-vm:4kB, ..."
  // ("Kill process 4711 (name) score 5 or sacrifice child" came before the latter and may name another one.)
  for (std::string_view reason : kReasons) {
    if (!record.starts_with(reason)) continue;
    record.remove_prefix(reason.size());
    break;
  }
  if (!record.starts_with(kKilled)) return std::nullopt;
  record.remove_prefix(kKilled.size());
  pid_t pid = 0;
  auto [rest, failure] = std::from_chars(record.data(), end, pid);
  if (failure != std::errc() || pid <= 0) return std::nullopt;
  record.remove_prefix(static_cast<size_t>(rest - record.data()));
  if (!record.starts_with(" (") || record.find(kFigures) == std::string_view::npos) return std::nullopt;
  return pid;
}

}  // namespace lc::shim
