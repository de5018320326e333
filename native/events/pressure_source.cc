// Pressure: a PSI trigger of the v2 cgroup, or v1's memory.pressure_level.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "events/source.h"

namespace lc::events {
namespace {

// The kernel tells at most once a window.
class PsiTrigger final : public Source {
 public:
  explicit PsiTrigger(UniqueFd fd) : fd_(std::move(fd)) {}
  int fd() const override { return fd_.get(); }
  uint32_t interest() const override { return EPOLLPRI | EPOLLET; }
  void Look(Why why, uint32_t events) override {
    if ((events & EPOLLERR) != 0) {
      removed_ = true;
    } else if (why == Why::kTold && (events & EPOLLPRI) != 0) {
      ++totals_[kStalls];
    }
  }

 private:
  UniqueFd fd_;
};

class PressureLevelV1 final : public Source {
 public:
  PressureLevelV1(UniqueFd signal, std::string directory, ino_t inode)
      : signal_(std::move(signal)), directory_(std::move(directory)), inode_(inode) {}
  int fd() const override { return signal_.get(); }
  uint32_t interest() const override { return EPOLLIN | EPOLLET; }
  void Look(Why, uint32_t) override {
    uint64_t signals = 0;
    if (read(signal_.get(), &signals, sizeof(signals)) != sizeof(signals)) return;
    struct stat st {};
    removed_ = stat(directory_.c_str(), &st) != 0 || st.st_ino != inode_;
    // The removal signals too.
    totals_[kStalls] += signals - (removed_ ? 1 : 0);
  }

 private:
  UniqueFd signal_;
  const std::string directory_;
  const ino_t inode_;
};

Result<std::unique_ptr<Source>> OpenPsi(const std::string& directory, const PressureTrigger& trigger) {
  std::string path = directory + "/" + trigger.resource + ".pressure";
  UniqueFd fd(open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd) return Error::Sys("open", path);
  std::string line = std::string(trigger.full ? "full " : "some ") + std::to_string(trigger.stall_usec) +
                     " " + std::to_string(trigger.window_usec);
  // The NUL byte belongs to it: the kernel overwrites the last one.
  if (write(fd.get(), line.c_str(), line.size() + 1) < 0) {
    Error error = Error::Sys("write", path);
    constexpr uint32_t kUnprivilegedUsec = 2'000'000;
    if (error.err == EINVAL && trigger.window_usec % kUnprivilegedUsec != 0)
      error.text = "without CAP_SYS_RESOURCE the window must be a multiple of 2 s";
    return error;
  }
  return std::unique_ptr<Source>(new PsiTrigger(std::move(fd)));
}

}  // namespace

Result<std::unique_ptr<Source>> OpenPressureSource(const CgroupPaths& paths, const PressureTrigger& trigger) {
  const std::string* memory = paths.Find("memory");
  if (!paths.unified.empty()) {
    auto psi = OpenPsi(paths.unified, trigger);
    if (psi) return psi;
    // Booted with psi=0 or built without; or a runtime that uses no v2 cgroup on a hybrid machine.
    bool absent = psi.error().err == ENOENT || psi.error().err == EOPNOTSUPP;
    if (!absent) return CgroupFailure(psi.error(), paths.unified);
    if (memory == nullptr && access(paths.unified.c_str(), F_OK) != 0)
      return CgroupFailure(psi.error(), paths.unified);
  }
  if (memory == nullptr || trigger.resource != "memory")
    return Error::Coded("ERR_UNSUPPORTED",
                        "no pressure of " + trigger.resource +
                            " is told of here: no v2 cgroup with PSI (boot with psi=1 where it is built in)");
  struct stat st {};
  if (stat(memory->c_str(), &st) != 0) return CgroupFailure(Error::Sys("stat", *memory), *memory);
  auto signal = RegisterEvent(*memory, "memory.pressure_level", trigger.full ? " critical" : " medium");
  if (!signal) return signal.error();
  return std::unique_ptr<Source>(new PressureLevelV1(std::move(*signal), *memory, st.st_ino));
}

}  // namespace lc::events
