// A running container's kernel side as one JavaScript handle holds it: found once, kept open, asked often.
#pragma once

#include <napi.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cgroup/descriptors.h"
#include "cgroup/handle.h"
#include "cgroup/plan.h"
#include "core/cgroup_paths.h"
#include "core/result.h"
#include "state/runtime_record.h"

namespace lc::addon {

struct ContainerQuery {
  std::string id;
  std::vector<std::string> roots;  // where the runtime may keep its record
  pid_t init_pid = 0;
  uint64_t init_start = 0;
};

// Thread-safe. Every call answers ERR_CONTAINER_EXITED once the container's cgroup is gone.
class ContainerBox {
 public:
  ContainerBox(ContainerQuery query, std::shared_ptr<DescriptorBudget> budget)
      : query_(std::move(query)), budget_(std::move(budget)), kept_(budget_.get()) {}

  // "created", "running", "paused" or "stopped".
  Result<std::string> ReadStatus();
  // The whole cgroup subtree.
  Result<std::vector<pid_t>> ReadPids();
  Result<Stats> ReadStats();
  // Done when the kernel says so; thawed again when it does not in time.
  Status Pause(int timeout_ms);
  Status Resume();
  // Whether any process of it runs, be it without init.
  Result<bool> Lives();
  // Signals every process, each by its pidfd. SIGKILL goes on until none is left that was forked meanwhile,
  // and thaws what the container froze.
  Status SignalAll(int signal);
  // A killed process of a frozen v1 cgroup ends only when that thaws, be it one that the container froze
  // below its own; v2 lets it go by itself.
  Status ReleaseKilled();
  // `json` as `runc update -r -` takes it. The kernel's files first, then the runtime's record; both as
  // before when either fails.
  Status Update(const std::string& json, PlanOptions options);

  // Closes what is kept open between calls.
  void GiveBack();

  Result<std::shared_ptr<CgroupHandle>> Handle();
  // For those who look at the cgroup by themselves; opens nothing.
  Result<CgroupPaths> WatchPaths() const;
  bool InitRuns() const;

 private:
  // Places in `kept_`.
  enum : size_t { kFreezerControl, kFreezerEvents, kRecordDirectory, kInit };

  Result<RuntimeRecord> LoadRecord() const;
  Result<CgroupPaths> Paths();
  Status MustRun();
  Status MustLive();
  Result<UniqueFd> LockRecord(UniqueFd kept) const;
  Status UpdateLocked(int directory, const CgroupPaths& paths, const Resources& resources,
                      const PlanOptions& options);
  Status UpdateRecorded(int directory, const CgroupPaths& paths, const Resources& resources,
                        PlanOptions options);

  const ContainerQuery query_;
  const std::shared_ptr<DescriptorBudget> budget_;
  KeptDescriptors kept_;
  std::mutex mutex_;
  std::shared_ptr<CgroupHandle> handle_;
  std::string record_directory_;
  RuntimeRecord::Kind record_kind_ = RuntimeRecord::Kind::kRunc;
};

using BoxPointer = std::shared_ptr<ContainerBox>;

// The box in the External that OpenContainer of module.cc made.
BoxPointer ToBox(const Napi::Value& value);

// One pass over many; each its figures or its own failure.
std::vector<Result<Stats>> ReadStatsOfAll(const std::vector<std::shared_ptr<ContainerBox>>& boxes);

}  // namespace lc::addon
