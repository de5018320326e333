// Which file holds which figures, as tables: what a read of the statistics goes through, in order.
#include "cgroup/stats/files.h"

#include <dirent.h>

#include <algorithm>

#include "cgroup/scan.h"
#include "cgroup/stats/parse.h"

namespace lc {
namespace {

using Text = std::string_view;
using P = StatPlace;

// One file that holds one number.
#define LC_NUMBER(place, name, field)                                           \
  StatFile {                                                                    \
    place, name, [](Text t, Stats* s, StatsScratch*) { s->field = ScanU64(t); } \
  }
#define LC_LIMIT_V1(place, name, field)                                              \
  StatFile {                                                                         \
    place, name, [](Text t, Stats* s, StatsScratch*) { s->field = ParseLimitV1(t); } \
  }
#define LC_LIMIT_V2(place, name, field)                                              \
  StatFile {                                                                         \
    place, name, [](Text t, Stats* s, StatsScratch*) { s->field = ParseLimitV2(t); } \
  }
#define LC_MEMORY_V1(name, field)                                          \
  LC_NUMBER(P::kMemory, name ".usage_in_bytes", memory.field.usage),       \
      LC_NUMBER(P::kMemory, name ".max_usage_in_bytes", memory.field.max), \
      LC_NUMBER(P::kMemory, name ".failcnt", memory.field.failcnt),        \
      LC_LIMIT_V1(P::kMemory, name ".limit_in_bytes", memory.field.limit)

template <bool kV2>
void ApplyMemoryStat(Text t, Stats* s, StatsScratch* scratch) {
  ParseMemoryStat(t, &scratch->keys, &s->memory.raw_values);
  s->memory.raw_keys = scratch->keys;
  s->memory.cache = MemoryStatValue(*s, kV2 ? "file" : "cache");
}

// The kernel prints usage as the sum of these (cpuusage_read), so one file less need be read.
void ApplyPercpu(Text t, Stats* s, StatsScratch*) {
  ParsePercpu(t, &s->cpu.percpu);
  if (!s->cpu.percpu.present) return;
  uint64_t total = 0;
  for (uint64_t value : s->cpu.percpu.items) total += value;
  s->cpu.total = total;
}

// v1 counts memory and swap together; runc shows v2 the same way. The most that both ever were together is
// not known.
void ApplySwapCurrent(Text t, Stats* s, StatsScratch*) {
  Figure swap = ScanU64(t);
  if (swap && s->memory.usage.usage) s->memory.swap.usage = *swap + *s->memory.usage.usage;
}
void ApplySwapMax(Text t, Stats* s, StatsScratch*) {
  Limit swap = ParseLimitV2(t);
  const Limit& memory = s->memory.usage.limit;
  if (!swap.known() || !memory.known()) return;
  bool both = swap.is_set() && memory.is_set() && swap.value <= UINT64_MAX - memory.value;
  s->memory.swap.limit = both ? Limit::Of(swap.value + memory.value) : Limit::None();
}

const StatFile kPlain[] = {
    {P::kCpu, "cpu.stat", [](Text t, Stats* s, StatsScratch*) { ParseCpuStatV1(t, s); }},
    {P::kCpuacct, "cpuacct.stat", [](Text t, Stats* s, StatsScratch*) { ParseCpuacctStat(t, s); }},
    {P::kCpuacct, "cpuacct.usage_percpu", ApplyPercpu},
    {P::kCpuacct, "cpuacct.usage_all", [](Text t, Stats* s, StatsScratch*) { ParseUsageAll(t, s); }},
    {P::kCpuset, "cpuset.cpus", [](Text t, Stats* s, StatsScratch*) { ParseIdList(t, &s->cpuset.cpus); }},
    {P::kCpuset, "cpuset.mems", [](Text t, Stats* s, StatsScratch*) { ParseIdList(t, &s->cpuset.mems); }},
    LC_NUMBER(P::kCpuset, "cpuset.cpu_exclusive", cpuset.cpu_exclusive),
    LC_NUMBER(P::kCpuset, "cpuset.mem_hardwall", cpuset.mem_hardwall),
    LC_NUMBER(P::kCpuset, "cpuset.mem_exclusive", cpuset.mem_exclusive),
    LC_NUMBER(P::kCpuset, "cpuset.memory_migrate", cpuset.memory_migrate),
    LC_NUMBER(P::kCpuset, "cpuset.memory_spread_page", cpuset.memory_spread_page),
    LC_NUMBER(P::kCpuset, "cpuset.memory_spread_slab", cpuset.memory_spread_slab),
    LC_NUMBER(P::kCpuset, "cpuset.memory_pressure", cpuset.memory_pressure),
    LC_NUMBER(P::kCpuset, "cpuset.sched_load_balance", cpuset.sched_load_balance),
    {P::kCpuset, "cpuset.sched_relax_domain_level",
     [](Text t, Stats* s, StatsScratch*) { s->cpuset.sched_relax_domain_level = ScanI64(t); }},
    {P::kMemory, "memory.stat", ApplyMemoryStat<false>},
    LC_MEMORY_V1("memory", usage),
    LC_MEMORY_V1("memory.memsw", swap),
    LC_MEMORY_V1("memory.kmem", kernel),
    LC_MEMORY_V1("memory.kmem.tcp", kernel_tcp),
    LC_NUMBER(P::kPids, "pids.current", pids.current),
    LC_LIMIT_V2(P::kPids, "pids.max", pids.limit),
    {P::kRdma, "rdma.current", [](Text t, Stats* s, StatsScratch*) { ParseRdma(t, &s->rdma_current); }},
    {P::kRdma, "rdma.max", [](Text t, Stats* s, StatsScratch*) { ParseRdma(t, &s->rdma_limit); }},

    LC_NUMBER(P::kV2Pids, "pids.current", pids.current),
    LC_LIMIT_V2(P::kV2Pids, "pids.max", pids.limit),
    {P::kV2Memory, "memory.stat", ApplyMemoryStat<true>},
    LC_NUMBER(P::kV2Memory, "memory.current", memory.usage.usage),
    LC_LIMIT_V2(P::kV2Memory, "memory.max", memory.usage.limit),
    LC_NUMBER(P::kV2Memory, "memory.peak", memory.usage.max),
    {P::kV2Memory, "memory.swap.current", ApplySwapCurrent},
    {P::kV2Memory, "memory.swap.max", ApplySwapMax},
    {P::kV2Memory, "memory.pressure",
     [](Text t, Stats* s, StatsScratch*) { ParsePressure(t, &s->memory.psi); }},
    {P::kV2Io, "io.stat", [](Text t, Stats* s, StatsScratch*) { ParseIoStat(t, s); }},
    {P::kV2Io, "io.pressure", [](Text t, Stats* s, StatsScratch*) { ParsePressure(t, &s->blkio.psi); }},
    {P::kV2Cpu, "cpu.stat", [](Text t, Stats* s, StatsScratch*) { ParseCpuStatV2(t, s); }},
    {P::kV2Cpu, "cpu.pressure", [](Text t, Stats* s, StatsScratch*) { ParsePressure(t, &s->cpu.psi); }},
    {P::kV2Rdma, "rdma.current", [](Text t, Stats* s, StatsScratch*) { ParseRdma(t, &s->rdma_current); }},
    {P::kV2Rdma, "rdma.max", [](Text t, Stats* s, StatsScratch*) { ParseRdma(t, &s->rdma_limit); }},
    {P::kV2Misc, "misc.current", [](Text t, Stats* s, StatsScratch*) { ParseMiscCurrent(t, &s->misc); }},
    {P::kV2Misc, "misc.max", [](Text t, Stats* s, StatsScratch*) { ParseMiscMax(t, &s->misc); }},
    {P::kV2Misc, "misc.events", [](Text t, Stats* s, StatsScratch*) { ParseMiscEvents(t, &s->misc); }},
};

#undef LC_NUMBER
#undef LC_LIMIT_V1
#undef LC_LIMIT_V2
#undef LC_MEMORY_V1

using Table = FigureList<BlkioEntry>*;
#define LC_BLKIO(name, field)                               \
  BlkioFile {                                               \
    name, [](Stats* s) -> Table { return &s->blkio.field; } \
  }
const BlkioFile kBlkio[] = {
    LC_BLKIO("blkio.bfq.sectors_recursive", sectors),
    LC_BLKIO("blkio.bfq.io_service_time_recursive", service_time),
    LC_BLKIO("blkio.bfq.io_wait_time_recursive", wait_time),
    LC_BLKIO("blkio.bfq.io_merged_recursive", merged),
    LC_BLKIO("blkio.bfq.io_queued_recursive", queued),
    LC_BLKIO("blkio.bfq.time_recursive", time),
    LC_BLKIO("blkio.bfq.io_serviced_recursive", serviced),
    LC_BLKIO("blkio.bfq.io_service_bytes_recursive", service_bytes),
    LC_BLKIO("blkio.sectors_recursive", sectors),
    LC_BLKIO("blkio.io_service_time_recursive", service_time),
    LC_BLKIO("blkio.io_wait_time_recursive", wait_time),
    LC_BLKIO("blkio.io_merged_recursive", merged),
    LC_BLKIO("blkio.io_queued_recursive", queued),
    LC_BLKIO("blkio.time_recursive", time),
    LC_BLKIO("blkio.io_serviced_recursive", serviced),
    LC_BLKIO("blkio.io_service_bytes_recursive", service_bytes),
    LC_BLKIO("blkio.throttle.io_serviced_recursive", serviced),
    LC_BLKIO("blkio.throttle.io_service_bytes_recursive", service_bytes),
    LC_BLKIO("blkio.throttle.io_serviced", serviced),
    LC_BLKIO("blkio.throttle.io_service_bytes", service_bytes),
};
#undef LC_BLKIO
constexpr uint8_t kBfqDebug[] = {0, 1, 2, 3, 4, 5, 6, 7};  // CONFIG_BFQ_CGROUP_DEBUG
constexpr uint8_t kBfq[] = {6, 7};
constexpr uint8_t kCfq[] = {8, 9, 10, 11, 12, 13, 14, 15};
constexpr uint8_t kThrottleRecursive[] = {16, 17};
constexpr uint8_t kThrottle[] = {18, 19};
constexpr std::span<const uint8_t> kBlkioSets[] = {kBfqDebug, kBfq, kCfq, kThrottleRecursive, kThrottle};

constexpr HugetlbFile kHugetlb[] = {
    {false, true, HugetlbFigure::kUsage, ".rsvd.usage_in_bytes"},
    {false, true, HugetlbFigure::kMax, ".rsvd.max_usage_in_bytes"},
    {false, true, HugetlbFigure::kFailcnt, ".rsvd.failcnt"},
    {false, false, HugetlbFigure::kUsage, ".usage_in_bytes"},
    {false, false, HugetlbFigure::kMax, ".max_usage_in_bytes"},
    {false, false, HugetlbFigure::kFailcnt, ".failcnt"},
    {true, true, HugetlbFigure::kUsage, ".rsvd.current"},
    {true, false, HugetlbFigure::kUsage, ".current"},
    {true, false, HugetlbFigure::kFailcnt, ".events"},  // the one flavour that there is
};

}  // namespace

const char* ControllerOf(StatPlace place) {
  static constexpr const char* kNames[] = {"cpu",  "cpuacct", "cpuset",  "memory",
                                           "pids", "blkio",   "hugetlb", "rdma"};
  if (place == StatPlace::kFreezer) return "freezer";
  auto index = static_cast<size_t>(place);
  return index < std::size(kNames) ? kNames[index] : nullptr;
}

std::span<const StatFile> PlainStatFiles() {
  return kPlain;
}
std::span<const BlkioFile> BlkioFiles() {
  return kBlkio;
}
std::span<const std::span<const uint8_t>> BlkioSets() {
  return kBlkioSets;
}
std::span<const HugetlbFile> HugetlbFiles() {
  return kHugetlb;
}

std::vector<std::string> HugePageSizesIn(const std::string& sysfs_directory) {
  std::vector<std::pair<uint64_t, std::string>> sizes;
  DIR* directory = opendir(sysfs_directory.c_str());
  if (directory == nullptr) return {};
  while (dirent* entry = readdir(directory)) {
    // hugepages-2048kB is what the cgroup files call 2MB (mem_fmt in mm/hugetlb_cgroup.c).
    std::string_view name = entry->d_name;
    if (!name.starts_with("hugepages-") || !name.ends_with("kB")) continue;
    auto kilobytes = ScanU64(name.substr(10, name.size() - 12));
    if (!kilobytes || *kilobytes == 0) continue;
    std::string text = *kilobytes >= 1U << 20U   ? std::to_string(*kilobytes >> 20U) + "GB"
                       : *kilobytes >= 1U << 10U ? std::to_string(*kilobytes >> 10U) + "MB"
                                                 : std::to_string(*kilobytes) + "KB";
    sizes.emplace_back(*kilobytes, std::move(text));
  }
  closedir(directory);
  std::sort(sizes.begin(), sizes.end());
  std::vector<std::string> out;
  for (auto& [kilobytes, text] : sizes) out.push_back(std::move(text));
  return out;
}

const std::vector<std::string>& HugePageSizes() {
  static const std::vector<std::string> sizes = HugePageSizesIn("/sys/kernel/mm/hugepages");
  return sizes;
}

}  // namespace lc
