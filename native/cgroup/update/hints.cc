// Why the kernel refuses a value: what the errno alone does not tell.
#include <cerrno>
#include <string>

#include "cgroup/scan.h"
#include "cgroup/stats/parse.h"
#include "cgroup/update/writer.h"

namespace lc {
namespace {

std::string Trimmed(std::optional<std::string> text) {
  while (text && !text->empty() && text->back() == '\n') text->pop_back();
  return text.value_or("");
}

// "what (file: value)" where the file can be read.
std::string With(std::string what, const CgroupWrite& write, const ReadCurrent& current, const char* file) {
  std::string value = Trimmed(current(write.controller, file));
  if (!value.empty()) what += " (" + std::string(file) + ": " + value + ")";
  return what;
}

std::string MemoryHint(const CgroupWrite& w, int err, const ReadCurrent& current) {
  if (w.file == "memory.limit_in_bytes") {
    if (err == EINVAL) {
      return With(
          "memory.limit must not be above the limit on memory and swap together: give memory.swap too", w,
          current, "memory.memsw.limit_in_bytes");
    }
    if (err == EBUSY) {
      return With("more memory than that is used and could not be reclaimed", w, current,
                  "memory.usage_in_bytes");
    }
  }
  if (w.file == "memory.memsw.limit_in_bytes") {
    if (err == EINVAL) {
      return With("memory.swap is memory and swap together and must not be below the limit on memory", w,
                  current, "memory.limit_in_bytes");
    }
    if (err == EBUSY) {
      return With("more memory and swap than that is used", w, current, "memory.memsw.usage_in_bytes");
    }
  }
  if (w.file.starts_with("memory.kmem") && (err == EOPNOTSUPP || err == 524)) {
    return "this kernel no longer limits kernel memory by itself";
  }
  if (w.file == "memory.oom_control" && err == EINVAL)
    return "the root cgroup cannot do without the OOM killer";
  return "";
}

std::string CpuHint(const CgroupWrite& w, int err, const ReadCurrent& current) {
  bool v1 = !w.controller.empty();
  if (err != EINVAL && err != ERANGE) return "";
  if (w.file == "cpu.shares" || w.file == "cpu.weight") {
    if (ScanU64(Trimmed(current(w.controller, "cpu.idle"))).value_or(0) == 1) {
      return "an idle cgroup has no shares: set cpu.idle to 0 first";
    }
    return w.file == "cpu.weight" ? "the weight must be from 1 to 10000" : "";
  }
  if (w.file == "cpu.cfs_period_us") {
    return With(
        "the period must be from 1000 to 1000000 microseconds, and quota / period within the parent's", w,
        current, "cpu.cfs_quota_us");
  }
  if (w.file == "cpu.cfs_quota_us") {
    return With(
        "the quota must be at least 1000 microseconds, quota / period within the parent's, and no less than "
        "the burst",
        w, current, "cpu.cfs_period_us");
  }
  if (w.file == "cpu.max") {
    return With(
        "quota and period must be from 1000 microseconds on, the period at most 1000000, and the quota no "
        "less "
        "than the burst",
        w, current, "cpu.max.burst");
  }
  if (w.file == "cpu.cfs_burst_us" || w.file == "cpu.max.burst") {
    return With("the burst must not be above the quota", w, current, v1 ? "cpu.cfs_quota_us" : "cpu.max");
  }
  if (w.file == "cpu.rt_runtime_us" || w.file == "cpu.rt_period_us") {
    return "the parent cgroup has not that much realtime left, or the runtime is above the period";
  }
  return "";
}

std::string CpusetHint(const CgroupWrite& w, int err, const ReadCurrent& current) {
  bool cpus = w.file == "cpuset.cpus";
  switch (err) {
    case EACCES:
      return "the list must lie within that of the parent cgroup";
    case EINVAL:
    case ERANGE:
    case ENODEV:
      return With(cpus ? "not a list of CPUs that exist" : "not a list of memory nodes that exist", w,
                  current, cpus ? "cpuset.effective_cpus" : "cpuset.effective_mems");
    case ENOSPC:
      return "a cpuset with processes in it must have a CPU and a memory node";
    case EBUSY:
      return "a cgroup below uses what would be taken away, or another has it for itself (cpu_exclusive)";
    default:
      return "";
  }
}

std::string IoHint(const CgroupWrite& w, int err) {
  if (err == ENODEV || err == ENXIO) return "there is no such block device, or it is a partition";
  if (err == EOPNOTSUPP) return "the device's I/O scheduler does not do this (BFQ for weights)";
  if (err == ERANGE || err == EINVAL) {
    if (w.file.find("weight") != std::string::npos) return "weights are from 10 to 1000 (BFQ: 1 to 1000)";
    return "the rate is out of range";
  }
  return "";
}

}  // namespace

std::string HintFor(const CgroupWrite& w, int err, const ReadCurrent& current) {
  if (err == EROFS) return "the cgroup file system is mounted read-only";
  if (err == EPERM || err == EACCES) {
    std::string hint = w.file.starts_with("cpuset.") ? CpusetHint(w, err, current) : "";
    return hint.empty() ? "this program may not change the cgroup" : hint;
  }
  if (w.file.starts_with("memory.")) return MemoryHint(w, err, current);
  if (w.file.starts_with("cpuset.")) return CpusetHint(w, err, current);
  if (w.file.starts_with("cpu.")) return CpuHint(w, err, current);
  if (w.file.starts_with("io.") || w.file.starts_with("blkio.")) return IoHint(w, err);
  if (w.file == "pids.max" && err == EINVAL) return "the limit is above the kernel's greatest pid";
  if (w.file == "rdma.max" && (err == ENODEV || err == EINVAL)) return "there is no such RDMA device";
  return "";
}

}  // namespace lc
