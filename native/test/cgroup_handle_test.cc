// Handles: figures of real cgroups against their files, budgets, EMFILE, cgroups that go away, and bad trees.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <string>
#include <thread>

#include "cgroup/handle.h"
#include "cgroup/stats/parse.h"
#include "cgroup_stats_json.h"
#include "cgroup_trees.h"
#include "core/json.h"

using lc::CgroupHandle;
using lc_test::ReadOrEmpty;

namespace {

int OpenDescriptors() {
  int count = 0;
  for (int fd = 0; fd < 4096; ++fd) count += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

struct Reader {
  lc::StatsScratch scratch;
  lc::Stats stats;
  lc::Status Read(CgroupHandle& handle, size_t keep = SIZE_MAX) {
    return handle.ReadStats(&scratch, &stats, keep);
  }
};

lc::CgroupPaths TreePaths(const lc_test::Tree& tree) {
  lc::CgroupPaths paths;
  for (const char* name :
       {"cpu", "cpuacct", "memory", "pids", "blkio", "cpuset", "devices", "freezer", "hugetlb"}) {
    paths.v1.push_back({name, tree.Dir(name)});
    tree.File(std::string(name) + "/cgroup.procs", "1\n");
  }
  return paths;
}

std::string CodeOf(const lc::Status& status) {
  return status.ok() || status.error().code == nullptr ? "" : status.error().code;
}

}  // namespace

TEST_CASE("handle: figures of a real cgroup are those of its files") {
  lc_test::RealCgroup cgroup("stats");
  if (!cgroup.usable()) return;
  pid_t pid = cgroup.Spawn([] {
    auto* page = static_cast<char*>(malloc(8 << 20));
    for (size_t i = 0; i < 8 << 20; i += 4096) page[i] = 1;
    lc_test::Spin(50'000'000);
    for (;;) pause();
  });
  REQUIRE(pid > 0);
  // Until it sleeps, so that its figures stand still.
  REQUIRE(lc_test::Eventually([&] {
    return ReadOrEmpty("/proc/" + std::to_string(pid) + "/stat").find(") S ") != std::string::npos;
  }));
  if (const std::string* memory = cgroup.paths.Find("memory")) {
    REQUIRE(lc_test::Put(*memory + "/memory.limit_in_bytes", "104857600"));
  }
  lc::DescriptorBudget budget;
  auto opened = CgroupHandle::Open(cgroup.paths, &budget);
  REQUIRE_MESSAGE(opened.ok(), opened.error().text);
  CgroupHandle& handle = **opened;
  Reader reader;
  // The first read opens, the second uses what was kept, with nothing kept each opens again: all alike.
  for (size_t keep : {SIZE_MAX, SIZE_MAX, size_t{0}}) {
    if (keep == 0) handle.Trim();
    lc::Status status = reader.Read(handle, keep);
    REQUIRE_MESSAGE(status.ok(), status.error().path);
    const lc::Stats& s = reader.stats;
    CHECK(s.timestamp_ns > 1'700'000'000'000'000'000);
    REQUIRE(s.cpu.total);
    CHECK(*s.cpu.total > 10'000'000);
    CHECK(s.pids.current.value_or(0) >= 1);
    CHECK(s.pids.limit.state == lc::Limit::State::kNone);
    REQUIRE(s.memory.usage.usage);
    CHECK(*s.memory.usage.usage > 8 << 20);
    if (const std::string* memory = cgroup.paths.Find("memory")) {
      CHECK(s.memory.usage.limit.value == 104857600);
      CHECK(s.memory.swap.limit.state == lc::Limit::State::kNone);
      CHECK(std::to_string(*s.memory.usage.max) == ReadOrEmpty(*memory + "/memory.max_usage_in_bytes"));
      CHECK(lc::MemoryStatValue(s, "rss").value_or(0) >= 8 << 20);
      CHECK(lc::MemoryStatValue(s, "cache") == s.memory.cache);
    }
    if (const std::string* cpuacct = cgroup.paths.Find("cpuacct")) {
      uint64_t later = std::stoull(ReadOrEmpty(*cpuacct + "/cpuacct.usage"));
      CHECK(*s.cpu.total <= later);
      CHECK(*s.cpu.total + 20'000'000 >= later);
    }
    if (cgroup.paths.Find("cpuset") != nullptr) {
      CHECK(s.cpuset.cpus.items.size() == static_cast<size_t>(sysconf(_SC_NPROCESSORS_ONLN)));
      CHECK(s.cpuset.sched_relax_domain_level == -1);
    }
    lc::JsonDocument document;
    REQUIRE(lc::ParseJson(lc_test::StatsJson(s), &document));
    CHECK(document.HasMember("intel_rdt"));
    CHECK(document["network_interfaces"].IsNull());
  }
  std::vector<pid_t> pids;
  REQUIRE(handle.ReadPids(&pids).ok());
  CHECK(pids == std::vector<pid_t>{pid});
  auto freezer = handle.ReadFreezerState();
  REQUIRE_MESSAGE(freezer.ok(), freezer.error().text);
  CHECK(freezer->state == lc::FreezerState::kThawed);
  REQUIRE(lc::Freeze(cgroup.paths).ok());
  freezer = handle.ReadFreezerState();
  CHECK(freezer->state == lc::FreezerState::kFrozen);
  CHECK(freezer->self);
  REQUIRE(lc::Thaw(cgroup.paths).ok());

  // Gone: every call says so, kept descriptors or not, even when a namesake comes.
  auto second = CgroupHandle::Open(cgroup.paths, &budget);
  lc::DescriptorBudget none(0);
  auto third = CgroupHandle::Open(cgroup.paths, &none);
  REQUIRE(second.ok());
  REQUIRE(third.ok());
  CHECK(reader.Read(handle).ok());
  CHECK(reader.Read(**second, 3).ok());
  CHECK(reader.Read(**third).ok());
  CHECK((*third)->kept() == 0);
  auto directories = cgroup.Directories();
  cgroup.RemoveNow();
  for (const std::string& directory : directories) mkdir(directory.c_str(), 0755);
  for (CgroupHandle* each : {&handle, second->get(), third->get()}) {
    CHECK(CodeOf(each->ReadPids(&pids)) == "ERR_CONTAINER_EXITED");
    CHECK(pids.empty());
    CHECK(CodeOf(reader.Read(*each)) == "ERR_CONTAINER_EXITED");
    CHECK(std::string(each->ReadFreezerState().error().code) == "ERR_CONTAINER_EXITED");
  }
  cgroup.RemoveNow();
  auto late = CgroupHandle::Open(cgroup.paths, &budget);
  REQUIRE_FALSE(late.ok());
  CHECK(std::string(late.error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("handle: one hierarchy goes while it is read" * doctest::skip(lc_test::LacksV1("pids"))) {
  lc_test::RealCgroup cgroup("half");
  if (!cgroup.usable()) return;
  lc::DescriptorBudget budget;
  lc::DescriptorBudget none(0);
  auto kept = CgroupHandle::Open(cgroup.paths, &budget);
  auto unkept = CgroupHandle::Open(cgroup.paths, &none);
  Reader reader;
  REQUIRE(reader.Read(**kept).ok());
  REQUIRE(reader.Read(**unkept).ok());
  REQUIRE(rmdir(cgroup.paths.Find("pids")->c_str()) == 0);
  CHECK(CodeOf(reader.Read(**kept)) == "ERR_CONTAINER_EXITED");
  CHECK(CodeOf(reader.Read(**unkept)) == "ERR_CONTAINER_EXITED");
  // Opened now: one is missing and no process is left, so the rest is on its way too.
  auto late = CgroupHandle::Open(cgroup.paths, &budget);
  REQUIRE_FALSE(late.ok());
  CHECK(std::string(late.error().code) == "ERR_CONTAINER_EXITED");
}

TEST_CASE("handle: a hierarchy that was mounted after the container was made" *
          doctest::skip(lc_test::LacksV1("pids"))) {
  lc_test::RealCgroup cgroup("late");
  if (!cgroup.usable()) return;
  REQUIRE(cgroup.SpawnSleeper() > 0);
  lc::CgroupPaths paths = cgroup.paths;
  std::erase_if(paths.v1, [](const auto& controller) { return controller.name == "rdma"; });
  paths.v1.push_back({"rdma", "/sys/fs/cgroup/none/such"});
  lc::DescriptorBudget budget;
  auto handle = CgroupHandle::Open(paths, &budget);
  REQUIRE_MESSAGE(handle.ok(), handle.error().text);
  Reader reader;
  REQUIRE(reader.Read(**handle).ok());
  CHECK_FALSE(reader.stats.rdma_current.present);
  CHECK(reader.stats.pids.current.value_or(0) >= 1);
}

TEST_CASE("handle: budgets, and what is given back") {
  lc_test::RealCgroup cgroup("budget");
  if (!cgroup.usable()) return;
  int before = OpenDescriptors();
  {
    lc::DescriptorBudget budget(20);
    auto first = CgroupHandle::Open(cgroup.paths, &budget);
    auto second = CgroupHandle::Open(cgroup.paths, &budget);
    Reader reader;
    REQUIRE(reader.Read(**first).ok());
    REQUIRE(reader.Read(**second).ok());
    REQUIRE(reader.Read(**first).ok());
    CHECK(budget.used() <= 20);
    CHECK(budget.used() == (*first)->kept() + (*second)->kept());
    CHECK(OpenDescriptors() - before == static_cast<int>(budget.used()));
    budget.SetLimit(5);
    CHECK(budget.used() <= 5);
    REQUIRE(reader.Read(**first).ok());
    CHECK(budget.used() <= 5);
    budget.SetLimit(0);
    CHECK(budget.used() == 0);
    CHECK(OpenDescriptors() == before);
    REQUIRE(reader.Read(**first).ok());
    CHECK(budget.used() == 0);
    budget.SetLimit(1000);
    REQUIRE(reader.Read(**first, 4).ok());
    CHECK((*first)->kept() <= 4 + 8);
    REQUIRE(reader.Read(**first).ok());
    CHECK((*first)->kept() > 12);
    first->reset();
    CHECK(budget.used() == (*second)->kept());
  }
  CHECK(OpenDescriptors() == before);
}

TEST_CASE("handle: out of descriptors") {
  lc_test::RealCgroup cgroup("emfile");
  if (!cgroup.usable()) return;
  rlimit old{};
  getrlimit(RLIMIT_NOFILE, &old);
  lc::DescriptorBudget budget(100000);
  std::vector<std::unique_ptr<CgroupHandle>> handles;
  Reader reader;
  int highest = OpenDescriptors();
  rlimit low = old;
  low.rlim_cur = static_cast<rlim_t>(highest + 60);
  REQUIRE(setrlimit(RLIMIT_NOFILE, &low) == 0);
  bool all_ok = true;
  for (int i = 0; i < 40; ++i) {
    auto handle = CgroupHandle::Open(cgroup.paths, &budget);
    all_ok = all_ok && handle.ok();
    if (!handle.ok()) break;
    all_ok = all_ok && reader.Read(**handle).ok() && reader.stats.pids.current == 0;
    handles.push_back(std::move(*handle));
  }
  std::vector<pid_t> pids;
  for (auto& handle : handles) {
    all_ok = all_ok && reader.Read(*handle).ok() && handle->ReadPids(&pids).ok() &&
             handle->ReadFreezerState().ok();
  }
  // Not one left for us at all: an error with the errno, and all is well again afterwards.
  budget.SetLimit(0);
  std::vector<int> hogs;
  for (int fd = dup(0); fd >= 0; fd = dup(0)) hogs.push_back(fd);
  lc::Status starved = reader.Read(*handles[0]);
  for (int fd : hogs) close(fd);
  lc::Status fed = reader.Read(*handles[0]);
  setrlimit(RLIMIT_NOFILE, &old);
  CHECK(all_ok);
  CHECK(handles.size() == 40);
  REQUIRE_FALSE(starved.ok());
  CHECK(starved.error().err == EMFILE);
  CHECK(fed.ok());
}

TEST_CASE("handle: many at once, from two threads, while others are opened and closed") {
  lc_test::RealCgroup cgroup("crowd");
  if (!cgroup.usable()) return;
  lc::DescriptorBudget budget(150);
  std::vector<std::unique_ptr<CgroupHandle>> owners;
  std::vector<CgroupHandle*> handles;
  for (int i = 0; i < 50; ++i) {
    auto handle = CgroupHandle::Open(cgroup.paths, &budget);
    REQUIRE(handle.ok());
    owners.push_back(std::move(*handle));
    handles.push_back(owners.back().get());
  }
  std::atomic<bool> stop{false};
  std::thread churn([&] {
    lc::StatsScratch scratch;
    lc::Stats stats;
    for (int i = 0; !stop; ++i) {
      auto handle = CgroupHandle::Open(cgroup.paths, &budget);
      if (handle.ok()) (void)(*handle)->ReadStats(&scratch, &stats);
      budget.SetLimit(i % 2 == 0 ? 40 : 150);
      (void)handles[static_cast<size_t>(i) % handles.size()]->ReadStats(&scratch, &stats);
    }
  });
  std::vector<lc::Stats> stats(handles.size());
  std::vector<lc::Status> results(handles.size(), lc::Ok());
  for (int round = 0; round < 10; ++round) {
    auto read = [&](size_t begin, size_t end) {
      lc::StatsScratch scratch;
      for (size_t i = begin; i < end; ++i) results[i] = handles[i]->ReadStats(&scratch, &stats[i], 10);
    };
    std::thread other(read, 0, handles.size() / 2);
    read(handles.size() / 2, handles.size());
    other.join();
    for (size_t i = 0; i < handles.size(); ++i) {
      REQUIRE(results[i].ok());
      CHECK(stats[i].pids.current == 0);
    }
  }
  stop = true;
  churn.join();
}

TEST_CASE("handle: trees with nothing, garbage, and far too much in them") {
  lc_test::Tree tree;
  lc::CgroupPaths paths = TreePaths(tree);
  lc::DescriptorBudget budget;
  Reader reader;
  auto handle = CgroupHandle::Open(paths, &budget);
  REQUIRE_MESSAGE(handle.ok(), handle.error().text);
  REQUIRE(reader.Read(**handle).ok());
  CHECK(!reader.stats.cpu.total);
  CHECK(!reader.stats.pids.current);
  CHECK(reader.stats.memory.raw_keys == nullptr);
  CHECK_FALSE(reader.stats.blkio.serviced.present);
  CHECK(lc_test::StatsJson(reader.stats).find(":0") == std::string::npos);

  tree.File("memory/memory.usage_in_bytes", "garbage");
  tree.File("memory/memory.max_usage_in_bytes", "");
  tree.File("memory/memory.stat", std::string(100U << 20U, 'x'));
  tree.File("memory/memory.failcnt", "3\n");
  tree.Dir("memory/memory.limit_in_bytes");
  mkfifo((tree.path + "/pids/pids.current").c_str(), 0600);
  tree.File("pids/pids.max", "max\n");
  tree.File("blkio/blkio.throttle.io_serviced_recursive", "8:0 Read 5\n8:0 Total 5\nTotal 5\n");
  tree.File("blkio/blkio.throttle.io_service_bytes_recursive", "8:0 Read 4096\n");
  tree.File("blkio/blkio.bfq.io_serviced_recursive", "Total 0\n");
  tree.File("blkio/blkio.bfq.io_service_bytes_recursive", "Total 0\n");
  for (const std::string& size : lc::HugePageSizes()) {
    tree.File("hugetlb/hugetlb." + size + ".usage_in_bytes", "1\n");
    tree.File("hugetlb/hugetlb." + size + ".rsvd.usage_in_bytes", "2\n");
    tree.File("hugetlb/hugetlb." + size + ".rsvd.max_usage_in_bytes", "3\n");
    tree.File("hugetlb/hugetlb." + size + ".rsvd.failcnt", "4\n");
  }
  handle = CgroupHandle::Open(paths, &budget);
  for (int i = 0; i < 2; ++i) {
    REQUIRE(reader.Read(**handle).ok());
    const lc::Stats& s = reader.stats;
    CHECK(!s.memory.usage.usage);
    CHECK(!s.memory.usage.max);
    CHECK(s.memory.usage.failcnt == 3);
    CHECK_FALSE(s.memory.usage.limit.known());
    CHECK(s.memory.raw_keys == nullptr);
    CHECK(!s.pids.current);
    CHECK(s.pids.limit.state == lc::Limit::State::kNone);
    REQUIRE(s.blkio.serviced.items.size() == 2);
    CHECK(s.blkio.service_bytes.items[0].value == 4096);
    REQUIRE(s.hugetlb.size() == lc::HugePageSizes().size());
    if (!s.hugetlb.empty()) {
      CHECK(s.hugetlb[0].usage == 2);
      CHECK(s.hugetlb[0].max == 3);
      CHECK(s.hugetlb[0].failcnt == 4);
    }
  }
  CHECK(reader.scratch.buffer.size() <= 1U << 20U);
}

TEST_CASE("handle: a v2 tree") {
  lc_test::Tree tree;
  lc::CgroupPaths paths;
  paths.unified = tree.path;
  tree.File("cgroup.procs", "1\n");
  tree.File("memory.current", "1000\n");
  tree.File("memory.max", "5000\n");
  tree.File("memory.peak", "2000\n");
  tree.File("memory.swap.current", "10\n");
  tree.File("memory.swap.max", "500\n");
  tree.File("memory.stat", "anon 5\nfile 6\n");
  tree.File("cpu.stat", "usage_usec 7\nuser_usec 4\nsystem_usec 3\n");
  tree.File("cpu.pressure", "some avg10=0.50 avg60=0.00 avg300=0.00 total=9\n");
  tree.File("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n");
  tree.File("pids.current", "2\n");
  tree.File("pids.max", "max\n");
  tree.File("cgroup.freeze", "1\n");
  tree.File("cgroup.events", "populated 1\nfrozen 0\n");
  tree.File("misc.current", "res_a 1\n");
  for (const std::string& size : lc::HugePageSizes()) {
    tree.File("hugetlb." + size + ".current", "8\n");
    tree.File("hugetlb." + size + ".events", "max 2\n");
  }
  lc::DescriptorBudget budget;
  auto handle = CgroupHandle::Open(paths, &budget);
  REQUIRE(handle.ok());
  Reader reader;
  REQUIRE(reader.Read(**handle).ok());
  const lc::Stats& s = reader.stats;
  CHECK(s.memory.cache == 6);
  CHECK(s.memory.usage.max == 2000);
  CHECK(s.memory.swap.usage == 1010);
  CHECK(s.memory.swap.limit.value == 5500);
  CHECK(!s.memory.swap.max);
  CHECK(!s.memory.usage.failcnt);
  CHECK_FALSE(s.memory.kernel.limit.known());
  CHECK(s.cpu.total == 7000);
  CHECK(!s.cpu.periods);
  CHECK(s.cpu.psi.some->avg10 == 0.5);
  CHECK(!s.cpu.psi.full);
  CHECK(s.blkio.service_bytes.items.size() == 2);
  CHECK_FALSE(s.cpuset.cpus.present);
  CHECK(s.misc.items.size() == 1);
  if (!lc::HugePageSizes().empty()) {
    CHECK(s.hugetlb[0].usage == 8);
    CHECK(s.hugetlb[0].failcnt == 2);
  }
  auto freezer = (*handle)->ReadFreezerState();
  REQUIRE(freezer.ok());
  CHECK(freezer->state == lc::FreezerState::kFreezing);
  tree.File("memory.max", "max\n");
  REQUIRE(reader.Read(**handle).ok());
  CHECK(reader.stats.memory.swap.limit.state == lc::Limit::State::kNone);
}
