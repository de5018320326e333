// An update of a live container's limits: the kernel's files and the runtime's record, or neither.
#include <fcntl.h>
#include <sys/file.h>

#include "cgroup/update/record_file.h"
#include "cgroup/update/resources_json.h"
#include "cgroup/update/writer.h"
#include "container/live_container.h"

namespace lc {

Result<UniqueFd> LiveContainer::Update(const std::string& json, PlanOptions options) {
  auto resources = ParseResources(json);
  if (!resources) return resources.error();
  if (!query_.within.empty()) return UpdateOwn(*resources, options);
  auto handle = Handle();
  if (!handle) return handle.error();
  const CgroupPaths& paths = (*handle)->paths();
  UniqueFd kept = kept_.Take(kRecordDirectory);
  bool was_kept = static_cast<bool>(kept);
  auto lock = LockRecord(std::move(kept));
  if (!lock) return lock.error();
  auto updated = UpdateLocked(lock->get(), paths, *resources, options);
  if (!updated && was_kept && updated.error().err == ENOENT) {
    // Another directory is in the place of the kept one, or somebody is about to remove this one. It is
    // unlocked first, since two locks of the same directory wait for each other.
    lock->Reset();
    lock = LockRecord(UniqueFd());
    if (!lock) return lock.error();
    updated = UpdateLocked(lock->get(), paths, *resources, options);
  }
  if (updated && flock(lock->get(), LOCK_UN) == 0) kept_.Keep(kRecordDirectory, std::move(*lock));
  return updated;
}

// Programs that use this library take turns. Runtimes take no lock.
Result<UniqueFd> LiveContainer::LockRecord(UniqueFd kept) const {
  UniqueFd lock = std::move(kept);
  if (!lock) lock.Reset(open(record_directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return Error::Sys("open", record_directory_).With("ERR_CONTAINER_EXITED");
  if (flock(lock.get(), LOCK_EX) != 0) return Error::Sys("flock", record_directory_);
  return lock;
}

Result<UniqueFd> LiveContainer::UpdateLocked(int directory, const CgroupPaths& paths,
                                             const Resources& resources, const PlanOptions& options) {
  if (record_kind_ == RuntimeRecord::Kind::kRunc) {
    return UpdateRecorded(directory, paths, resources, options);
  }
  auto updated = UpdateUnrecorded(paths, resources, options);
  if (!updated) return updated.error();
  return UniqueFd();
}

// `crun update` records nothing either.
Status LiveContainer::UpdateUnrecorded(const CgroupPaths& paths, const Resources& resources,
                                       const PlanOptions& options) {
  auto record = LoadRecord();
  if (!record) return record.error();
  auto runs = MustLive();
  if (!runs) return runs;
  auto plan = PlanUpdate(resources, paths, options, CurrentOf(paths));
  if (!plan) return plan.error();
  auto applied = ApplyPlan(paths, *plan);
  if (!applied) return applied.error();
  return Ok();
}

Result<UniqueFd> LiveContainer::UpdateRecorded(int directory, const CgroupPaths& paths,
                                               const Resources& resources, PlanOptions options) {
  auto file = RecordFile::Open(record_directory_ + "/state.json", directory);
  if (!file) {
    Error error = std::move(file.error());
    return error.err == ENOENT ? std::move(error).With("ERR_CONTAINER_EXITED") : error;
  }
  const RuncRecord& record = file->record();
  if (record.init_pid() != query_.init_pid) {
    return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
  }
  auto runs = MustLive();
  if (!runs) return runs.error();
  options.recorded_memory = record.memory();
  options.recorded_swap = record.memory_swap();
  auto plan = PlanUpdate(resources, paths, options, CurrentOf(paths));
  if (!plan) return plan.error();
  auto applied = ApplyPlan(paths, *plan);
  if (!applied) return applied.error();
  auto patched = file->Patch(resources, options);
  if (patched) return file->ReleaseOld();
  Error error = std::move(patched.error());
  std::string left = applied->Undo();
  if (!left.empty()) error.text += (error.text.empty() ? "" : "; ") + left;
  return error;
}

}  // namespace lc
