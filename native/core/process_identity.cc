// Who a pid is: its start time tells a process from a later one that got the same number.
#include "core/process_identity.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <ctime>

#include "core/files.h"

namespace lc {

Result<ProcStat> ParseProcStat(std::string_view text) {
  Error garbled = Error::Of(EINVAL, "parse", "stat");
  size_t close = text.rfind(')');
  if (close == std::string_view::npos || close + 2 >= text.size()) return garbled;
  std::string_view rest = text.substr(close + 2);
  ProcStat out;
  // The state is field 3; the parent is field 4; threads are field 20; the start time is
  // field 22.
  for (int field = 3; field <= 22; ++field) {
    size_t space = rest.find(' ');
    std::string_view word = TrimEnd(rest.substr(0, space));
    if (word.empty()) return garbled;
    if (field == 3) {
      out.state = word[0];
    } else if (field == 4) {
      int parent = 0;
      auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), parent);
      if (error != std::errc() || end != word.data() + word.size()) return garbled;
      out.parent = parent;
    } else if (field == 20) {
      auto threads = ParseU64(word);
      if (!threads || *threads > INT32_MAX) return garbled;
      out.threads = static_cast<int>(*threads);
    } else if (field == 22) {
      auto start = ParseU64(word);
      if (!start) return garbled;
      out.start = *start;
      return out;
    }
    if (space == std::string_view::npos) return garbled;
    rest.remove_prefix(space + 1);
  }
  return garbled;
}

// The line is some 350 bytes, 22 fields of it count. -1 and errno.
static ssize_t ReadStatLine(pid_t pid, char* text, size_t size) {
  char path[32];
  snprintf(path, sizeof(path), "/proc/%d/stat", pid);
  UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  return fd ? read(fd.get(), text, size) : -1;
}

Result<ProcStat> ReadProcStat(pid_t pid) {
  char text[1024];
  ssize_t n = ReadStatLine(pid, text, sizeof(text));
  if (n < 0) return Error::Sys("open", "/proc/" + std::to_string(pid) + "/stat");
  return ParseProcStat(std::string_view(text, static_cast<size_t>(n)));
}

// Also between fork and execve, so without a word to the heap.
bool IsAlive(pid_t pid, uint64_t start) {
  if (pid <= 0) return false;
  char text[1024];
  ssize_t n = ReadStatLine(pid, text, sizeof(text));
  // Not to be seen now, for want of a descriptor or memory: then the number alone has to do.
  if (n < 0) return IsShortage(Error::Of(errno, "")) && kill(pid, 0) == 0;
  auto stat = ParseProcStat(std::string_view(text, static_cast<size_t>(n)));
  return stat.ok() && stat->alive() && stat->start == start;
}

namespace {

// proc(5) counts in clock ticks, of which every architecture has 100 a second.
constexpr int64_t kTickNs = 10'000'000;
// Between the kernel's reading of the clock and ours, which may be rounded otherwise.
constexpr int64_t kDoubtNs = 1'000;

// -1 where there is no such clock.
int64_t BootNs() {
  timespec now{};
  if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) return -1;
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

uint64_t TicksNow() {
  int64_t now = BootNs();
  return now < 0 ? UINT64_MAX : static_cast<uint64_t>((now + kDoubtNs) / kTickNs);
}

StartClock::StartClock() : begun_ns_(BootNs()) {}

std::optional<uint64_t> StartClock::Ticks() const {
  int64_t ended = BootNs();
  if (begun_ns_ < kDoubtNs || ended < begun_ns_) return std::nullopt;
  int64_t tick = (begun_ns_ - kDoubtNs) / kTickNs;
  if (tick != (ended + kDoubtNs) / kTickNs) return std::nullopt;
  return static_cast<uint64_t>(tick);
}

Result<UniqueFd> OpenPidfd(pid_t pid, uint64_t start) {
  if (pid <= 0) return Error::Of(ESRCH, "pidfd_open");
  UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  // A number that is left as that of a session or a thread is no process's: EINVAL, ENOENT on later kernels.
  if (!fd && (errno == EINVAL || errno == ENOENT)) return Error::Of(ESRCH, "pidfd_open");
  if (!fd) return Error::Sys("pidfd_open");
  auto stat = ReadProcStat(pid);
  if (!stat && IsShortage(stat.error())) return stat.error();
  if (!stat || stat->start != start) return Error::Of(ESRCH, "pidfd_open");
  return fd;
}

Status SignalProcess(pid_t pid, uint64_t start, int signal) {
  auto fd = OpenPidfd(pid, start);
  if (fd) {
    if (syscall(SYS_pidfd_send_signal, fd->get(), signal, nullptr, 0) == 0) return Ok();
    if (errno != ENOSYS) return Error::Sys("pidfd_send_signal");
  } else if (fd.error().err != ENOSYS) {
    return fd.error();
  }
  auto stat = ReadProcStat(pid);
  if (!stat || stat->start != start) return Error::Of(ESRCH, "kill");
  if (kill(pid, signal) == 0) return Ok();
  return Error::Sys("kill");
}

}  // namespace lc
