// Walks over Stats in the shape of `runc events --stats` `.data`, so that whoever turns them into something
// else (a JavaScript object, JSON, an array of numbers) writes no key twice.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cgroup/stats/stats.h"

namespace lc {

// A visitor has, in the order of the walk:
//   void BeginObject(const char* key), EndObject(), BeginList(const char* key), EndList()
//   void Number(const char* key, const Figure&)                      nothing: leave the key out
//   void Signed(const char* key, const std::optional<int64_t>&)
//   void Real(const char* key, double)
//   void Text(const char* key, const std::string&)
//   void LimitOf(const char* key, const Limit&)                      unknown: leave out; none: null
//   void Null(const char* key)
//   template <typename T> void Numbers(const char* key, const FigureList<T>&)   not present: leave out
//   void Raw(const char* key, const KeyList*, const std::vector<uint64_t>&)     null: leave out
//   void BeginNamed(const std::string& key)                          an object whose key is data
// Elements of lists are objects with a null key. The key pointers are the same on every walk, so they may be
// cached by address; so may the key list of Raw.
namespace stats_detail {

template <typename V>
void VisitPressureLine(const char* key, const std::optional<PressureLine>& line, V& v) {
  if (!line) return;
  v.BeginObject(key);
  v.Real("avg10", line->avg10);
  v.Real("avg60", line->avg60);
  v.Real("avg300", line->avg300);
  v.Number("total", line->total);
  v.EndObject();
}

template <typename V>
void VisitPressure(const Pressure& psi, V& v) {
  if (!psi.present()) return;
  v.BeginObject("psi");
  VisitPressureLine("some", psi.some, v);
  VisitPressureLine("full", psi.full, v);
  v.EndObject();
}

template <typename V>
void VisitMemoryEntry(const char* key, const MemoryEntry& entry, V& v) {
  v.BeginObject(key);
  v.LimitOf("limit", entry.limit);
  v.Number("usage", entry.usage);
  v.Number("max", entry.max);
  v.Number("failcnt", entry.failcnt);
  v.EndObject();
}

template <typename V>
void VisitBlkio(const char* key, const FigureList<BlkioEntry>& table, V& v) {
  if (!table.present) return;
  v.BeginList(key);
  for (const BlkioEntry& entry : table.items) {
    v.BeginObject(nullptr);
    v.Number("major", entry.major);
    v.Number("minor", entry.minor);
    if (!entry.op.empty()) v.Text("op", entry.op);
    v.Number("value", entry.value);
    v.EndObject();
  }
  v.EndList();
}

template <typename V>
void VisitRdma(const char* key, const FigureList<RdmaEntry>& table, V& v) {
  if (!table.present) return;
  v.BeginList(key);
  for (const RdmaEntry& entry : table.items) {
    v.BeginObject(nullptr);
    v.Text("device", entry.device);
    v.LimitOf("hca_handles", entry.hca_handles);
    v.LimitOf("hca_objects", entry.hca_objects);
    v.EndObject();
  }
  v.EndList();
}

}  // namespace stats_detail

template <typename V>
void VisitStats(const Stats& s, V& v) {
  using namespace stats_detail;  // NOLINT(google-build-using-namespace)
  v.BeginObject("cpu");
  v.BeginObject("usage");
  v.Number("total", s.cpu.total);
  v.Numbers("percpu", s.cpu.percpu);
  v.Numbers("percpu_kernel", s.cpu.percpu_kernel);
  v.Numbers("percpu_user", s.cpu.percpu_user);
  v.Number("kernel", s.cpu.kernel);
  v.Number("user", s.cpu.user);
  v.EndObject();
  v.BeginObject("throttling");
  v.Number("periods", s.cpu.periods);
  v.Number("throttledPeriods", s.cpu.throttled_periods);
  v.Number("throttledTime", s.cpu.throttled_time);
  v.EndObject();
  VisitPressure(s.cpu.psi, v);
  v.EndObject();

  v.BeginObject("cpuset");
  v.Numbers("cpus", s.cpuset.cpus);
  v.Number("cpu_exclusive", s.cpuset.cpu_exclusive);
  v.Numbers("mems", s.cpuset.mems);
  v.Number("mem_hardwall", s.cpuset.mem_hardwall);
  v.Number("mem_exclusive", s.cpuset.mem_exclusive);
  v.Number("memory_migrate", s.cpuset.memory_migrate);
  v.Number("memory_spread_page", s.cpuset.memory_spread_page);
  v.Number("memory_spread_slab", s.cpuset.memory_spread_slab);
  v.Number("memory_pressure", s.cpuset.memory_pressure);
  v.Number("sched_load_balance", s.cpuset.sched_load_balance);
  v.Signed("sched_relax_domain_level", s.cpuset.sched_relax_domain_level);
  v.EndObject();

  v.BeginObject("memory");
  v.Number("cache", s.memory.cache);
  VisitMemoryEntry("usage", s.memory.usage, v);
  VisitMemoryEntry("swap", s.memory.swap, v);
  VisitMemoryEntry("kernel", s.memory.kernel, v);
  VisitMemoryEntry("kernelTCP", s.memory.kernel_tcp, v);
  v.Raw("raw", s.memory.raw_keys.get(), s.memory.raw_values);
  VisitPressure(s.memory.psi, v);
  v.EndObject();

  v.BeginObject("pids");
  v.Number("current", s.pids.current);
  v.LimitOf("limit", s.pids.limit);
  v.EndObject();

  v.BeginObject("blkio");
  VisitBlkio("ioServiceBytesRecursive", s.blkio.service_bytes, v);
  VisitBlkio("ioServicedRecursive", s.blkio.serviced, v);
  VisitBlkio("ioQueueRecursive", s.blkio.queued, v);
  VisitBlkio("ioServiceTimeRecursive", s.blkio.service_time, v);
  VisitBlkio("ioWaitTimeRecursive", s.blkio.wait_time, v);
  VisitBlkio("ioMergedRecursive", s.blkio.merged, v);
  VisitBlkio("ioTimeRecursive", s.blkio.time, v);
  VisitBlkio("sectorsRecursive", s.blkio.sectors, v);
  VisitPressure(s.blkio.psi, v);
  v.EndObject();

  v.BeginObject("hugetlb");
  for (const HugetlbEntry& entry : s.hugetlb) {
    v.BeginNamed(entry.size);
    v.Number("usage", entry.usage);
    v.Number("max", entry.max);
    v.Number("failcnt", entry.failcnt);
    v.EndObject();
  }
  v.EndObject();

  // Not in runc's output, which has no keys for these two: libcontainer reads them, `runc events` drops them.
  if (s.rdma_current.present || s.rdma_limit.present) {
    v.BeginObject("rdma");
    VisitRdma("current", s.rdma_current, v);
    VisitRdma("limit", s.rdma_limit, v);
    v.EndObject();
  }
  if (s.misc.present) {
    v.BeginObject("misc");
    for (const MiscEntry& entry : s.misc.items) {
      v.BeginNamed(entry.name);
      v.Number("usage", entry.usage);
      v.Number("events", entry.events);
      v.LimitOf("limit", entry.limit);
      v.EndObject();
    }
    v.EndObject();
  }

  // runc has both keys always; a container without a resctrl group or a veth made by runc has nothing in
  // them.
  v.BeginObject("intel_rdt");
  v.EndObject();
  v.Null("network_interfaces");
}

}  // namespace lc
