// Questions about a running container that the kernel answers: its state, its processes.
#include "addon/container_query.h"

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "cgroup/freeze.h"
#include "cgroup/mode.h"
#include "cgroup/pids.h"
#include "core/process_identity.h"
#include "state/runtime_record.h"

namespace lc::addon {
namespace {

// The record, if it is about this very init process, with the cgroup paths made whole.
Result<RuntimeRecord> LoadRecord(const ContainerQuery& query) {
  auto record = LoadRuntimeRecord(query.roots, query.id);
  if (!record) {
    if (record.error().err == ENOENT) return std::move(record.error()).With("ERR_CONTAINER_EXITED");
    return record;
  }
  if (record->init_pid != query.init_pid) {
    return Error::Coded("ERR_CONTAINER_EXITED", "the runtime's record is about a later container of that id",
                        record->directory);
  }
  if (record->kind == RuntimeRecord::Kind::kCrun) {
    auto layout = ReadLayout();
    if (!layout) return layout.error();
    record->cgroups = ComposePaths(*layout, record->cgroup_path);
  }
  return record;
}

}  // namespace

Result<std::string> QueryStatus(const ContainerQuery& query) {
  if (!IsAlive(query.init_pid, query.init_start)) return std::string("stopped");
  auto record = LoadRecord(query);
  if (!record) {
    // The record went between the two looks, or its init is dying.
    if (record.error().code != nullptr && !IsAlive(query.init_pid, query.init_start))
      return std::string("stopped");
    return record.error();
  }
  struct stat st {};
  // Init waits on this FIFO between create and start: runc and crun both remove it at the start.
  if (stat((record->directory + "/exec.fifo").c_str(), &st) == 0) return std::string("created");
  auto frozen = ReadFreezer(record->cgroups);
  if (frozen.ok() && frozen->state == FreezerState::kFrozen) return std::string("paused");
  return std::string("running");
}

Result<std::vector<pid_t>> QueryPids(const ContainerQuery& query) {
  auto record = LoadRecord(query);
  if (!record) return record.error();
  return ReadPids(record->cgroups);
}

Status SignalContainer(const ContainerQuery& query, int signal) {
  auto record = LoadRecord(query);
  if (!record) return record.error();
  // A fork bomb outruns a list; SIGKILL is repeated until a look finds nobody.
  for (int round = 0; round < 1000; ++round) {
    auto pids = ReadPids(record->cgroups);
    if (!pids) {
      if (round > 0) return Ok();
      return pids.error();
    }
    bool any = false;
    for (pid_t pid : *pids) {
      auto stat = ReadProcStat(pid);
      if (!stat || !stat->alive()) continue;
      auto status = SignalProcess(pid, stat->start, signal);
      if (!status && status.error().err != ESRCH) return status;
      any = true;
    }
    if (signal != SIGKILL || !any) return Ok();
    usleep(1000);
  }
  return Error::Of(EAGAIN, "kill");
}

}  // namespace lc::addon
