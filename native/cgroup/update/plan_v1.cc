// The v1 half of a plan.
#include "cgroup/scan.h"
#include "cgroup/update/plan_build.h"

namespace lc {
namespace {

constexpr const char* kMemsw = "memory.memsw.limit_in_bytes";
constexpr const char* kLimit = "memory.limit_in_bytes";

// The kernel wants limit <= limit of both at every moment, so the order depends on where they go.
void PlanLimits(int64_t limit, int64_t swap, PlanBuilder* plan) {
  // No limit on memory says no limit on both, where swap is counted at all.
  if (limit == -1 && swap == 0 && plan->Read(kMemsw)) swap = -1;
  bool swap_first = false;
  if (limit != 0 && swap != 0) {
    auto now = plan->Read(kLimit);
    auto current = now ? ScanU64(*now) : std::nullopt;
    swap_first = swap == -1 || (current && *current < static_cast<uint64_t>(swap));
  }
  if (swap_first) plan->Write("memory.swap", kMemsw, std::to_string(swap));
  if (limit != 0) plan->Write("memory.limit", kLimit, std::to_string(limit));
  if (swap != 0 && !swap_first) plan->Write("memory.swap", kMemsw, std::to_string(swap));
}

}  // namespace

Status PlanMemoryV1(const Resources::Memory& m, PlanBuilder plan) {
  Status usage = CheckUsage(
      m, m.check_before_update.value_or(false) ? plan.Read("memory.usage_in_bytes") : std::nullopt);
  if (!usage) return usage;
  // 0 is "not set" to every runtime.
  PlanLimits(m.limit.value_or(0), m.swap.value_or(0), &plan);
  if (m.kernel.value_or(0) != 0) {
    plan.Write("memory.kernel", "memory.kmem.limit_in_bytes", std::to_string(*m.kernel));
  }
  if (m.kernel_tcp.value_or(0) != 0) {
    plan.Write("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", std::to_string(*m.kernel_tcp));
  }
  if (m.reservation.value_or(0) != 0) {
    plan.Write("memory.reservation", "memory.soft_limit_in_bytes", std::to_string(*m.reservation));
  }
  if (m.use_hierarchy)
    plan.Write("memory.useHierarchy", "memory.use_hierarchy", *m.use_hierarchy ? "1" : "0");
  if (m.disable_oom_killer) {
    plan.Write("memory.disableOOMKiller", "memory.oom_control", *m.disable_oom_killer ? "1" : "0").restore =
        CgroupWrite::Restore::kOomControl;
  }
  if (m.swappiness) plan.Write("memory.swappiness", "memory.swappiness", std::to_string(*m.swappiness));
  return Ok();
}

Status PlanCpuV1(const Resources::Cpu& c, PlanBuilder plan) {
  // An idle cgroup refuses shares, so it stops being idle before and becomes it after.
  if (c.idle == 0) plan.Write("cpu.idle", "cpu.idle", "0");
  if (c.shares.value_or(0) != 0) {
    plan.Write("cpu.shares", "cpu.shares", std::to_string(*c.shares)).read_back = true;
  }
  bool quota = c.quota.value_or(0) != 0;
  // A period, or a burst, that does not go with the old quota may well go with the new one.
  if (c.period.value_or(0) != 0) {
    plan.Write("cpu.period", "cpu.cfs_period_us", std::to_string(*c.period)).retry_after = quota;
  }
  if (c.burst) plan.Write("cpu.burst", "cpu.cfs_burst_us", std::to_string(*c.burst)).retry_after = quota;
  if (quota) {
    std::string value = *c.quota < 0 ? "-1" : std::to_string(*c.quota);
    plan.Write("cpu.quota", "cpu.cfs_quota_us", value).then_retry = true;
  }
  if (c.idle == 1) plan.Write("cpu.idle", "cpu.idle", "1");
  if (c.realtime_period.value_or(0) != 0) {
    // A period that does not go with the old runtime may well go with the new one: runc 1.1.13.
    plan.Write("cpu.realtimePeriod", "cpu.rt_period_us", std::to_string(*c.realtime_period)).retry_after =
        c.realtime_runtime.value_or(0) != 0;
  }
  if (c.realtime_runtime.value_or(0) != 0) {
    plan.Write("cpu.realtimeRuntime", "cpu.rt_runtime_us", std::to_string(*c.realtime_runtime)).then_retry =
        true;
  }
  return Ok();
}

Status PlanBlkioV1(const Resources::BlockIo& b, PlanBuilder plan) {
  // blkio.weight belonged to CFQ, which Linux 5.0 dropped; BFQ's files have the same meaning.
  bool cfq = (b.weight.value_or(0) != 0 || !b.weight_device.empty()) && plan.Read("blkio.weight").has_value();
  if (b.weight.value_or(0) != 0) {
    plan.Write("blockIO.weight", cfq ? "blkio.weight" : "blkio.bfq.weight", std::to_string(*b.weight));
  }
  if (b.leaf_weight.value_or(0) != 0) {
    plan.Write("blockIO.leafWeight", "blkio.leaf_weight", std::to_string(*b.leaf_weight));
  }
  auto by_device = [&](const char* field, const char* file, const std::string& device,
                       const std::string& value, const char* nothing) {
    CgroupWrite& write = plan.Write(field, file, device + " " + value);
    write.restore = CgroupWrite::Restore::kFirstWord;
    write.when_missing = device + " " + nothing;
  };
  for (const Resources::WeightDevice& d : b.weight_device) {
    std::string device = DeviceName(d.major, d.minor);
    if (d.weight) {
      by_device("blockIO.weightDevice", cfq ? "blkio.weight_device" : "blkio.bfq.weight_device", device,
                std::to_string(*d.weight), "default");
    }
    if (d.leaf_weight) {
      by_device("blockIO.weightDevice", "blkio.leaf_weight_device", device, std::to_string(*d.leaf_weight),
                "default");
    }
  }
  auto throttle = [&](const char* field, const char* file,
                      const std::vector<Resources::ThrottleDevice>& devices) {
    for (const Resources::ThrottleDevice& d : devices) {
      by_device(field, file, DeviceName(d.major, d.minor), std::to_string(d.rate), "0");
    }
  };
  throttle("blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", b.throttle_read_bps);
  throttle("blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", b.throttle_write_bps);
  throttle("blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", b.throttle_read_iops);
  throttle("blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", b.throttle_write_iops);
  return Ok();
}

}  // namespace lc
