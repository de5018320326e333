// A pipe without a name, found again by the processes that have it open.
#include "shim/pipe_users.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "shim/endpoint.h"

namespace lc::shim {
namespace {

// Some 50 ms of looking. A container that has more descriptors than that, and has its output elsewhere than
// on 1 and 2 of the process itself, loses what it kept from itself.
constexpr size_t kMostDescriptors = 30'000;

std::string LinkOf(const std::string& path) {
  char text[64];
  ssize_t n = readlink(path.c_str(), text, sizeof(text));
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : std::string();
}

// By the descriptor that is pinned by now, whatever its number has become meanwhile.
UniqueFd OpenIfIs(const std::string& path, const std::string& text) {
  UniqueFd pinned(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!pinned || LinkOf("/proc/self/fd/" + std::to_string(pinned.get())) != text) return {};
  return Reopen(pinned.get(), O_RDONLY | O_NONBLOCK);
}

}  // namespace

UniqueFd PipeUsers::Open(uint64_t inode, pid_t likely) {
  if (inode == 0) return {};
  std::string text = "pipe:[" + std::to_string(inode) + "]";
  for (int fd = 1; fd <= 2 && likely > 0; ++fd) {
    std::string path = "/proc/" + std::to_string(likely) + "/fd/" + std::to_string(fd);
    if (LinkOf(path) != text) continue;
    UniqueFd pipe = OpenIfIs(path, text);
    if (pipe) return pipe;
  }
  LookAtAll();
  auto found = found_.find(text);
  return found == found_.end() ? UniqueFd() : OpenIfIs(found->second, text);
}

void PipeUsers::LookAtAll() {
  if (looked_) return;
  looked_ = true;
  size_t seen = 0;
  for (pid_t pid : all_()) {
    std::string directory = "/proc/" + std::to_string(pid) + "/fd";
    DIR* scan = opendir(directory.c_str());
    if (scan == nullptr) continue;
    while (dirent* entry = readdir(scan)) {
      if (entry->d_name[0] == '.') continue;
      if (++seen > kMostDescriptors) break;
      std::string path = directory + "/" + entry->d_name;
      std::string text = LinkOf(path);
      if (text.starts_with("pipe:[")) found_.emplace(std::move(text), std::move(path));
    }
    closedir(scan);
  }
}

}  // namespace lc::shim
