// Looks after processes beyond their exit: own cgroups, deadlines, and the programs that they end with.
#include "shim/caretaker.h"

#include <sys/epoll.h>

#include <algorithm>
#include <csignal>

#include "cgroup/own_cgroup.h"
#include "core/process_identity.h"

namespace lc::shim {
namespace {

constexpr int64_t kNsPerMs = 1'000'000;
constexpr int64_t kNsPerUsec = 1000;

Error Garbled() {
  return Error::Coded("ERR_INVALID_ARG_VALUE", "cgroup is garbled");
}

struct CgroupRequest {
  bool own = false;
  std::string within;
  std::string made;
};

Result<CgroupRequest> ParseCgroup(const JsonValue& json) {
  CgroupRequest out;
  if (!json.IsObject()) return Garbled();
  out.own = BoolMember(json, "own").value_or(false);
  out.within = StringMember(json, "within").value_or("");
  out.made = StringMember(json, "made").value_or("");
  const bool named = !out.within.empty() || !out.made.empty();
  if (!out.within.empty() && !IsRelativeCgroup(out.within)) return Garbled();
  if (!out.made.empty() && (!out.own || !IsOwnCgroupName(out.made))) return Garbled();
  if (!out.own && !named) return Garbled();
  return out;
}

}  // namespace

Result<std::unique_ptr<Care>> Caretaker::Make(const JsonValue& request, ClientId client, int64_t timeout_ms,
                                              const CgroupPaths& container) {
  auto spec = CareSpec::FromRequest(request);
  if (!spec) return spec.error();
  const JsonValue* place = Member(request, "cgroup");
  if (place == nullptr && spec->plain()) return std::unique_ptr<Care>();
  auto care = std::make_unique<Care>();
  care->spec = std::move(*spec);
  care->client = care->spec.bound ? client : 0;
  care->timeout_ms = timeout_ms;
  if (place == nullptr) return care;
  auto wanted = ParseCgroup(*place);
  if (!wanted) return wanted.error();
  auto cgroup = !wanted->own           ? OwnCgroup::Open(container, wanted->within)
                : wanted->made.empty() ? OwnCgroup::Make(container, wanted->within)
                                       : OwnCgroup::Open(container, wanted->made);
  if (!cgroup) return cgroup.error();
  if (!wanted->own) {
    care->joined = std::move(*cgroup);
    return care;
  }
  care->spec.cgroup = (*cgroup)->path();
  care->tree = NewTree(std::move(*cgroup));
  return care;
}

std::shared_ptr<ProcessTree> Caretaker::NewTree(std::unique_ptr<OwnCgroup> cgroup) {
  return std::make_shared<ProcessTree>(loop_, std::move(cgroup),
                                       [this](pid_t pid) { host_.ReleaseFrozen(pid); });
}

std::string Caretaker::Record(Care* care) const {
  CareSpec& spec = care->spec;
  if (spec.plain()) return {};
  if (spec.run_ms > 0) spec.deadline_ms = MonotonicNs() / kNsPerMs + spec.run_ms;
  if (spec.bound) {
    spec.owner_pid = host_.ProcessOf(care->client);
    auto stat = ReadProcStat(spec.owner_pid);
    spec.owner_start = stat ? stat->start : 0;
  }
  return spec.ToJson();
}

void Caretaker::Begin(const std::shared_ptr<Process>& process) {
  Care& care = *process->care;
  care.usage.started_ns = MonotonicNs();
  if (care.tree) care.tree->cgroup().CloseProcs();
  care.joined.reset();
  if (care.tree) Keep(process->id, care.tree);
  if (care.spec.run_ms > 0) ArmDeadline(process, care.spec.run_ms);
}

void Caretaker::Keep(const std::string& process, const std::shared_ptr<ProcessTree>& tree) {
  trees_[process] = tree;
  tree->OnRemoved([this, process, raw = tree.get()](const Status&) {
    ended_oom_kills_ += raw->OomKills();
    auto known = trees_.find(process);
    if (known != trees_.end() && known->second.get() == raw) trees_.erase(known);
    if (trees_.empty()) host_.TreesEnded();
  });
}

void Caretaker::Undo(Process* process) {
  if (!process->care) return;
  CancelTimers(process->care.get());
  auto tree = process->care->tree;
  if (!tree) return;
  // Somebody may have been killed there this very moment.
  Keep(process->id, tree);
  tree->Kill(process->care->timeout_ms, [](const Status&) {});
  tree->LetGo();
}

void Caretaker::TakeOver(const std::shared_ptr<Process>& process, const CgroupPaths& container) {
  Care& care = *process->care;
  if (!care.spec.cgroup.empty()) {
    auto cgroup = OwnCgroup::At(container, care.spec.cgroup);
    if (!cgroup->paths().empty()) care.tree = NewTree(std::move(cgroup));
  }
  if (care.tree) Keep(process->id, care.tree);
  care.usage.started_ns = MonotonicNs();
  if (process->exit) {
    if (care.tree) care.tree->LetGo();
    return;
  }
  if (care.spec.deadline_ms != 0) {
    ArmDeadline(process, std::max<int64_t>(0, care.spec.deadline_ms - MonotonicNs() / kNsPerMs));
  }
  if (care.spec.bound) WatchOwner(process);
}

void Caretaker::TakeOverStrays(const CgroupPaths& container) {
  for (const std::string& name : OwnCgroupsIn(container)) {
    const bool known = std::any_of(trees_.begin(), trees_.end(),
                                   [&](const auto& entry) { return entry.second->cgroup().path() == name; });
    if (known) continue;
    auto tree = NewTree(OwnCgroup::At(container, name));
    // A name that no process has.
    Keep("/" + name, tree);
    tree->LetGo();
  }
}

// The program that a process ends with has not claimed it yet, and may be gone.
void Caretaker::WatchOwner(const std::shared_ptr<Process>& process) {
  Care& care = *process->care;
  auto pidfd = OpenPidfd(care.spec.owner_pid, care.spec.owner_start);
  if (!pidfd) {
    if (pidfd.error().err != ESRCH) return;
    loop_.Defer([this, process] { End(process, EndCause::kOwner); });
    return;
  }
  care.owner = std::move(*pidfd);
  auto watched = loop_.Watch(care.owner.get(), EPOLLIN, [this, process](uint32_t) {
    Care& ended = *process->care;
    loop_.Unwatch(ended.owner.get());
    ended.owner.Reset();
    End(process, EndCause::kOwner);
  });
  if (!watched) care.owner.Reset();
}

void Caretaker::ArmDeadline(const std::shared_ptr<Process>& process, int64_t milliseconds) {
  process->care->deadline = loop_.After(milliseconds, [this, process] {
    process->care->deadline = 0;
    End(process, EndCause::kTimeout);
  });
}

void Caretaker::CancelTimers(Care* care) {
  for (EventLoop::TimerId* timer : {&care->deadline, &care->grace}) {
    if (*timer != 0) loop_.Cancel(*timer);
    *timer = 0;
  }
  if (care->owner) loop_.Unwatch(care->owner.get());
  care->owner.Reset();
}

void Caretaker::End(const std::shared_ptr<Process>& process, EndCause cause) {
  if (process->exit || !process->care || process->care->exit) return;
  Care& care = *process->care;
  const bool by_owner = cause == EndCause::kOwner;
  if (care.cause != EndCause::kNone && !by_owner) return;
  if (care.cause == EndCause::kNone) care.cause = cause;
  if (care.spec.kill_signal == SIGKILL || by_owner) return KillHard(process);
  if (care.tree) {
    (void)care.tree->Signal(care.spec.kill_signal);
  } else {
    (void)host_.SignalOne(*process, care.spec.kill_signal);
  }
  care.grace = loop_.After(care.spec.grace_ms, [this, process] {
    process->care->grace = 0;
    KillHard(process);
  });
}

void Caretaker::KillHard(const std::shared_ptr<Process>& process) {
  Care& care = *process->care;
  if (care.tree) return care.tree->Kill(care.timeout_ms, [](const Status&) {});
  if (process->exit) return;
  (void)host_.SignalOne(*process, SIGKILL);
  host_.ReleaseFrozen(process->pid);
}

bool Caretaker::Exited(const std::shared_ptr<Process>& process, ExitRecord* exit, uint64_t max_rss_bytes) {
  if (!process->care) return false;
  Care& care = *process->care;
  // What it has started still gets the SIGKILL that was to follow.
  const bool graceful = care.tree && care.grace != 0;
  if (!graceful) CancelTimers(&care);
  if (care.deadline != 0) loop_.Cancel(care.deadline);
  care.deadline = 0;
  care.usage.duration_usec = (MonotonicNs() - care.usage.started_ns) / kNsPerUsec;
  care.usage.max_rss_bytes = max_rss_bytes;
  exit->timed_out = care.cause == EndCause::kTimeout;
  if (!care.tree) return false;
  care.usage.cgroup = care.tree->Usage();
  exit->oom_kills = care.usage.cgroup.oom_kills;
  const bool sweeps = care.spec.sweep && !care.tree->IsEmpty();
  // Once everybody has been told: the removal takes longer than all that comes before it.
  auto let_go = [this, tree = care.tree] { loop_.After(0, [tree] { tree->LetGo(); }); };
  if (!sweeps) {
    let_go();
    return false;
  }
  care.exit = *exit;
  care.tree->Kill(care.timeout_ms, [this, process, let_go](const Status& killed) {
    Care& swept = *process->care;
    CancelTimers(&swept);
    swept.usage.left = !killed.ok();
    swept.usage.cgroup = swept.tree->Usage();
    swept.exit->oom_kills = swept.usage.cgroup.oom_kills;
    let_go();
    host_.SweepEnded(process);
  });
  return true;
}

void Caretaker::Claim(Process* process, ClientId client) {
  if (process->care && process->care->spec.bound) process->care->client = client;
}

std::shared_ptr<ProcessTree> Caretaker::TreeOf(const std::string& process) const {
  auto known = trees_.find(process);
  return known == trees_.end() ? nullptr : known->second;
}

uint64_t Caretaker::OomKills() const {
  uint64_t kills = ended_oom_kills_;
  for (const auto& [process, tree] : trees_) kills += tree->OomKills();
  return kills;
}

}  // namespace lc::shim
