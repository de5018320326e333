// What a cgroup used and may use: every key of `.data` in `runc events --stats`, as plain data.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lc {

// Nothing where the kernel does not give the figure; never 0 in its place.
using Figure = std::optional<uint64_t>;

// A limit that the kernel does not give is not the same as one that is not set.
struct Limit {
  enum class State : uint8_t { kUnknown, kNone, kSet };
  State state = State::kUnknown;
  uint64_t value = 0;

  static Limit None() { return {State::kNone, 0}; }
  static Limit Of(uint64_t value) { return {State::kSet, value}; }
  bool known() const { return state != State::kUnknown; }
  bool is_set() const { return state == State::kSet; }
};

// A list that may be missing; emptied and filled again it keeps its memory.
template <typename T>
struct FigureList {
  bool present = false;
  std::vector<T> items;

  void Clear() {
    present = false;
    items.clear();
  }
};

struct PressureLine {
  double avg10 = 0;
  double avg60 = 0;
  double avg300 = 0;
  uint64_t total = 0;  // microseconds, as the kernel has it
};
struct Pressure {
  std::optional<PressureLine> some;
  std::optional<PressureLine> full;
  bool present() const { return some || full; }
};

struct MemoryEntry {
  Limit limit;
  Figure usage;
  Figure max;
  Figure failcnt;
};

struct BlkioEntry {
  uint64_t major = 0;
  uint64_t minor = 0;
  std::string op;  // "Read", "Write", "Sync", "Async", "Discard", "Total"; short enough never to allocate
  uint64_t value = 0;
};

struct HugetlbEntry {
  std::string size;  // "2MB"
  Figure usage;
  Figure max;
  Figure failcnt;
};

struct RdmaEntry {
  std::string device;
  Limit hca_handles;
  Limit hca_objects;
};

struct MiscEntry {
  std::string name;
  Figure usage;
  Figure events;
  Limit limit;
};

// The keys of memory.stat in the kernel's order. All cgroups of one hierarchy have the same ones, so the list
// is shared between reads and may be told by its address.
using KeyList = std::vector<std::string>;

struct Stats {
  int64_t timestamp_ns = 0;  // CLOCK_REALTIME when the read began

  struct {
    Figure total, kernel, user;  // nanoseconds
    FigureList<uint64_t> percpu, percpu_kernel, percpu_user;
    Figure periods, throttled_periods, throttled_time;
    Pressure psi;
  } cpu;

  struct {
    FigureList<uint16_t> cpus, mems;
    Figure cpu_exclusive, mem_hardwall, mem_exclusive, memory_migrate, memory_spread_page, memory_spread_slab,
        memory_pressure, sched_load_balance;
    std::optional<int64_t> sched_relax_domain_level;
  } cpuset;

  struct {
    Figure cache;
    MemoryEntry usage, swap, kernel, kernel_tcp;
    std::shared_ptr<const KeyList> raw_keys;  // null where there is no memory.stat
    std::vector<uint64_t> raw_values;         // one for each key
    Pressure psi;
  } memory;

  struct {
    Figure current;
    Limit limit;
  } pids;

  struct {
    FigureList<BlkioEntry> service_bytes, serviced, queued, service_time, wait_time, merged, time, sectors;
    Pressure psi;
  } blkio;

  std::vector<HugetlbEntry> hugetlb;
  FigureList<RdmaEntry> rdma_current, rdma_limit;
  FigureList<MiscEntry> misc;

  // Everything unknown again; memory is kept for the next read.
  void Clear();
};

}  // namespace lc
