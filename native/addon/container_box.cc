// A running container's kernel side as one JavaScript handle holds it: found once, kept open, asked often.
#include "addon/container_box.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>

#include "cgroup/freeze.h"
#include "cgroup/mode.h"
#include "cgroup/record_patch.h"
#include "cgroup/resources_json.h"
#include "cgroup/writer.h"
#include "core/files.h"
#include "core/process_identity.h"

namespace lc::addon {
namespace {

// How often a record that another hand changed meanwhile is read again.
constexpr int kMaxPatchAttempts = 20;
// Of a walk over many containers, how many files each keeps open: the same for each, however many there are.
constexpr size_t kFilesKeptOfMany = 4;

}  // namespace

// The record, if it is about this very init process, with the cgroup paths made whole.
Result<RuntimeRecord> ContainerBox::LoadRecord() const {
  auto record = LoadRuntimeRecord(query_.roots, query_.id);
  if (!record) {
    if (record.error().err == ENOENT) return std::move(record.error()).With("ERR_CONTAINER_EXITED");
    return record;
  }
  if (record->init_pid != query_.init_pid) {
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

Result<std::shared_ptr<CgroupHandle>> ContainerBox::Handle() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (handle_) return handle_;
  auto record = LoadRecord();
  if (!record) return record.error();
  auto opened = CgroupHandle::Open(record->cgroups, budget_.get());
  if (!opened) return opened.error();
  handle_ = std::move(*opened);
  record_directory_ = record->directory;
  return handle_;
}

Result<CgroupPaths> ContainerBox::Paths() {
  auto handle = Handle();
  if (!handle) return handle.error();
  return (*handle)->paths();
}

Result<CgroupPaths> ContainerBox::WatchPaths() const {
  auto record = LoadRecord();
  if (!record) return record.error();
  return std::move(record->cgroups);
}

bool ContainerBox::InitRuns() const {
  return IsAlive(query_.init_pid, query_.init_start);
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
  if (stat((record_directory_ + "/exec.fifo").c_str(), &st) == 0) return std::string("created");
  auto frozen = (*handle)->ReadFreezerState();
  if (frozen.ok() && frozen->state == FreezerState::kFrozen) return std::string("paused");
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
  auto frozen = Freeze(*paths, timeout_ms);
  if (!frozen) return frozen.error();
  return Ok();
}

Status ContainerBox::Resume(int timeout_ms) {
  auto paths = Paths();
  if (!paths) return paths.error();
  auto thawed = Thaw(*paths, timeout_ms);
  if (!thawed) return thawed.error();
  return Ok();
}

Status ContainerBox::SignalAll(int signal) {
  // A fork bomb outruns a list; SIGKILL is repeated until a look finds nobody.
  constexpr int kMaxRounds = 1000;
  for (int round = 0; round < kMaxRounds; ++round) {
    auto pids = ReadPids();
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

Status ContainerBox::Update(const std::string& json, PlanOptions options) {
  auto resources = ParseResources(json);
  if (!resources) return resources.error();
  auto handle = Handle();
  if (!handle) return handle.error();
  // Programs that use this library take turns; a runtime of its own accord does not, so the record is looked
  // at again.
  UniqueFd lock(open(record_directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return Error::Sys("open", record_directory_).With("ERR_CONTAINER_EXITED");
  if (flock(lock.get(), LOCK_EX) != 0) return Error::Sys("flock", record_directory_);
  auto record = LoadRecord();
  if (!record) return record.error();
  if (!IsAlive(query_.init_pid, query_.init_start)) {
    return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
  }
  return UpdateLocked(*record, *resources, options);
}

Status ContainerBox::UpdateLocked(const RuntimeRecord& record, const Resources& resources,
                                  PlanOptions options) {
  const bool recorded = record.kind == RuntimeRecord::Kind::kRunc;  // `crun update` keeps nothing
  const std::string path = record.directory + "/state.json";
  if (recorded) {
    auto text = ReadFile(path);
    if (!text) return text.error();
    auto before = RuncRecord::Parse(std::move(*text), path);
    if (!before) return before.error();
    options.recorded_memory = before->memory();
    options.recorded_swap = before->memory_swap();
  }
  auto plan = PlanUpdate(resources, record.cgroups, options, CurrentOf(record.cgroups));
  if (!plan) return plan.error();
  auto applied = ApplyPlan(record.cgroups, *plan);
  if (!applied) return applied.error();
  if (!recorded) return Ok();
  Error error;
  for (int attempt = 0; attempt < kMaxPatchAttempts; ++attempt) {
    struct stat before {};
    struct stat now {};
    if (stat(path.c_str(), &before) != 0) {
      error = Error::Sys("stat", path);
      break;
    }
    auto text = ReadFile(path);
    if (!text) {
      error = text.error();
      break;
    }
    auto parsed = RuncRecord::Parse(std::move(*text), path);
    if (!parsed) {
      error = parsed.error();
      break;
    }
    std::string patched = parsed->Patch(resources, options);
    // runc replaces the file by rename: another inode is another hand's version, which must not be lost.
    if (stat(path.c_str(), &now) == 0 && now.st_ino != before.st_ino) continue;
    auto written = WriteWholeAt(AT_FDCWD, path, patched, before.st_mode & 07777U);
    if (written) return Ok();
    error = written.error();
    break;
  }
  std::string left = applied->Undo();
  if (!left.empty()) error.text += (error.text.empty() ? "" : "; ") + left;
  return error;
}

std::vector<Result<Stats>> ReadStatsOfAll(const std::vector<std::shared_ptr<ContainerBox>>& boxes) {
  std::vector<Result<Stats>> out;
  out.reserve(boxes.size());
  std::vector<std::shared_ptr<CgroupHandle>> kept;
  std::vector<CgroupHandle*> handles;
  std::vector<size_t> places;
  for (size_t i = 0; i < boxes.size(); ++i) {
    auto handle = boxes[i]->Handle();
    if (!handle) {
      out.emplace_back(handle.error());
      continue;
    }
    out.emplace_back(Stats{});
    handles.push_back(handle->get());
    kept.push_back(std::move(*handle));
    places.push_back(i);
  }
  std::vector<Stats> stats(handles.size());
  std::vector<Status> results(handles.size(), Ok());
  constexpr unsigned kThreads = 2;
  ReadStatsOfMany(handles, stats, results, kThreads, kFilesKeptOfMany);
  for (size_t i = 0; i < handles.size(); ++i) {
    if (results[i].ok()) {
      *out[places[i]] = std::move(stats[i]);
    } else {
      out[places[i]] = results[i].error();
    }
  }
  return out;
}

}  // namespace lc::addon
