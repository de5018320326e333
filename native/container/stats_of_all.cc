// The stats of many containers, read in one pass.
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "container/live_container.h"

namespace lc {
namespace {

// How many files each container of a pass keeps open: as many for each, however many containers there are.
constexpr size_t kFilesKeptOfMany = 4;

// Two readers at work on two cores would make the JavaScript thread, and with it the event loop, wait for its
// turn. While this object lives its thread is niced and gives way. (On Linux each thread has its own nice
// value.)
class GiveWay {
 public:
  GiveWay() : before_(getpriority(PRIO_PROCESS, 0)) {
    // Counted from the process's own value, so that it does not add up if the way back is not allowed.
    setpriority(PRIO_PROCESS, 0, std::max(before_, getpriority(PRIO_PROCESS, getpid()) + kNicer));
  }
  ~GiveWay() { setpriority(PRIO_PROCESS, 0, before_); }
  GiveWay(const GiveWay&) = delete;
  GiveWay& operator=(const GiveWay&) = delete;

 private:
  static constexpr int kNicer = 10;
  const int before_;
};

}  // namespace

std::vector<Result<Stats>> ReadStatsOfAll(const std::vector<std::shared_ptr<LiveContainer>>& containers) {
  std::vector<Result<Stats>> out;
  out.reserve(containers.size());
  GiveWay way;
  StatsScratch scratch;
  for (const std::shared_ptr<LiveContainer>& container : containers) {
    auto handle = container->Handle();
    if (!handle) {
      out.emplace_back(handle.error());
      continue;
    }
    Stats stats;
    auto status = (*handle)->ReadStats(&scratch, &stats, kFilesKeptOfMany);
    if (status) {
      out.emplace_back(std::move(stats));
    } else {
      out.emplace_back(status.error());
    }
    // The JavaScript thread may wait for this CPU.
    sched_yield();
  }
  return out;
}

}  // namespace lc
