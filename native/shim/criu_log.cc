// What CRIU wrote down about a dump or a restore that failed.
#include "shim/criu_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <deque>

#include "core/unique_fd.h"

namespace lc::shim {
namespace {

constexpr off_t kTail = 256L << 10;
constexpr size_t kMaxLines = 40;
constexpr size_t kMaxLine = 500;

}  // namespace

std::string CriuErrors(const std::string& path) {
  // Logs of large containers have many megabytes; errors are at their end.
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd) return {};
  off_t size = lseek(fd.get(), 0, SEEK_END);
  if (size <= 0) return {};
  off_t from = size > kTail ? size - kTail : 0;
  std::string text(static_cast<size_t>(size - from), '\0');
  ssize_t n = pread(fd.get(), text.data(), text.size(), from);
  if (n <= 0) return {};
  text.resize(static_cast<size_t>(n));
  return CriuErrorLines(text);
}

std::string CriuErrorLines(std::string_view log) {
  std::deque<std::string_view> lines;
  while (!log.empty()) {
    size_t end = log.find('\n');
    std::string_view line = log.substr(0, end);
    // `(00.123456)     12: Error (criu/tty.c:321): tty: ...`
    if (line.find("Error (") != std::string_view::npos) lines.push_back(line.substr(0, kMaxLine));
    if (lines.size() > kMaxLines) lines.pop_front();
    if (end == std::string_view::npos) break;
    log.remove_prefix(end + 1);
  }
  std::string out;
  for (std::string_view line : lines) {
    if (!out.empty()) out += '\n';
    out += line;
  }
  return out;
}

std::string FirstCriuError(std::string_view errors) {
  std::string_view line = errors.substr(0, errors.find('\n'));
  size_t at = line.find("Error (");
  return std::string(at == std::string_view::npos ? line : line.substr(at));
}

}  // namespace lc::shim
