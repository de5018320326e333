// A running container's kernel side as one JavaScript handle holds it: found once, kept open, asked often.
#include "addon/container_box.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "addon/lane.h"
#include "cgroup/freeze.h"
#include "cgroup/kill.h"
#include "cgroup/mode.h"
#include "cgroup/record_file.h"
#include "cgroup/resources_json.h"
#include "cgroup/writer.h"
#include "core/files.h"
#include "core/process_identity.h"

namespace lc::addon {
namespace {

// Of a walk over many containers, how many files each keeps open: the same for each, however many there are.
constexpr size_t kFilesKeptOfMany = 4;

// How long a kill of all may take: forks, and cgroups by the thousand, are the container's choice.
constexpr int kKillMs = 15'000;

// Two readers at work on two cores make the JavaScript thread wait for its turn, and with it the event loop.
// While one of these is there its thread, niced, gives way to that. (On Linux each thread has a nice value of
// its own.)
class GiveWay {
 public:
  GiveWay() : before_(getpriority(PRIO_PROCESS, 0)) {
    // From the process's own value on, so that it adds up to nothing where the way back is not allowed.
    setpriority(PRIO_PROCESS, 0, std::max(before_, getpriority(PRIO_PROCESS, getpid()) + kNicer));
  }
  ~GiveWay() { setpriority(PRIO_PROCESS, 0, before_); }
  GiveWay(const GiveWay&) = delete;
  GiveWay& operator=(const GiveWay&) = delete;

 private:
  static constexpr int kNicer = 10;
  const int before_;
};

Error Exited() {
  return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
}

}  // namespace

// The record, if it is about this very init process, with the cgroup paths made whole.
Result<RuntimeRecord> ContainerBox::LoadRecord() const {
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
  // Told to make no cgroup, crun records an empty path, which is not that of the whole machine.
  if (record->kind == RuntimeRecord::Kind::kCrun && !record->cgroup_path.empty()) {
    auto layout = ReadLayout();
    if (!layout) return layout.error();
    record->cgroups = ComposePaths(*layout, record->cgroup_path);
  }
  return record;
}

Result<std::shared_ptr<CgroupHandle>> ContainerBox::Handle() {
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

Result<CgroupPaths> ContainerBox::Paths() {
  auto handle = Handle();
  if (!handle) return handle.error();
  return (*handle)->paths();
}

void ContainerBox::GiveBack() {
  kept_.CloseAll();
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_) handle_->Trim();
}

Result<CgroupPaths> ContainerBox::WatchPaths() const {
  auto record = LoadRecord();
  if (!record) return record.error();
  return std::move(record->cgroups);
}

bool ContainerBox::InitRuns() const {
  return IsAlive(query_.init_pid, query_.init_start);
}

// ERR_CONTAINER_EXITED unless init runs: by a pidfd that is kept, where the kernel has them.
Status ContainerBox::MustRun() {
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
Status ContainerBox::MustLive() {
  auto runs = MustRun();
  if (runs || runs.error().code == nullptr) return runs;
  auto lives = Lives();
  if (!lives) return lives.error();
  return *lives ? Ok() : runs;
}

Result<bool> ContainerBox::Lives() {
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

BoxPointer ToBox(const Napi::Value& value) {
  return *value.As<Napi::External<BoxPointer>>().Data();
}

Result<std::string> ContainerBox::ReadStatus() {
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

Result<std::vector<pid_t>> ContainerBox::ReadPids() {
  auto handle = Handle();
  if (!handle) return handle.error();
  std::vector<pid_t> pids;
  auto status = (*handle)->ReadPids(&pids);
  if (!status) return status.error();
  return pids;
}

Result<Stats> ContainerBox::ReadStats() {
  auto handle = Handle();
  if (!handle) return handle.error();
  StatsScratch scratch;
  Stats stats;
  auto status = (*handle)->ReadStats(&scratch, &stats);
  if (!status) return status.error();
  return stats;
}

Status ContainerBox::Pause(int timeout_ms) {
  auto paths = Paths();
  if (!paths) return paths.error();
  FreezerFiles files{kept_.Take(kFreezerControl), kept_.Take(kFreezerEvents)};
  auto frozen = Freeze(*paths, timeout_ms, &files);
  if (!frozen) return frozen.error();
  kept_.Keep(kFreezerControl, std::move(files.control));
  kept_.Keep(kFreezerEvents, std::move(files.events));
  return Ok();
}

Status ContainerBox::Resume() {
  auto paths = Paths();
  if (!paths) return paths.error();
  FreezerFiles files{kept_.Take(kFreezerControl), kept_.Take(kFreezerEvents)};
  auto thawed = Thaw(*paths, &files);
  if (!thawed) return thawed.error();
  kept_.Keep(kFreezerControl, std::move(files.control));
  kept_.Keep(kFreezerEvents, std::move(files.events));
  return Ok();
}

Status ContainerBox::SignalAll(int signal) {
  auto runs = MustLive();
  if (!runs) return runs;
  auto paths = Paths();
  if (!paths) return paths.error();
  // A fork bomb outruns a round; SIGKILL is repeated until a round finds nobody.
  const WalkDeadline deadline(kKillMs);
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

Status ContainerBox::ReleaseKilled() {
  auto paths = Paths();
  if (!paths && IsShortage(paths.error())) return paths.error();
  if (!paths) return Ok();  // the container is gone, or has no record by which its freezer could be found
  auto thawed = CgroupThaw(*paths).Work(WalkDeadline(kKillMs));
  if (!thawed) return thawed.error();
  return *thawed ? Ok() : Status(WalkDeadline::TooMany("write", *paths->Find("freezer")));
}

Status ContainerBox::Update(const std::string& json, PlanOptions options) {
  auto resources = ParseResources(json);
  if (!resources) return resources.error();
  auto handle = Handle();
  if (!handle) return handle.error();
  const CgroupPaths& paths = (*handle)->paths();
  UniqueFd kept = kept_.Take(kRecordDirectory);
  bool was_kept = static_cast<bool>(kept);
  auto lock = LockRecord(std::move(kept));
  if (!lock) return lock.error();
  Status updated = UpdateLocked(lock->get(), paths, *resources, options);
  if (!updated && was_kept && updated.error().err == ENOENT) {
    // Somebody put another directory in the place of the one that was kept. Or is about to remove this one:
    // it is given back first, since two locks of the same directory wait for each other.
    lock->Reset();
    lock = LockRecord(UniqueFd());
    if (!lock) return lock.error();
    updated = UpdateLocked(lock->get(), paths, *resources, options);
  }
  if (updated && flock(lock->get(), LOCK_UN) == 0) kept_.Keep(kRecordDirectory, std::move(*lock));
  return updated;
}

// Programs that use this library take turns; a runtime of its own accord does not.
Result<UniqueFd> ContainerBox::LockRecord(UniqueFd kept) const {
  UniqueFd lock = std::move(kept);
  if (!lock) lock.Reset(open(record_directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return Error::Sys("open", record_directory_).With("ERR_CONTAINER_EXITED");
  if (flock(lock.get(), LOCK_EX) != 0) return Error::Sys("flock", record_directory_);
  return lock;
}

Status ContainerBox::UpdateLocked(int directory, const CgroupPaths& paths, const Resources& resources,
                                  const PlanOptions& options) {
  if (record_kind_ == RuntimeRecord::Kind::kRunc) {
    return UpdateRecorded(directory, paths, resources, options);
  }
  auto record = LoadRecord();
  if (!record) return record.error();
  auto runs = MustLive();
  if (!runs) return runs;
  auto plan = PlanUpdate(resources, paths, options, CurrentOf(paths));
  if (!plan) return plan.error();
  auto applied = ApplyPlan(paths, *plan);
  if (!applied) return applied.error();
  return Ok();  // `crun update` keeps nothing
}

Status ContainerBox::UpdateRecorded(int directory, const CgroupPaths& paths, const Resources& resources,
                                    PlanOptions options) {
  auto file = RecordFile::Open(record_directory_ + "/state.json", directory);
  if (!file) {
    Error error = std::move(file.error());
    return error.err == ENOENT ? std::move(error).With("ERR_CONTAINER_EXITED") : error;
  }
  const RuncRecord& record = file->record();
  if (record.init_pid() != query_.init_pid) return Exited();
  auto runs = MustLive();
  if (!runs) return runs;
  options.recorded_memory = record.memory();
  options.recorded_swap = record.memory_swap();
  auto plan = PlanUpdate(resources, paths, options, CurrentOf(paths));
  if (!plan) return plan.error();
  auto applied = ApplyPlan(paths, *plan);
  if (!applied) return applied.error();
  auto patched = file->Patch(resources, options);
  if (patched) {
    Lane::CloseLater(file->ReleaseOld());
    return Ok();
  }
  Error error = std::move(patched.error());
  std::string left = applied->Undo();
  if (!left.empty()) error.text += (error.text.empty() ? "" : "; ") + left;
  return error;
}

std::vector<Result<Stats>> ReadStatsOfAll(const std::vector<std::shared_ptr<ContainerBox>>& boxes) {
  std::vector<Result<Stats>> out;
  out.reserve(boxes.size());
  GiveWay way;
  StatsScratch scratch;
  for (const std::shared_ptr<ContainerBox>& box : boxes) {
    auto handle = box->Handle();
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
    // The JavaScript thread may wait for this CPU, with the part before to be made into objects.
    sched_yield();
  }
  return out;
}

}  // namespace lc::addon
