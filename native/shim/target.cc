// The running container as the kernel shows it: what an exec joins, whether it is frozen, what the OOM killer
// did.
#include "shim/target.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>

#include "cgroup/layout.h"
#include "cgroup/memory_events.h"
#include "container/recorded_cgroups.h"
#include "core/files.h"
#include "core/keyed_text.h"
#include "core/process_identity.h"
#include "core/protection.h"
#include "nsexec/parent.h"
#include "oci/process_json.h"

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

// Where init goes with ContainerOptions.subgroups.
constexpr const char* kInitCgroup = "init";

uint64_t KeyedValue(const UniqueFd& fd, std::string_view key) {
  if (!fd) return 0;
  auto text = RereadFd(fd.get(), "cgroup");
  return text ? ScanKeyed(*text, key).value_or(0) : 0;
}

Error Unsupported(const std::string& what) {
  return Error::Coded("ERR_UNSUPPORTED",
                      "exec cannot apply " + what + ", which the container or the process asks for");
}

bool HasAppArmor() {
  auto enabled = ReadFile("/sys/module/apparmor/parameters/enabled", 64);
  return (enabled.ok() && enabled->starts_with("Y")) || Without("labels");
}

bool HasSelinux() {
  struct statfs fs {};
  return statfs("/sys/fs/selinux", &fs) == 0 && fs.f_type == SELINUX_MAGIC;
}

Result<std::optional<cpu_set_t>> CpuSet(const std::string& cpus) {
  if (cpus.empty()) return std::optional<cpu_set_t>();
  auto list = ParseCpuList(cpus);
  if (!list) return list.error();
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int cpu : *list) {
    if (cpu < CPU_SETSIZE) CPU_SET(static_cast<size_t>(cpu), &set);
  }
  return std::optional<cpu_set_t>(set);
}

// The next number of a line, which it takes from `text`.
uint64_t TakeNumber(std::string_view* text) {
  while (text->starts_with(' ')) text->remove_prefix(1);
  const std::string_view word = text->substr(0, text->find(' '));
  text->remove_prefix(word.size());
  return ParseU64(word).value_or(0);
}

std::vector<IdRange> ParseIdMap(std::string_view text) {
  std::vector<IdRange> out;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    IdRange range;
    range.inside = TakeNumber(&line);
    range.outside = TakeNumber(&line);
    range.count = TakeNumber(&line);
    out.push_back(range);
  }
  return out;
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
  target->init_start_ = init_start;
  for (const std::string& name : target->record_.namespaces) {
    int flag = NamespaceFlag(name);
    if (flag == 0) return Unsupported("a " + name + " namespace");
    target->namespaces_ |= flag;
  }
  auto pidfd = OpenPidfd(init_pid, init_start);
  if (pidfd) {
    target->init_pidfd_ = std::move(*pidfd);
  } else if (pidfd.error().err != ENOSYS) {
    return pidfd.error();
  }
  if ((target->namespaces_ & CLONE_NEWUSER) != 0) {
    std::string path = "/proc/" + std::to_string(init_pid) + "/uid_map";
    auto text = ReadFile(path);
    if (!text) return text.error();
    target->uid_map_ = ParseIdMap(*text);
    if (!IsAlive(init_pid, init_start)) return Error::Of(ESRCH, "open", path);
  }
  if ((target->namespaces_ & CLONE_NEWNS) == 0) {
    std::string path = "/proc/" + std::to_string(init_pid) + "/root";
    target->root_.Reset(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!target->root_) return Error::Sys("open", path);
    if (!IsAlive(init_pid, init_start)) return Error::Of(ESRCH, "open", path);
  }
  auto opened = target->OpenCgroups();
  if (!opened) return opened.error();
  if (!target->record_.intel_rdt_path.empty()) {
    std::string path = target->record_.intel_rdt_path + "/tasks";
    target->rdt_tasks_.Reset(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    // A class that is gone confines nobody (runc passes over it too).
    if (!target->rdt_tasks_ && errno != ENOENT) return Error::Sys("open", path);
  }
  return target;
}

Result<CgroupPaths> Target::InitCgroups(const CgroupLayout& layout) const {
  std::string path = "/proc/" + std::to_string(init_pid_) + "/cgroup";
  auto text = ReadFile(path);
  if (!text) return text.error();
  if (!IsAlive(init_pid_, init_start_)) return Error::Of(ESRCH, "open", path);
  return PathsFromProc(layout, *text);
}

// The cgroup.procs of a recorded cgroup, or, where that has been removed, of the one that init is in now: a
// process must not run outside of what confines init. `directory` becomes the one that was found.
Result<UniqueFd> Target::OpenProcs(const std::string& controller, std::string* directory) const {
  std::string path = *directory + "/cgroup.procs";
  UniqueFd recorded(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (recorded) return recorded;
  if (errno != ENOENT) return Error::Sys("open", path);
  auto layout = ReadLayout();
  if (!layout) return layout.error();
  // A hierarchy that is not mounted any more confines nobody.
  if (!controller.empty() && layout->FindV1(controller) == nullptr) return UniqueFd();
  auto now = InitCgroups(*layout);
  if (!now) return now.error();
  const std::string* actual = controller.empty() ? &now->unified : now->Find(controller);
  const bool outside =
      actual == nullptr || actual->empty() || (*actual + "/").find("/../") != std::string::npos;
  if (outside) return Error::Of(ENOENT, "open", path);
  path = *actual + "/cgroup.procs";
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) return Error::Sys("open", path);
  *directory = *actual;
  return fd;
}

Status Target::OpenCgroups() {
  auto recorded = RecordedCgroups(record_);
  if (!recorded) return recorded.error();
  cgroups_ = std::move(*recorded);
  // Controllers that share a hierarchy share a directory, which is joined once.
  std::vector<std::string> joined;
  std::vector<std::string> found;
  auto open_one = [&](const std::string& controller, std::string* directory) -> Status {
    auto known = std::find(joined.begin(), joined.end(), *directory);
    auto index = static_cast<int>(known - joined.begin());
    if (known == joined.end()) {
      joined.push_back(*directory);
      auto fd = OpenProcs(controller, directory);
      if (!fd) return fd.error();
      cgroup_procs_.push_back(std::move(*fd));
      found.push_back(*directory);
      cgroup_directories_.push_back(*directory);
    }
    *directory = found[static_cast<size_t>(index)];
    if (controller == "pids" || (controller.empty() && cgroups_.is_v2_only())) pids_index_ = index;
    return Ok();
  };
  for (auto& cgroup : cgroups_.v1) {
    auto opened = open_one(cgroup.name, &cgroup.path);
    if (!opened) return opened;
  }
  if (!cgroups_.unified.empty()) {
    auto opened = open_one({}, &cgroups_.unified);
    if (!opened) return opened;
  }
  if (cgroups_.is_v2_only()) {
    unified_directory_.Reset(open(cgroups_.unified.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!unified_directory_) return Error::Sys("open", cgroups_.unified);
  }
  if (const std::string* freezer = cgroups_.Find("freezer")) {
    freezer_.Reset(open((*freezer + "/freezer.state").c_str(), O_RDONLY | O_CLOEXEC));
  } else if (!cgroups_.unified.empty()) {
    freezer_.Reset(open((cgroups_.unified + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
    freezer_v2_ = true;
  }
  oom_path_ = MemoryEventsFile(cgroups_);
  if (!oom_path_.empty()) oom_.Reset(open(oom_path_.c_str(), O_RDONLY | O_CLOEXEC));
  return Ok();
}

Status Target::ReopenCgroups() {
  cgroup_procs_.clear();
  cgroup_directories_.clear();
  pids_index_ = -1;
  return OpenCgroups();
}

Status Target::Place(nsexec::Plan* plan, bool follow_init, const OwnCgroup* cgroup) {
  if (follow_init && cgroup == nullptr) return FollowInit(plan);
  plan->cgroup_procs.clear();
  for (size_t i = 0; i < cgroup_procs_.size(); ++i) {
    const int own = cgroup == nullptr ? -1 : cgroup->ProcsFor(cgroup_directories_[i]);
    plan->cgroup_procs.push_back(own >= 0 ? own : cgroup_procs_[i].get());
  }
  plan->cgroup_fd = cgroup != nullptr ? cgroup->directory() : unified_directory_.get();
  plan->pids_index = pids_index_;
  return Ok();
}

Status Target::AttachLate(pid_t pid, const nsexec::Plan& plan) {
  if (plan.pids_index < 0 || plan.pids_index >= static_cast<int>(plan.cgroup_procs.size()))
    return Error::Of(ENOENT, "write cgroup.procs");
  const std::string text = std::to_string(pid);
  const int fd = plan.cgroup_procs[static_cast<size_t>(plan.pids_index)];
  if (pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    return Error::Sys("write cgroup.procs");
  return Ok();
}

Status Target::MakeSubgroups() {
  if (!cgroups_.is_v2_only()) return Ok();
  const std::string& unified = cgroups_.unified;
  const std::string init = unified + "/" + kInitCgroup;
  if (mkdir(init.c_str(), 0755) != 0 && errno != EEXIST) return Error::Sys("mkdir", init);
  auto moved = WriteOnceAt(AT_FDCWD, init + "/cgroup.procs", std::to_string(init_pid_));
  if (!moved) return moved;
  auto controllers = ReadFile(unified + "/cgroup.controllers", 4096);
  if (!controllers) return controllers.error();
  std::string_view left = TrimEnd(*controllers);
  while (!left.empty()) {
    const std::string_view name = left.substr(0, left.find(' '));
    // One by one: a controller that cannot be passed on now (cpu, with realtime processes) keeps none of the
    // others away.
    (void)WriteOnceAt(AT_FDCWD, unified + "/cgroup.subtree_control", "+" + std::string(name));
    left.remove_prefix(std::min(left.size(), name.size() + 1));
  }
  return Ok();
}

Status Target::FollowInit(nsexec::Plan* plan) {
  Error busy = Error::Of(EBUSY, "write", cgroups_.unified + "/cgroup.procs");
  if (!cgroups_.is_v2_only()) return busy;
  auto layout = ReadLayout();
  if (!layout) return layout.error();
  auto init = InitCgroups(*layout);
  if (!init) return init.error();
  const std::string& now = init->unified;
  if (!now.starts_with(cgroups_.unified + "/") || now.find("/../") != std::string::npos) return busy;
  init_directory_.Reset(open(now.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  init_procs_.Reset(open((now + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!init_directory_ || !init_procs_) return Error::Sys("open", now);
  if (!IsAlive(init_pid_, init_start_)) return Error::Of(ESRCH, "open", now);
  plan->cgroup_fd = init_directory_.get();
  plan->cgroup_procs = {init_procs_.get()};
  plan->pids_index = 0;
  return Ok();
}

std::optional<uid_t> Target::HostUid(uid_t uid) const {
  if ((namespaces_ & CLONE_NEWUSER) == 0) return uid;
  for (const IdRange& range : uid_map_) {
    if (uid >= range.inside && uid - range.inside < range.count)
      return static_cast<uid_t>(range.outside + (uid - range.inside));
  }
  return std::nullopt;
}

bool Target::IsPaused() const {
  if (!freezer_) return false;
  if (freezer_v2_) return KeyedValue(freezer_, "frozen") == 1;
  // One word in one read. FREEZING counts: a process that joined now would stop before it ran.
  char word[16];
  ssize_t size = pread(freezer_.get(), word, sizeof(word), 0);
  return size > 0 && TrimEnd({word, static_cast<size_t>(size)}) != "THAWED";
}

void Target::Thaw() const {
  if (const std::string* freezer = cgroups_.Find("freezer")) {
    (void)WriteOnceAt(AT_FDCWD, *freezer + "/freezer.state", "THAWED");
  } else if (!cgroups_.unified.empty()) {
    (void)WriteOnceAt(AT_FDCWD, cgroups_.unified + "/cgroup.freeze", "0");
  }
}

void Target::ReleaseFrozen(pid_t pid) const {
  if (freezer_v2_) return;
  auto layout = ReadLayout();
  auto own = ReadFile("/proc/self/cgroup");
  if (!layout || !own) return;
  const CgroupPaths paths = PathsFromProc(*layout, *own);
  const std::string* freezer = paths.Find("freezer");
  if (freezer != nullptr) (void)WriteOnceAt(AT_FDCWD, *freezer + "/cgroup.procs", std::to_string(pid));
}

// A v2 controller may be taken away and given back: by new files, which count from 0.
uint64_t Target::OomKills() {
  if (oom_path_.empty()) return 0;
  auto text = oom_ ? RereadFd(oom_.get(), oom_path_) : Result<std::string>(Error::Of(ENODEV, "read"));
  if (!text && text.error().err == ENODEV) {
    oom_.Reset(open(oom_path_.c_str(), O_RDONLY | O_CLOEXEC));
    if (oom_) text = RereadFd(oom_.get(), oom_path_);
  }
  if (!text) return oom_kills_;
  uint64_t now = ParseMemoryEvents(*text).oom_kill.value_or(0);
  oom_kills_ += now >= oom_last_ ? now - oom_last_ : now;
  oom_last_ = now;
  return oom_kills_;
}

Result<nsexec::Plan> Target::PlanFor(const OciProcess& process) {
  if (!process.apparmor_profile.empty() && !HasAppArmor())
    return Unsupported("an AppArmor profile, on a kernel without AppArmor");
  if (!process.selinux_label.empty() && !HasSelinux())
    return Unsupported("an SELinux label, on a kernel without SELinux");
  if (record_.has_memory_policy) return Unsupported("a memory policy");
  if (record_.has_seccomp && !seccomp_) {
    auto filter = LoadSeccompFilter(record_);
    if (!filter) return filter.error();
    seccomp_ = std::move(*filter);
  }

  nsexec::Plan plan;
  plan.args = process.args;
  plan.env = process.env;
  plan.cwd = process.cwd;
  plan.terminal = process.terminal;
  plan.rows = process.rows;
  plan.columns = process.columns;
  plan.init_pidfd = init_pidfd_.get();
  plan.init_pid = init_pid_;
  plan.init_start = init_start_;
  plan.root_fd = root_.get();
  plan.namespaces = namespaces_;
  plan.uid = process.uid;
  plan.stdio_owner = HostUid(process.uid);
  plan.gid = process.gid;
  plan.groups = process.groups;
  plan.umask = process.umask.value_or(record_.umask.value_or(022));
  plan.bounding = process.capabilities.bounding;
  plan.effective = process.capabilities.effective;
  plan.inheritable = process.capabilities.inheritable;
  plan.permitted = process.capabilities.permitted;
  plan.ambient = process.capabilities.ambient;
  plan.no_new_privileges = process.no_new_privileges;
  plan.limits = process.rlimits;
  plan.oom_score_adj = process.oom_score_adj ? process.oom_score_adj : record_.oom_score_adj;
  plan.personality = record_.personality;
  plan.io_priority = process.io_priority;
  plan.scheduler = process.scheduler;
  auto initial = CpuSet(process.affinity_initial);
  auto final = CpuSet(process.affinity_final);
  if (!initial) return initial.error();
  if (!final) return final.error();
  plan.affinity_initial = *initial;
  plan.affinity_final = *final;
  if (!process.apparmor_profile.empty()) plan.apparmor_exec = "exec " + process.apparmor_profile;
  plan.selinux_label = process.selinux_label;
  plan.rdt_tasks = rdt_tasks_.get();
  if (seccomp_) {
    plan.seccomp_program = &seccomp_->program;
    plan.seccomp_flags = seccomp_->flags;
  }
  if (record_.kind == RuntimeRecord::Kind::kRunc && !record_.no_new_keyring)
    plan.session_keyring = "_ses." + id_;
  return plan;
}

}  // namespace lc::shim
