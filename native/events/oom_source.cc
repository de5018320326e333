// OOM kills: v1's eventfd, which is signalled before the kill, and v2's memory.events, told late.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cstddef>
#include <ctime>
#include <iterator>
#include <string_view>

#include "events/memory_file.h"
#include "events/nested_kills.h"
#include "events/source.h"

namespace lc::events {
namespace {

// An OOM is announced when it begins. Its victim is chosen, reported on the console and counted some 10 to
// 500 us later; later still where other allocations of the cgroup wait for the same lock or the console is
// slow; or never: when memory was freed meanwhile, or when the OOM is an ancestor's and the victim somebody
// else's. So the counter is looked at again, often enough to be no millisecond late.
uint32_t AwaitKillUsec(int64_t waited_usec) {
  if (waited_usec < 500) return 20;
  if (waited_usec < 20'000) return 200;
  return waited_usec < 100'000 ? 900 : 0;
}
// A kill that was counted may have been one of several for one announcement. Whoever is told of it wants the
// CPU now.
constexpr uint32_t kAfterKillUsec[] = {800, 1600, 3200, 6400, 12800, 25600, 50000};
// v2: memory.max was run into. The kernel holds back what follows within 10 ms, and an OOM may be what
// follows.
constexpr uint32_t kAtLimitUsec[] = {200, 800, 3000};
constexpr uint32_t kFailedUsec = 50000;  // no descriptor was left for a look

int64_t NowUsec() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

// A row of looks: none left before it begins.
template <size_t N>
class Steps {
 public:
  explicit Steps(const uint32_t (&usec)[N]) : usec_(usec) {}
  void Begin() { step_ = 0; }
  uint32_t Next() { return step_ < N ? usec_[step_++] : 0; }

 private:
  const uint32_t (&usec_)[N];
  size_t step_ = N;
};

class OomV1 final : public Source {
 public:
  OomV1(std::string directory, MemoryFile file, uint64_t identity, UniqueFd signal)
      : directory_(std::move(directory)),
        file_(std::move(file)),
        identity_(identity),
        signal_(std::move(signal)) {}

  int fd() const override { return signal_.get(); }
  uint32_t interest() const override { return EPOLLIN | EPOLLET; }
  uint64_t identity() const override { return identity_; }

  Status Begin(Inotify*) override {
    MemoryEvents counts;
    if (file_.Read(&counts) == MemoryFile::Outcome::kCounts) before_ = counts.oom_kill.value_or(0);
    nested_.Look(directory_);
    return Ok();
  }

  void Look(Why, uint32_t) override {
    uint64_t signals = 0;
    if (read(signal_.get(), &signals, sizeof(signals)) != sizeof(signals)) signals = 0;
    MemoryEvents counts;
    file_.Keep(true);
    switch (file_.Read(&counts)) {
      case MemoryFile::Outcome::kCounts:
        if (!counts.oom_kill || counts.killer_off) {
          // Nobody counts, or nobody is killed: the announcement is all there is.
          uncounted_ += signals;
        } else if (signals > 0) {
          announced_ = true;
          announced_usec_ = NowUsec();
        }
        if (counts.oom_kill) {
          // This cgroup's limit may have cost a process of one below it.
          if (announced_) nested_kills_ += nested_.Look(directory_);
          uint64_t kills = *counts.oom_kill - before_ + nested_kills_;
          if (kills > kills_) {
            kills_ = kills;
            announced_ = false;
            after_kill_.Begin();
          }
        }
        again_usec_ = announced_ ? AwaitKillUsec(NowUsec() - announced_usec_) : after_kill_.Next();
        if (again_usec_ == 0) announced_ = false;
        break;
      case MemoryFile::Outcome::kLost:  // v1 takes no controller away
      case MemoryFile::Outcome::kGone:
        // One signal is that of the removal. Another one, or one whose kill was still awaited: the last OOM
        // came too late to be read.
        if (signals > 1 || announced_) ++uncounted_;
        removed_ = true;
        again_usec_ = 0;
        break;
      case MemoryFile::Outcome::kFailed:
        if (signals > 0) announced_usec_ = NowUsec();
        announced_ = announced_ || signals > 0;
        again_usec_ = kFailedUsec;
        break;
    }
    file_.Keep(again_usec_ != 0);
    totals_[kOomKills] = kills_ + uncounted_;
  }

 private:
  const std::string directory_;
  MemoryFile file_;
  const uint64_t identity_;
  UniqueFd signal_;
  NestedKills nested_;
  uint64_t nested_kills_ = 0;
  uint64_t before_ = 0;     // the kernel's counter when this began
  uint64_t kills_ = 0;      // counted by the kernel since, nested ones too
  uint64_t uncounted_ = 0;  // OOMs beside
  bool announced_ = false;  // a kill is awaited
  int64_t announced_usec_ = 0;
  Steps<std::size(kAfterKillUsec)> after_kill_{kAfterKillUsec};
};

// A controller that came back counts from 0.
uint64_t Since(uint64_t before, uint64_t now) {
  return now >= before ? now - before : now;
}

class MemoryEventsV2 final : public Source {
 public:
  MemoryEventsV2(MemoryFile file, uint64_t identity, std::string directory, UniqueFd at)
      : file_(std::move(file)), identity_(identity), directory_(std::move(directory)), at_(std::move(at)) {}

  uint64_t identity() const override { return identity_; }

  Status Begin(Inotify* inotify) override {
    // By the open directory: these files and no others.
    UniqueFd at = std::move(at_);  // closed when this is done
    std::string here = "/proc/self/fd/" + std::to_string(at.get());
    auto memory = inotify->Add(here + "/memory.events", IN_MODIFY);
    if (!memory) return CgroupFailure(memory.error(), directory_);
    memory_watch_ = *memory;
    auto populated = inotify->Add(here + "/cgroup.events", IN_MODIFY);
    if (!populated) return CgroupFailure(populated.error(), directory_);
    populated_watch_ = *populated;
    // A cgroup that is removed says nothing itself; the directory it was in does.
    auto parent = inotify->Add(here + "/..", IN_DELETE | IN_ONLYDIR);
    if (!parent) return CgroupFailure(parent.error(), directory_);
    parent_watch_ = *parent;
    // Neither does a controller that is taken away, or comes back with new files; who writes this file does
    // that. There is none where the cgroup is the root of the mount.
    auto control = inotify->Add(here + "/../cgroup.subtree_control", IN_MODIFY);
    if (!control && control.error().err != ENOENT) return CgroupFailure(control.error(), directory_);
    if (control) control_watch_ = *control;
    if (file_.Read(&last_) == MemoryFile::Outcome::kGone)
      return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited", directory_);
    return Ok();
  }

  bool wants_watch() override { return file_.TakeRenewed(); }
  Status Rewatch(Inotify* inotify) override {
    auto memory = inotify->Add(directory_ + "/memory.events", IN_MODIFY);
    if (!memory) return CgroupFailure(memory.error(), directory_);
    memory_watch_ = *memory;
    return Ok();
  }

  InotifyWatches inotify_watches() const override {
    return {{memory_watch_, populated_watch_},
            parent_watch_,
            std::string_view(directory_).substr(directory_.rfind('/') + 1),
            control_watch_};
  }

  void Look(Why, uint32_t) override {
    MemoryEvents counts;
    file_.Keep(true);
    switch (file_.Read(&counts)) {
      case MemoryFile::Outcome::kCounts: {
        uint64_t kills = counts.oom_kill.value_or(0);
        totals_[kOomKills] += Since(last_.oom_kill.value_or(0), kills);
        totals_[kHighBreaches] += Since(last_.high, counts.high);
        if (kills != last_.oom_kill.value_or(0)) {
          awaited_ = false;
          after_kill_.Begin();
        } else if (counts.oom != last_.oom) {
          awaited_ = true;
          awaited_since_usec_ = NowUsec();
        } else if (counts.max != last_.max && !awaited_) {
          at_limit_.Begin();
        }
        last_ = counts;
        again_usec_ = awaited_ ? AwaitKillUsec(NowUsec() - awaited_since_usec_) : at_limit_.Next();
        if (again_usec_ == 0 && !awaited_) again_usec_ = after_kill_.Next();
        if (again_usec_ == 0) awaited_ = false;
        break;
      }
      case MemoryFile::Outcome::kLost:
        again_usec_ = 0;
        awaited_ = false;
        break;
      case MemoryFile::Outcome::kGone:
        removed_ = true;
        again_usec_ = 0;
        break;
      case MemoryFile::Outcome::kFailed:
        again_usec_ = kFailedUsec;
        break;
    }
    file_.Keep(again_usec_ != 0);
  }

 private:
  MemoryFile file_;
  const uint64_t identity_;
  const std::string directory_;
  UniqueFd at_;
  int memory_watch_ = -1;
  int populated_watch_ = -1;
  int parent_watch_ = -1;
  int control_watch_ = -1;
  MemoryEvents last_;
  bool awaited_ = false;  // an OOM began, and its kill is not counted yet
  int64_t awaited_since_usec_ = 0;
  Steps<std::size(kAtLimitUsec)> at_limit_{kAtLimitUsec};
  Steps<std::size(kAfterKillUsec)> after_kill_{kAfterKillUsec};
};

uint64_t IdentityOf(const struct stat& st) {
  // Device numbers of cgroup file systems are small; inode numbers count up from 1.
  return uint64_t{st.st_dev} << 48U ^ st.st_ino;
}

Result<std::unique_ptr<Source>> OpenV2(const std::string& directory) {
  UniqueFd at(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat st {};
  if (!at || fstat(at.get(), &st) != 0) return CgroupFailure(Error::Sys("open", directory), directory);
  auto file = MemoryFile::Open(directory + "/memory.events");
  if (!file) {
    if (file.error().err == ENOENT && access(directory.c_str(), F_OK) == 0)
      return Error::Coded("ERR_UNSUPPORTED", "the memory controller is not enabled for this cgroup",
                          directory);
    return CgroupFailure(file.error(), directory);
  }
  return std::unique_ptr<Source>(
      new MemoryEventsV2(std::move(*file), IdentityOf(st), directory, std::move(at)));
}

Error NoMemoryController() {
  return Error::Coded("ERR_UNSUPPORTED", "no memory controller is mounted");
}

}  // namespace

Result<std::unique_ptr<Source>> OpenOomSource(const CgroupPaths& paths) {
  const std::string* directory = paths.Find("memory");
  if (directory == nullptr) {
    if (paths.unified.empty()) return NoMemoryController();
    return OpenV2(paths.unified);
  }
  struct stat st {};
  if (stat(directory->c_str(), &st) != 0) return CgroupFailure(Error::Sys("stat", *directory), *directory);
  auto file = MemoryFile::Open(*directory + "/memory.oom_control");
  if (!file) return CgroupFailure(file.error(), *directory);
  auto signal = RegisterEvent(*directory, "memory.oom_control", "");
  if (!signal) return signal.error();
  return std::unique_ptr<Source>(new OomV1(*directory, std::move(*file), IdentityOf(st), std::move(*signal)));
}

Result<std::unique_ptr<Source>> OpenHighSource(const CgroupPaths& paths) {
  if (paths.unified.empty() || paths.Find("memory") != nullptr)
    return Error::Coded("ERR_UNSUPPORTED", "memory.high is of cgroup v2, and memory is on v1 here");
  return OpenV2(paths.unified);
}

Result<UniqueFd> RegisterEvent(const std::string& directory, const char* file, const std::string& argument) {
  UniqueFd at(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) return CgroupFailure(Error::Sys("open", directory), directory);
  UniqueFd source(openat(at.get(), file, O_RDONLY | O_CLOEXEC));
  if (!source) return CgroupFailure(Error::Sys("open", directory + "/" + file), directory);
  UniqueFd control(openat(at.get(), "cgroup.event_control", O_WRONLY | O_CLOEXEC));
  if (!control) return CgroupFailure(Error::Sys("open", directory + "/cgroup.event_control"), directory);
  UniqueFd signal(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!signal) return Error::Sys("eventfd");
  std::string line = std::to_string(signal.get()) + " " + std::to_string(source.get()) + argument;
  if (write(control.get(), line.data(), line.size()) < 0)
    return CgroupFailure(Error::Sys("write", directory + "/cgroup.event_control"), directory);
  return signal;
}

Error CgroupFailure(Error error, const std::string& directory) {
  bool gone = error.err == ENODEV || (error.err != EMFILE && error.err != ENFILE && error.err != ENOMEM &&
                                      access(directory.c_str(), F_OK) != 0);
  return gone ? std::move(error).With("ERR_CONTAINER_EXITED", "the container has exited") : error;
}

}  // namespace lc::events
