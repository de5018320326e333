// What processes with own cgroups, deadlines and owners need of the container, and the requests about them.
#include <algorithm>
#include <csignal>

#include "core/process_identity.h"
#include "shim/container.h"
#include "shim/operations.h"

namespace lc::shim {
namespace {

Error NoSuchProcess() {
  return Error::Coded("ERR_PROCESS_NOT_FOUND", "no such process");
}

}  // namespace

// A child's pid is its own until it is reaped here; another process is looked for by pid and start time,
// which needs a descriptor.
Status Container::SignalOne(const Process& process, int signal) {
  if (!by_pid_.contains(process.pid)) return SignalProcess(process.pid, process.start, signal);
  return kill(process.pid, signal) == 0 ? Ok() : Status(Error::Sys("kill"));
}

// Who is not frozen stays where it is, with what its cgroup counts and limits.
void Container::ReleaseFrozen(pid_t pid) {
  if (target_ && target_->IsPaused()) target_->ReleaseFrozen(pid);
}

pid_t Container::ProcessOf(ClientId client) {
  return clients_.ProcessOf(client);
}

void Container::SweepEnded(const std::shared_ptr<Process>& process) {
  if (Find(process->id) != process || process->exit) return;
  TellExit(process, *process->care->exit);
  loop_.Defer([this] { LeaveIfIdle(); });
}

void Container::TreesEnded() {
  loop_.Defer([this] { LeaveIfIdle(); });
}

// v1 counts a kill in the cgroup of the process that was killed, v2 in all above it, too.
std::optional<uint64_t> Container::OomKillsSoFar() {
  if (!target_ || !target_->counts_oom_kills()) return std::nullopt;
  const uint64_t own = target_->cgroups().is_v2_only() ? 0 : caretaker_.OomKills();
  return target_->OomKills() + own;
}

void Container::Own(const Asker& asker, const std::string& id) {
  if (id.empty()) {
    owner_ = asker.client;
    return ReplyDone(asker);
  }
  auto process = Find(id);
  if (process == nullptr || process->exit) return ReplyError(asker, NoSuchProcess());
  Caretaker::Claim(process.get(), asker.client);
  ReplyDone(asker);
}

void Container::EndProcess(const Asker& asker, const std::string& id) {
  auto process = Find(id);
  if (process != nullptr && !process->exit) {
    if (!process->care) process->care = std::make_unique<Care>();
    caretaker_.End(process, EndCause::kAsked);
  }
  ReplyDone(asker);
}

void Container::SignalTree(const Asker& asker, const JsonValue& request) {
  const auto signal = IntMember(request, "signal").value_or(-1);
  auto tree = caretaker_.TreeOf(StringMember(request, "process").value_or(""));
  if (signal < 0 || signal > SIGRTMAX) {
    return ReplyError(asker, Error::Coded("ERR_INVALID_ARG_VALUE", "no signal: " + std::to_string(signal)));
  }
  if (tree == nullptr) {
    return ReplyError(asker, Error::Coded("ERR_PROCESS_EXITED", "nothing is left in its own cgroup"));
  }
  if (signal != SIGKILL) {
    auto signalled = tree->Signal(static_cast<int>(signal));
    return signalled ? ReplyDone(asker) : ReplyError(asker, signalled.error());
  }
  tree->Kill(kDefaultTimeoutMs, [this, asker](const Status& killed) {
    if (killed) return ReplyDone(asker);
    ReplyError(asker, killed.error());
  });
}

void Container::AwaitEmpty(const Asker& asker, const std::string& id) {
  auto tree = caretaker_.TreeOf(id);
  if (tree == nullptr) return ReplyDone(asker);
  tree->OnRemoved([this, asker](const Status&) { ReplyDone(asker); });
}

// A connection that ends is the program's end, or the handle's. One that this shim has let go says nothing of
// them.
void Container::BoundClientGone(ClientId client, bool broken) {
  std::vector<std::shared_ptr<Process>> bound;
  for (const auto& [id, process] : processes_) {
    if (process->care && process->care->spec.bound && process->care->client == client)
      bound.push_back(process);
  }
  for (const auto& process : bound) {
    process->care->client = 0;
    if (!broken) {
      caretaker_.End(process, EndCause::kOwner);
      continue;
    }
    loop_.After(kOwnerGraceMs, [this, process] {
      if (process->care->client == 0) caretaker_.End(process, EndCause::kOwner);
    });
  }
}

}  // namespace lc::shim
