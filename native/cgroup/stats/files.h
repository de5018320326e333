// Which file holds which figures, as tables: what a read of the statistics goes through, in order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cgroup/stats/stats.h"

namespace lc {

// A place that files lie in: a v1 controller, or the v2 cgroup for one group of files. In a hybrid machine a
// v2 group is read only where v1 does not have its controller.
enum class StatPlace : uint8_t {
  kCpu,
  kCpuacct,
  kCpuset,
  kMemory,
  kPids,
  kBlkio,
  kHugetlb,
  kRdma,  // v1, named as their controllers
  kV2Pids,
  kV2Memory,
  kV2Io,
  kV2Cpu,
  kV2Hugetlb,
  kV2Rdma,
  kV2Misc,  // v2
  kFreezer,
  kV2Freezer,
  kCount,
};
inline constexpr size_t kStatPlaces = static_cast<size_t>(StatPlace::kCount);
const char* ControllerOf(StatPlace place);  // v1 name; null for v2

// Reused from read to read by one thread at a time.
struct StatsScratch {
  std::vector<char> buffer;
  std::shared_ptr<const KeyList> keys;
};

struct StatFile {
  StatPlace place;
  const char* name;
  void (*apply)(std::string_view text, Stats* stats, StatsScratch* scratch);
};

std::span<const StatFile> PlainStatFiles();

// v1 blkio: five sets of files that say the same, of which the first complete one counts.
struct BlkioFile {
  const char* name;
  FigureList<BlkioEntry>* (*table)(Stats* stats);
};
std::span<const BlkioFile> BlkioFiles();
// Indexes into BlkioFiles; the first of a set tells whether it has anything to say.
std::span<const std::span<const uint8_t>> BlkioSets();

// hugetlb: per page size, in the reserved flavour where the kernel has it, else in the other.
enum class HugetlbFigure : uint8_t { kUsage, kMax, kFailcnt };
struct HugetlbFile {
  bool v2;
  bool rsvd;
  HugetlbFigure figure;
  const char* suffix;  // after "hugetlb.2MB"
};
std::span<const HugetlbFile> HugetlbFiles();
// "2MB", "1GB": what this kernel was built for; a fact that does not change.
const std::vector<std::string>& HugePageSizes();
std::vector<std::string> HugePageSizesIn(const std::string& sysfs_directory);

// Where the file descriptors of one handle are numbered.
enum FreezerSlot : uint8_t {
  kFreezerState,
  kFreezerSelf,
  kFreezerParent,
  kV2Freeze,
  kV2Events,
  kFreezerSlots
};

}  // namespace lc
