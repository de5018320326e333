// A checkpoint: the runtime's, into a directory that is seen once it is whole; one at a time.
#include <fcntl.h>
#include <unistd.h>

#include <climits>

#include "core/files.h"
#include "shim/container.h"
#include "shim/criu_log.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

constexpr const char* kHistory = "init/dumps";

// Those that are empty, and nothing below them.
void RemoveEmptyCgroups(const LeftCgroups& left) {
  CgroupRemoval(left.directories, CgroupRemoval::Extent::kTops).Work(WalkDeadline());
}

}  // namespace

CriuOptions CriuOptionsOf(const JsonValue& json) {
  CriuOptions options;
  options.tcp = BoolMember(json, "tcp").value_or(false);
  options.unix_sockets = BoolMember(json, "unixSockets").value_or(false);
  options.shell = BoolMember(json, "shell").value_or(false);
  options.empty_namespaces = StringsMember(json, "emptyNamespaces");
  return options;
}

void AddCriuArguments(const CriuOptions& options, std::vector<std::string>* args) {
  if (options.tcp) args->emplace_back("--tcp-established");
  if (options.unix_sockets) args->emplace_back("--ext-unix-sk");
  if (options.shell) args->emplace_back("--shell-job");
  for (const std::string& name : options.empty_namespaces) args->push_back("--empty-ns=" + name);
}

void Container::Checkpoint(const Asker& asker, const JsonValue& request, std::string_view body) {
  if (deleting_) {
    return ReplyError(asker, Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container is being deleted"));
  }
  auto ready = CheckpointReady();
  if (!ready) return ReplyError(asker, ready.error());
  auto checkpoint = std::make_unique<CheckpointOperation>();
  checkpoint->asker = asker;
  checkpoint->name = StringMember(request, "name").value_or("");
  checkpoint->exit = BoolMember(request, "exit").value_or(false);
  checkpoint->pre_dump = BoolMember(request, "preDump").value_or(false);
  checkpoint->parent = StringMember(request, "parent").value_or("");
  checkpoint->options = CriuOptionsOf(request);
  JsonDocument metadata;
  if (!ParseJson(body, &metadata)) {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "the metadata is no JSON object"));
  }
  checkpoint->created = StringMember(metadata, "created").value_or("");
  auto directory = CheckpointDirectory::Claim(settings_.bundle, checkpoint->name, body);
  if (!directory) return ReplyError(asker, directory.error());
  checkpoint->directory = std::move(*directory);
  checkpoints_.push_back(std::move(checkpoint));
  if (checkpoints_.size() == 1) CheckpointRun();
}

// Of a container that runs, and of no other.
Status Container::CheckpointReady() {
  auto init = Find("init");
  if (start_ || init == nullptr || !init->started) {
    return Error::Coded("ERR_CONTAINER_NOT_STARTED", "the container is not started");
  }
  if (init->exit) return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
  auto target = EnsureTarget();
  if (!target) {
    if (target.error().err == ESRCH) return Error::Coded("ERR_CONTAINER_EXITED", "the container has exited");
    return target.error();
  }
  // CRIU freezes and thaws on its own account: it would leave a paused container running.
  if (target_->IsPaused() && !CheckpointRuns()) {
    return Error::Coded("ERR_CONTAINER_PAUSED", "the container is paused");
  }
  return Ok();
}

void Container::CheckpointRun() {
  CheckpointOperation& checkpoint = *checkpoints_.front();
  auto ready = CheckpointReady();
  if (!ready) return CheckpointEnd(ready.error());
  DumpHistory history(kHistory);
  std::vector<std::string> args = {"--image-path", checkpoint.directory.path(), "--work-path",
                                   checkpoint.directory.work_path()};
  if (!checkpoint.parent.empty()) {
    auto parent = history.CheckParent(settings_.bundle, checkpoint.parent);
    if (!parent) return CheckpointEnd(parent.error());
    // From the images' directory, whose name will be another but whose place will not.
    args.insert(args.end(), {"--parent-path", "../" + checkpoint.parent});
  }
  if (checkpoint.pre_dump) {
    args.emplace_back("--pre-dump");
  } else if (!checkpoint.exit) {
    args.emplace_back("--leave-running");
  }
  AddCriuArguments(checkpoint.options, &args);
  args.insert(args.end(), {"--", settings_.id});
  // So that it is finished or undone should this shim be killed.
  auto marked = WriteWholeAt(AT_FDCWD, kDumping, checkpoint.name);
  if (!marked) return CheckpointEnd(marked.error());
  // Also when it fails half-way: some pages are counted as dumped then that were thrown away.
  if (checkpoint.counts_pages()) history.Forget();
  const int fds[3] = {-1, -1, -1};
  auto run = RunRuntime("checkpoint", args, fds, [this](int status) { CheckpointDumped(status); });
  if (!run) return CheckpointEnd(run.error());
  checkpoint.runs = true;
}

bool Container::CheckpointRuns() const {
  return !checkpoints_.empty() && checkpoints_.front()->runs;
}

void Container::CheckpointDumped(int status) {
  CheckpointOperation& checkpoint = *checkpoints_.front();
  if (status != 0) {
    std::string log;
    Error error = CriuFailure(status, checkpoint.directory.work_path() + "/dump.log", &log);
    return CheckpointEnd(std::move(error), log);
  }
  checkpoint.dumped = true;
  if (!checkpoint.exit || !InitRuns()) return CheckpointCommit();
  // CRIU has killed it. Its exit is told first, so that who awaits this finds the container stopped.
  checkpoint.timer = loop_.After(kUndoTimeoutMs, [this] {
    checkpoints_.front()->timer = 0;
    CheckpointCommit();
  });
}

void Container::CheckpointInitEnded() {
  if (!CheckpointRuns() || !checkpoints_.front()->dumped) return;
  if (checkpoints_.front()->timer == 0) return;
  loop_.Cancel(checkpoints_.front()->timer);
  checkpoints_.front()->timer = 0;
  loop_.Defer([this] { CheckpointCommit(); });
}

void Container::CheckpointCommit() {
  CheckpointOperation& checkpoint = *checkpoints_.front();
  auto committed = checkpoint.directory.Commit();
  if (!committed) {
    // Of a container that has ended the images are all that is left: they stay until the name is used again.
    checkpoint.keep = checkpoint.exit;
    return CheckpointEnd(committed.error());
  }
  // A history that cannot be written costs the next dump its parent, and nothing else.
  if (!checkpoint.exit) (void)DumpHistory(kHistory).Add(checkpoint.name, checkpoint.created);
  if (checkpoint.exit) RemoveEmptyCgroups(LikelyCgroups());
  CheckpointEnd(std::nullopt);
}

void Container::CheckpointEnd(std::optional<Error> error, const std::string& log) {
  std::unique_ptr<CheckpointOperation> done = std::move(checkpoints_.front());
  checkpoints_.pop_front();
  if (done->runs) unlink(LogPath().c_str());
  unlink(kDumping);
  if (error && deleting_) error = Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container was deleted");
  if (error) {
    if (!done->keep) done->directory.Discard();
    ReplyError(done->asker, *error, log);
  } else {
    ReplyDone(done->asker);
  }
  if (checkpoints_.empty()) {
    if (deleting_) return DeleteKill();
    loop_.Defer([this] { LeaveIfIdle(); });
  } else if (deleting_) {
    CheckpointEnd(Error::Coded("ERR_CONTAINER_NOT_FOUND", "the container was deleted"));
  } else {
    CheckpointRun();
  }
}

// A dump that an earlier shim began, and that came to its end by now one way or the other. Of a container
// that CRIU has ended the images are all that is left.
void Container::SettleCheckpoint() {
  auto name = ReadFile(kDumping, NAME_MAX + 1);
  unlink(kDumping);
  unlink(LogPath().c_str());
  if (!name) return;
  auto directory = CheckpointDirectory::Resume(settings_.bundle, *name);
  if (!directory) return;
  if (!directory->IsDumped() || !directory->Commit()) {
    if (InitRuns()) directory->Discard();
  }
  DumpHistory(kHistory).Forget();
  if (!InitRuns()) RemoveEmptyCgroups(LikelyCgroups());
}

// The container is to be deleted: what is left of the dump does not matter.
void Container::CheckpointAbort() {
  if (checkpoints_.front()->dumped) return;  // and all but over
  for (auto& [pid, flight] : runs_) flight.run.KillAll();
}

// `log` becomes the runtime's log and CRIU's errors; what CRIU said first is in the error's text.
Error Container::CriuFailure(int status, const std::string& criu_log, std::string* log) const {
  *log = last_run_->Log();
  Error error = last_run_->FailureOf(status, *log);
  std::string errors = CriuErrors(criu_log);
  if (errors.empty()) return error;
  error.text += "; CRIU: " + FirstCriuError(errors);
  if (!log->empty() && log->back() != '\n') *log += '\n';
  *log += errors;
  return error;
}

}  // namespace lc::shim
