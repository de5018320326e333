// A running container's kernel side: found once by the runtime's record, kept open, asked often.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cgroup/descriptors.h"
#include "cgroup/handle.h"
#include "cgroup/update/plan.h"
#include "core/cgroup_paths.h"
#include "core/result.h"
#include "core/unique_fd.h"
#include "state/runtime_record.h"

namespace lc {

struct ContainerQuery {
  std::string id;
  std::vector<std::string> roots;  // where the runtime may keep its record
  pid_t init_pid = 0;
  uint64_t init_start = 0;
  // Of a process's own cgroup: its path relative to the container's. What is asked is then about that cgroup
  // alone.
  std::string within = {};
};

// Thread-safe. Every call fails with ERR_CONTAINER_EXITED once the container's cgroup is gone, or with
// ERR_PROCESS_EXITED once a process's own cgroup is.
class LiveContainer {
 public:
  LiveContainer(ContainerQuery query, std::shared_ptr<DescriptorBudget> budget)
      : query_(std::move(query)), budget_(std::move(budget)), kept_(budget_.get()) {}

  // "created", "running", "paused" or "stopped".
  Result<std::string> ReadStatus();
  // The whole cgroup subtree.
  Result<std::vector<pid_t>> ReadPids();
  Result<Stats> ReadStats();
  // Returns when the kernel says that every process is frozen. Thaws again if that takes too long.
  Status Pause(int timeout_ms);
  Status Resume();
  // Whether any process of the container runs, with or without init.
  Result<bool> Lives();
  // Signals every process by its pidfd. SIGKILL is repeated until no process is left that was forked
  // meanwhile, and thaws what the container froze. Fails with EAGAIN if that takes longer than `timeout_ms`.
  Status SignalAll(int signal, int timeout_ms = kKillMs);
  // Thaws the container's v1 freezer and those below it, so that killed processes can end. v2 needs no thaw.
  Status ReleaseKilled();
  // `json` is what `runc update -r -` takes. Writes the kernel's files, then the runtime's record; both are
  // as before if either fails. Returns the record's previous version, which is removed when it is closed:
  // that takes time, and the update is done before. Empty if the runtime records no limits.
  Result<UniqueFd> Update(const std::string& json, PlanOptions options);

  // Makes a cgroup below the container's for a process that is yet to start. Returns its name.
  Result<std::string> MakeOwnCgroup();
  // Removes one that MakeOwnCgroup() made and nobody entered.
  Status RemoveOwnCgroup(const std::string& name);

  // Closes what is kept open between calls.
  void Release();

  Result<std::shared_ptr<CgroupHandle>> Handle();
  // For callers who look at the cgroup themselves. Opens nothing.
  Result<CgroupPaths> WatchPaths() const;
  bool InitRuns() const;

 private:
  // A container decides how many forks and cgroups a kill has to go through.
  static constexpr int kKillMs = 15'000;
  // Places in `kept_`.
  enum : size_t { kFreezerControl, kFreezerEvents, kRecordDirectory, kInit };

  Result<RuntimeRecord> LoadRecord() const;
  Result<CgroupPaths> Paths();
  Status MustRun();
  Status MustLive();

  // own.cc
  Result<UniqueFd> UpdateOwn(const Resources& resources, const PlanOptions& options);

  // update.cc
  Result<UniqueFd> LockRecord(UniqueFd kept) const;
  Result<UniqueFd> UpdateLocked(int directory, const CgroupPaths& paths, const Resources& resources,
                                const PlanOptions& options);
  Status UpdateUnrecorded(const CgroupPaths& paths, const Resources& resources, const PlanOptions& options);
  Result<UniqueFd> UpdateRecorded(int directory, const CgroupPaths& paths, const Resources& resources,
                                  PlanOptions options);

  const ContainerQuery query_;
  const std::shared_ptr<DescriptorBudget> budget_;
  KeptDescriptors kept_;
  std::mutex mutex_;
  std::shared_ptr<CgroupHandle> handle_;
  std::string record_directory_;
  RuntimeRecord::Kind record_kind_ = RuntimeRecord::Kind::kRunc;
};

// ERR_PROCESS_EXITED: a process's own cgroup has been removed.
Error OwnGone();

// Reads the stats of many in one pass. Each has its stats or its own failure.
std::vector<Result<Stats>> ReadStatsOfAll(const std::vector<std::shared_ptr<LiveContainer>>& containers);

}  // namespace lc
