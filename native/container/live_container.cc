// A running container's kernel side: found once by the runtime's record, kept open, asked often.
#include "container/live_container.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "cgroup/freeze.h"
#include "cgroup/kill.h"
#include "cgroup/own_cgroup.h"
#include "container/recorded_cgroups.h"
#include "core/process_identity.h"

namespace lc {
namespace {

Error Exited() {
  return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
}

}  // namespace

Error OwnGone() {
  return Error::Coded("ERR_PROCESS_EXITED", "nothing is left in the process's own cgroup");
}

// The record, if it is about this very init process, with the cgroup paths made whole.
Result<RuntimeRecord> LiveContainer::LoadRecord() const {
  auto record = LoadRuntimeRecord(query_.roots, query_.id);
  if (!record) {
    if (record.error().err == ENOENT) return std::move(record.error()).With("ERR_CONTAINER_EXITED");
    return record;
  }
  bool timed = record->init_start != 0 && query_.init_start != 0;
  if (record->init_pid != query_.init_pid || (timed && record->init_start != query_.init_start)) {
    return Error::Coded("ERR_CONTAINER_EXITED", "the runtime's record is about a later container of that id",
                        record->directory);
  }
  auto cgroups = RecordedCgroups(*record);
  if (!cgroups) return cgroups.error();
  record->cgroups = query_.within.empty() ? std::move(*cgroups) : FindOwnCgroup(*cgroups, query_.within);
  if (record->cgroups.empty() && !query_.within.empty()) return OwnGone();
  return record;
}

Result<std::shared_ptr<CgroupHandle>> LiveContainer::Handle() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_) return handle_;
  auto record = LoadRecord();
  if (!record) return record.error();
  auto opened = CgroupHandle::Open(record->cgroups, budget_.get());
  if (!opened) return opened.error();
  handle_ = std::move(*opened);
  record_directory_ = record->directory;
  record_kind_ = record->kind;
  return handle_;
}

Result<CgroupPaths> LiveContainer::Paths() {
  auto handle = Handle();
  if (!handle) return handle.error();
  return (*handle)->paths();
}

void LiveContainer::Release() {
  kept_.CloseAll();
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_) handle_->Trim();
}

Result<CgroupPaths> LiveContainer::WatchPaths() const {
  auto record = LoadRecord();
  if (!record) return record.error();
  return std::move(record->cgroups);
}

bool LiveContainer::InitRuns() const {
  return IsAlive(query_.init_pid, query_.init_start);
}

// ERR_CONTAINER_EXITED unless init runs: by a pidfd that is kept, where the kernel has them.
Status LiveContainer::MustRun() {
  UniqueFd init = kept_.Take(kInit);
  if (!init) {
    auto opened = OpenPidfd(query_.init_pid, query_.init_start);
    if (!opened && opened.error().err == ENOSYS) return InitRuns() ? Ok() : Exited();
    if (!opened) return opened.error().err == ESRCH ? Exited() : opened.error();
    init = std::move(*opened);
  }
  pollfd exit{init.get(), POLLIN, 0};
  int ended = poll(&exit, 1, 0);
  if (ended < 0) return Error::Sys("poll");
  if (ended > 0) return Exited();
  kept_.Keep(kInit, std::move(init));
  return Ok();
}

// ERR_CONTAINER_EXITED unless a process of it runs. Without a pid namespace of the container's own, init's
// end is not that of the others.
Status LiveContainer::MustLive() {
  auto runs = MustRun();
  if (runs || runs.error().code == nullptr) return runs;
  auto lives = Lives();
  if (!lives) return lives.error();
  return *lives ? Ok() : runs;
}

Result<bool> LiveContainer::Lives() {
  auto pids = ReadPids();
  if (!pids && pids.error().code != nullptr && strcmp(pids.error().code, "ERR_CONTAINER_EXITED") == 0)
    return false;
  if (!pids) return pids.error();
  for (pid_t pid : *pids) {
    auto stat = ReadProcStat(pid);
    if (!stat && IsShortage(stat.error())) return stat.error();
    if (stat && stat->alive()) return true;
  }
  return false;
}

Result<std::string> LiveContainer::ReadStatus() {
  if (!IsAlive(query_.init_pid, query_.init_start)) return std::string("stopped");
  auto handle = Handle();
  if (!handle) {
    // The record went between the two looks, or its init is dying.
    if (handle.error().code != nullptr && !IsAlive(query_.init_pid, query_.init_start))
      return std::string("stopped");
    return handle.error();
  }
  struct stat st {};
  // Init waits on this FIFO between create and start: runc and crun both remove it at the start.
  const std::string fifo = record_directory_ + "/exec.fifo";
  if (stat(fifo.c_str(), &st) == 0) return std::string("created");
  if (errno != ENOENT) return Error::Sys("stat", fifo);
  auto frozen = (*handle)->ReadFreezerState();
  // That it is not paused is said of one that has no freezer, not where the freezer cannot be seen now.
  if (!frozen && IsShortage(frozen.error())) return frozen.error();
  // FREEZING counts, as for exec: whoever asked for it (crun does not wait) has been told that it is done.
  if (frozen.ok() && frozen->state != FreezerState::kThawed) return std::string("paused");
  return std::string("running");
}

Result<std::vector<pid_t>> LiveContainer::ReadPids() {
  auto handle = Handle();
  if (!handle) return handle.error();
  std::vector<pid_t> pids;
  auto status = (*handle)->ReadPids(&pids);
  if (!status) return status.error();
  return pids;
}

Result<Stats> LiveContainer::ReadStats() {
  auto handle = Handle();
  if (!handle) return handle.error();
  StatsScratch scratch;
  Stats stats;
  auto status = (*handle)->ReadStats(&scratch, &stats);
  if (!status) return status.error();
  return stats;
}

Status LiveContainer::Pause(int timeout_ms) {
  auto paths = Paths();
  if (!paths) return paths.error();
  FreezerFiles files{kept_.Take(kFreezerControl), kept_.Take(kFreezerEvents)};
  auto frozen = Freeze(*paths, timeout_ms, &files);
  if (!frozen) return frozen.error();
  kept_.Keep(kFreezerControl, std::move(files.control));
  kept_.Keep(kFreezerEvents, std::move(files.events));
  return Ok();
}

Status LiveContainer::Resume() {
  auto paths = Paths();
  if (!paths) return paths.error();
  FreezerFiles files{kept_.Take(kFreezerControl), kept_.Take(kFreezerEvents)};
  auto thawed = Thaw(*paths, &files);
  if (!thawed) return thawed.error();
  kept_.Keep(kFreezerControl, std::move(files.control));
  kept_.Keep(kFreezerEvents, std::move(files.events));
  return Ok();
}

Status LiveContainer::SignalAll(int signal, int timeout_ms) {
  auto runs = MustLive();
  if (!runs) return runs;
  auto paths = Paths();
  if (!paths) return paths.error();
  // A fork bomb outruns a round: SIGKILL is repeated until a round finds no process.
  const WalkDeadline deadline(timeout_ms);
  CgroupSignal round(std::move(*paths), signal);
  for (;;) {
    auto done = round.Work(deadline);
    if (!done) return done.error();
    if (*done && (signal != SIGKILL || round.found() == 0)) return Ok();
    if (deadline.passed()) {
      Error error = Error::Of(EAGAIN, "kill");
      error.text = "not every process could be reached, or ended, in time";
      return error;
    }
    usleep(1000);
  }
}

Status LiveContainer::ReleaseKilled() {
  auto paths = Paths();
  if (!paths && IsShortage(paths.error())) return paths.error();
  if (!paths) return Ok();  // the container is gone, or has no record by which its freezer could be found
  auto thawed = CgroupThaw(*paths).Work(WalkDeadline(kKillMs));
  if (!thawed) return thawed.error();
  return *thawed ? Ok() : Status(WalkDeadline::TooMany("write", *paths->Find("freezer")));
}

}  // namespace lc
