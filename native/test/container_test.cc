// A live container, made of a runtime's record and real cgroups: status, update with rollback, kill of all.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>

#include "cgroup_trees.h"
#include "container/live_container.h"
#include "container/recorded_cgroups.h"
#include "core/process_identity.h"

namespace {

using lc_test::ReadOrEmpty;
using lc_test::RealCgroup;
using lc_test::Tree;

// Cgroups with an init process in them and runc's record of both, below a temporary runtime root.
class Recorded {
 public:
  explicit Recorded(RealCgroup* cgroup) : Recorded(cgroup, cgroup->SpawnSleeper()) {}
  Recorded(RealCgroup* cgroup, pid_t pid) : cgroup_(cgroup), init(pid) {
    REQUIRE(init > 0);
    start = lc::ReadProcStat(init)->start;
    tree.File("web/state.json", Record(init));
    live = Open();
  }

  std::string Record(pid_t pid) const {
    std::string paths;
    for (const auto& controller : cgroup_->paths.v1)
      paths += "\"" + controller.name + "\":\"" + controller.path + "\",";
    if (!cgroup_->paths.unified.empty()) paths += "\"\":\"" + cgroup_->paths.unified + "\",";
    paths.pop_back();
    return "{\"id\":\"web\",\"init_process_pid\":" + std::to_string(pid) +
           ",\"init_process_start\":" + std::to_string(start) + ",\"cgroup_paths\":{" + paths +
           "},\"config\":{\"namespaces\":[],\"cgroups\":{\"memory\":0,\"pids_limit\":0}}}";
  }

  std::unique_ptr<lc::LiveContainer> Open() const {
    return std::make_unique<lc::LiveContainer>(lc::ContainerQuery{"web", {tree.path}, init, start}, budget);
  }

 private:
  RealCgroup* cgroup_;

 public:
  Tree tree;
  pid_t init;
  uint64_t start = 0;
  std::shared_ptr<lc::DescriptorBudget> budget = std::make_shared<lc::DescriptorBudget>(100);
  std::unique_ptr<lc::LiveContainer> live;
};

std::string PidsMax(const RealCgroup& cgroup) {
  const std::string* pids = cgroup.paths.Find("pids");
  return ReadOrEmpty((pids != nullptr ? *pids : cgroup.paths.unified) + "/pids.max");
}

std::string CodeOf(const lc::Error& error) {
  return error.code == nullptr ? "" : error.code;
}

// Somebody waits for a lock on this file: proc_locks(5), "-> FLOCK ADVISORY WRITE pid major:minor:inode".
bool IsWaitedFor(const std::string& path) {
  struct stat st {};
  REQUIRE(stat(path.c_str(), &st) == 0);
  const std::string locks = ReadOrEmpty("/proc/locks");
  const std::string inode = ":" + std::to_string(st.st_ino) + " ";
  for (size_t at = locks.find("-> FLOCK"); at != std::string::npos; at = locks.find("-> FLOCK", at + 1)) {
    if (locks.substr(at, locks.find('\n', at) - at).find(inode) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("container: status by the runtime's record, its FIFO and its freezer") {
  RealCgroup cgroup("live-status");
  if (!cgroup.usable()) return;
  Recorded web(&cgroup);
  CHECK(*web.live->ReadStatus() == "running");
  mkfifo((web.tree.path + "/web/exec.fifo").c_str(), 0600);
  CHECK(*web.live->ReadStatus() == "created");
  unlink((web.tree.path + "/web/exec.fifo").c_str());
  REQUIRE(web.live->Pause(10'000).ok());
  CHECK(*web.live->ReadStatus() == "paused");
  REQUIRE(web.live->Resume().ok());
  CHECK(*web.live->ReadStatus() == "running");
  CHECK(*web.live->ReadPids() == std::vector<pid_t>{web.init});
  CHECK(*web.live->Lives());
  CHECK(web.live->InitRuns());
  kill(web.init, SIGKILL);
  siginfo_t ended{};
  REQUIRE(waitid(P_PID, static_cast<id_t>(web.init), &ended, WEXITED | WNOWAIT) == 0);
  CHECK(*web.live->ReadStatus() == "stopped");
  CHECK_FALSE(*web.live->Lives());
}

TEST_CASE("container: a record of a later container is not this one's") {
  RealCgroup cgroup("live-later");
  if (!cgroup.usable()) return;
  Recorded web(&cgroup);
  web.tree.File("web/state.json", web.Record(web.init + 1));
  auto live = web.Open();
  auto pids = live->ReadPids();
  REQUIRE_FALSE(pids.ok());
  CHECK(CodeOf(pids.error()) == "ERR_CONTAINER_EXITED");
  CHECK(CodeOf(live->Update(R"({"pids":{"limit":7}})", {}).error()) == "ERR_CONTAINER_EXITED");
  (void)lc::RemoveTreeAt(AT_FDCWD, web.tree.path + "/web");
  CHECK(CodeOf(live->WatchPaths().error()) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("container: an update writes the kernel's files and the record, or neither") {
  RealCgroup cgroup("live-update");
  if (!cgroup.usable()) return;
  Recorded web(&cgroup);
  auto updated = web.live->Update(R"({"pids":{"limit":7}})", {});
  REQUIRE_MESSAGE(updated.ok(), updated.error().text);
  CHECK(static_cast<bool>(*updated));  // the previous version of the record
  CHECK(PidsMax(cgroup) == "7");
  CHECK(web.tree.Text("web/state.json").find("\"pids_limit\":7") != std::string::npos);

  // A value that the kernel refuses: the record stays as it is.
  auto refused = web.live->Update(R"({"pids":{"limit":9},"cpu":{"cpus":"4096"}})", {});
  CHECK_FALSE(refused.ok());
  CHECK(PidsMax(cgroup) == "7");
  CHECK(web.tree.Text("web/state.json").find("\"pids_limit\":7") != std::string::npos);

  // A record that cannot be written: the kernel's files are put back.
  web.tree.Dir("web/state.json.tmp." + std::to_string(getpid()));
  auto unwritten = web.live->Update(R"({"pids":{"limit":9}})", {});
  REQUIRE_FALSE(unwritten.ok());
  CHECK(unwritten.error().path == web.tree.path + "/web/state.json");
  CHECK(PidsMax(cgroup) == "7");
  CHECK(web.tree.Text("web/state.json").find("\"pids_limit\":7") != std::string::npos);
}

TEST_CASE("container: updates take turns, and follow a record whose directory was replaced") {
  RealCgroup cgroup("live-turns");
  if (!cgroup.usable()) return;
  Recorded web(&cgroup);
  const std::string directory = web.tree.path + "/web";
  REQUIRE(web.live->Update(R"({"pids":{"limit":7}})", {}).ok());  // keeps the directory open
  lc::UniqueFd lock(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  REQUIRE(flock(lock.get(), LOCK_EX) == 0);
  bool updated = false;
  std::thread other([&] { updated = web.live->Update(R"({"pids":{"limit":8}})", {}).ok(); });
  CHECK(lc_test::Eventually([&] { return IsWaitedFor(directory); }));
  CHECK(PidsMax(cgroup) == "7");
  lock.Reset();
  other.join();
  CHECK(updated);
  CHECK(PidsMax(cgroup) == "8");

  REQUIRE(rename(directory.c_str(), (web.tree.path + "/old").c_str()) == 0);
  web.tree.File("web/state.json", web.Record(web.init));
  unlink((web.tree.path + "/old/state.json").c_str());
  REQUIRE(web.live->Update(R"({"pids":{"limit":9}})", {}).ok());
  CHECK(web.tree.Text("web/state.json").find("\"pids_limit\":9") != std::string::npos);
}

TEST_CASE("container: what is kept open is released") {
  RealCgroup cgroup("live-release");
  if (!cgroup.usable()) return;
  Recorded web(&cgroup);
  REQUIRE(web.live->ReadStats().ok());
  REQUIRE(web.live->Update(R"({"pids":{"limit":7}})", {}).ok());
  CHECK(web.budget->used() > 0);
  web.live->Release();
  CHECK(web.budget->used() == 0);
  CHECK(web.live->ReadStats().ok());
}

TEST_CASE("container: a kill of all ends forks and cgroups below, also where they are frozen") {
  RealCgroup cgroup("live-kill");
  if (!cgroup.usable()) return;
  for (const std::string& directory : cgroup.Directories()) mkdir((directory + "/inner").c_str(), 0755);
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    const std::string* cpuset = cgroup.paths.Find("cpuset");
    if (cpuset != nullptr) lc_test::Put(*cpuset + "/inner" + file, ReadOrEmpty(*cpuset + file));
  }
  const std::string below = cgroup.mode == lc::CgroupMode::kV2 ? "" : "/inner";
  Recorded web(&cgroup);
  pid_t inner = cgroup.SpawnSleeper(below);
  REQUIRE(inner > 0);
  // Forks faster than one round signals; reaps nobody, which is init's affair.
  pid_t bomb = cgroup.Spawn([] {
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
      if (fork() == 0) _exit(0);
    }
  });
  REQUIRE(bomb > 0);
  if (const std::string* freezer = cgroup.paths.Find("freezer")) {
    REQUIRE(lc_test::Put(*freezer + below + "/freezer.state", "FROZEN"));
  }
  REQUIRE(web.live->SignalAll(SIGKILL).ok());
  CHECK_FALSE(*web.live->Lives());
  for (pid_t pid : {web.init, inner, bomb}) {
    siginfo_t ended{};
    REQUIRE(waitid(P_PID, static_cast<id_t>(pid), &ended, WEXITED | WNOWAIT) == 0);
    CHECK(ended.si_code == CLD_KILLED);
    CHECK(ended.si_status == SIGKILL);
  }
  CHECK(CodeOf(web.live->SignalAll(SIGTERM).error()) == "ERR_CONTAINER_EXITED");
  CHECK(web.live->ReleaseKilled().ok());
}

TEST_CASE("container: a kill of all that takes too long says so") {
  RealCgroup cgroup("live-late");
  if (!cgroup.usable()) return;
  Recorded web(&cgroup);
  auto late = web.live->SignalAll(SIGKILL, -1);
  REQUIRE_FALSE(late.ok());
  CHECK(late.error().err == EAGAIN);
  CHECK(late.error().text == "not every process could be reached, or ended, in time");
}

TEST_CASE("container: the stats of many, each with its own failure") {
  RealCgroup cgroup("live-many");
  if (!cgroup.usable()) return;
  Recorded web(&cgroup);
  std::vector<std::shared_ptr<lc::LiveContainer>> both = {
      web.Open(), std::make_shared<lc::LiveContainer>(
                      lc::ContainerQuery{"none", {web.tree.path}, web.init, web.start}, web.budget)};
  auto stats = lc::ReadStatsOfAll(both);
  REQUIRE(stats.size() == 2);
  CHECK(stats[0].ok());
  CHECK(stats[0]->timestamp_ns > 0);
  REQUIRE_FALSE(stats[1].ok());
  CHECK(CodeOf(stats[1].error()) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("container: the cgroups of a record, as each runtime words them") {
  lc::RuntimeRecord record;
  record.kind = lc::RuntimeRecord::Kind::kRunc;
  record.cgroups.unified = "/sys/fs/cgroup/web";
  record.cgroups.v1 = {{"cpu", "/b"}, {"cpuacct", "/b"}, {"memory", "/a"}};
  CHECK(lc::RecordedCgroups(record)->unified == "/sys/fs/cgroup/web");
  CHECK(lc::Directories(record.cgroups) == std::vector<std::string>{"/a", "/b", "/sys/fs/cgroup/web"});
  record.kind = lc::RuntimeRecord::Kind::kCrun;
  CHECK(lc::RecordedCgroups(record)->empty());  // told to make none
  record.cgroup_path = "/web";
  auto layout = lc::ReadLayout();
  REQUIRE(layout.ok());
  auto composed = lc::RecordedCgroups(record);
  REQUIRE(composed.ok());
  CHECK(lc::Directories(*composed) == lc::Directories(lc::ComposePaths(*layout, "/web")));
}
