// The running container as the kernel shows it: what an exec joins, whether it is frozen, what the OOM killer
// did.
#include "shim/target.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>

#include "cgroup/mode.h"
#include "core/files.h"
#include "core/keyed_text.h"
#include "core/process_identity.h"
#include "nsexec/parent.h"

namespace lc::shim {
namespace {

int NamespaceFlag(const std::string& name) {
  if (name == "pid") return CLONE_NEWPID;
  if (name == "network") return CLONE_NEWNET;
  if (name == "ipc") return CLONE_NEWIPC;
  if (name == "uts") return CLONE_NEWUTS;
  if (name == "mount") return CLONE_NEWNS;
  if (name == "user") return CLONE_NEWUSER;
  if (name == "cgroup") return CLONE_NEWCGROUP;
  if (name == "time") return CLONE_NEWTIME;
  return 0;
}

uint64_t KeyedValue(const UniqueFd& fd, std::string_view key) {
  if (!fd) return 0;
  auto text = RereadFd(fd.get(), "cgroup");
  return text ? ScanKeyed(*text, key).value_or(0) : 0;
}

Error Unsupported(const std::string& what) {
  return Error::Coded("ERR_UNSUPPORTED",
                      "exec cannot apply " + what + ", which the container or the process asks for");
}

}  // namespace

Result<std::unique_ptr<Target>> Target::Open(const Settings& settings, pid_t init_pid, uint64_t init_start) {
  auto record = LoadRuntimeRecord(RuntimeRoots(settings.runtime, settings.runtime_args), settings.id);
  if (!record) return record.error();
  if (record->init_pid != init_pid || (record->init_start != 0 && record->init_start != init_start)) {
    return Error::Coded("ERR_STATE_CORRUPT", "the runtime's record is about another process",
                        record->directory);
  }
  auto target = std::make_unique<Target>();
  target->record_ = std::move(*record);
  target->id_ = settings.id;
  target->init_pid_ = init_pid;
  for (const std::string& name : target->record_.namespaces) target->namespaces_ |= NamespaceFlag(name);
  target->held_bounding_ = nsexec::HeldBounding((target->namespaces_ & CLONE_NEWUSER) != 0);
  auto pidfd = OpenPidfd(init_pid, init_start);
  if (pidfd) {
    target->init_pidfd_ = std::move(*pidfd);
  } else if (pidfd.error().err != ENOSYS) {
    return pidfd.error();
  }
  if ((target->namespaces_ & CLONE_NEWPID) != 0) {
    std::string path = "/proc/" + std::to_string(init_pid) + "/ns/pid";
    target->pid_namespace_.Reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!target->pid_namespace_) return Error::Sys("open", path);
    target->own_pid_namespace_.Reset(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC));
    if (!target->own_pid_namespace_) return Error::Sys("open", "/proc/self/ns/pid");
    if (!IsAlive(init_pid, init_start)) return Error::Of(ESRCH, "open", path);
  }
  auto opened = target->OpenCgroups();
  if (!opened) return opened.error();
  return target;
}

Status Target::OpenCgroups() {
  cgroups_ = record_.cgroups;
  if (record_.kind == RuntimeRecord::Kind::kCrun) {
    auto layout = ReadLayout();
    if (!layout) return layout.error();
    cgroups_ = ComposePaths(*layout, record_.cgroup_path);
  }
  std::vector<std::string> directories;
  for (const auto& controller : cgroups_.v1) directories.push_back(controller.path);
  if (!cgroups_.unified.empty()) directories.push_back(cgroups_.unified);
  std::sort(directories.begin(), directories.end());
  directories.erase(std::unique(directories.begin(), directories.end()), directories.end());
  for (const std::string& directory : directories) {
    std::string path = directory + "/cgroup.procs";
    UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    // A hierarchy that the runtime did not use for this container (runc passes over it too).
    if (!fd && errno == ENOENT) continue;
    if (!fd) return Error::Sys("open", path);
    cgroup_procs_.push_back(std::move(fd));
  }
  if (cgroups_.is_v2_only()) {
    unified_directory_.Reset(open(cgroups_.unified.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  if (const std::string* freezer = cgroups_.Find("freezer")) {
    freezer_.Reset(open((*freezer + "/freezer.state").c_str(), O_RDONLY | O_CLOEXEC));
  } else if (!cgroups_.unified.empty()) {
    freezer_.Reset(open((cgroups_.unified + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
    freezer_v2_ = true;
  }
  if (const std::string* memory = cgroups_.Find("memory")) {
    oom_.Reset(open((*memory + "/memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
  } else if (!cgroups_.unified.empty()) {
    oom_.Reset(open((cgroups_.unified + "/memory.events").c_str(), O_RDONLY | O_CLOEXEC));
  }
  return Ok();
}

bool Target::IsPaused() const {
  if (!freezer_) return false;
  if (freezer_v2_) return KeyedValue(freezer_, "frozen") == 1;
  auto state = RereadFd(freezer_.get(), "freezer.state", 64);
  // FREEZING counts: a process that joined now would stop before it ran.
  return state.ok() && TrimEnd(*state) != "THAWED";
}

void Target::Thaw() const {
  if (const std::string* freezer = cgroups_.Find("freezer")) {
    (void)WriteOnceAt(AT_FDCWD, *freezer + "/freezer.state", "THAWED");
  } else if (!cgroups_.unified.empty()) {
    (void)WriteOnceAt(AT_FDCWD, cgroups_.unified + "/cgroup.freeze", "0");
  }
}

uint64_t Target::OomKills() const {
  return KeyedValue(oom_, "oom_kill");
}

Result<nsexec::Plan> Target::PlanFor(const OciProcess& process) const {
  if (record_.has_seccomp) return Unsupported("a seccomp filter");
  if (!process.apparmor_profile.empty()) return Unsupported("an AppArmor profile");
  if (!process.selinux_label.empty()) return Unsupported("an SELinux label");
  if (record_.has_intel_rdt) return Unsupported("an Intel RDT class");
  if (record_.has_memory_policy) return Unsupported("a memory policy");

  nsexec::Plan plan;
  plan.args = process.args;
  plan.env = process.env;
  plan.cwd = process.cwd;
  plan.terminal = process.terminal;
  plan.rows = process.rows;
  plan.columns = process.columns;
  plan.init_pidfd = init_pidfd_.get();
  plan.init_pid = init_pid_;
  plan.namespaces = namespaces_;
  plan.pid_namespace_fd = pid_namespace_.get();
  plan.own_pid_namespace_fd = own_pid_namespace_.get();
  for (const UniqueFd& fd : cgroup_procs_) plan.cgroup_procs.push_back(fd.get());
  plan.cgroup_fd = unified_directory_.get();
  plan.uid = process.uid;
  plan.gid = process.gid;
  plan.groups = process.groups;
  plan.umask = process.umask.value_or(record_.umask.value_or(022));
  plan.bounding = process.capabilities.bounding;
  plan.held_bounding = held_bounding_;
  plan.effective = process.capabilities.effective;
  plan.inheritable = process.capabilities.inheritable;
  plan.permitted = process.capabilities.permitted;
  plan.ambient = process.capabilities.ambient;
  plan.no_new_privileges = process.no_new_privileges;
  for (const ResourceLimit& limit : process.rlimits) {
    plan.limits.push_back({limit.resource, limit.soft, limit.hard});
  }
  plan.oom_score_adj = process.oom_score_adj ? process.oom_score_adj : record_.oom_score_adj;
  plan.personality = record_.personality;
  plan.io_priority = process.io_priority;
  if (process.scheduler) {
    const SchedulerSpec& spec = *process.scheduler;
    nsexec::SchedAttr attr;
    attr.policy = spec.policy;
    attr.flags = spec.flags;
    attr.nice = spec.nice;
    attr.priority = spec.priority;
    attr.runtime = spec.runtime;
    attr.deadline = spec.deadline;
    attr.period = spec.period;
    plan.scheduler = attr;
  }
  const std::string& cpus =
      process.affinity_final.empty() ? process.affinity_initial : process.affinity_final;
  if (!cpus.empty()) {
    auto list = ParseCpuList(cpus);
    if (!list) return list.error();
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu : *list) {
      if (cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
    }
    plan.affinity = set;
  }
  if (record_.kind == RuntimeRecord::Kind::kRunc && !record_.no_new_keyring)
    plan.session_keyring = "_ses." + id_;
  return plan;
}

}  // namespace lc::shim
