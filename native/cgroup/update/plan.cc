// From resources to the list of writes: which controllers are concerned, and what v1 and v2 do alike.
#include "cgroup/update/plan.h"

#include <cmath>

#include "cgroup/scan.h"
#include "cgroup/update/plan_build.h"

namespace lc {
namespace {

bool Any(const Resources::Memory& m) {
  return m.limit || m.reservation || m.swap || m.kernel || m.kernel_tcp || m.swappiness ||
         m.disable_oom_killer || m.use_hierarchy;
}
bool AnyCpu(const Resources::Cpu& c) {
  return c.shares || c.quota || c.burst || c.period || c.realtime_runtime || c.realtime_period || c.idle;
}
bool Any(const Resources::BlockIo& b) {
  return b.weight || b.leaf_weight || !b.weight_device.empty() || !b.throttle_read_bps.empty() ||
         !b.throttle_write_bps.empty() || !b.throttle_read_iops.empty() || !b.throttle_write_iops.empty();
}

Status PlanPids(std::optional<int64_t> limit, PlanBuilder plan) {
  if (!limit || (*limit == 0 && !plan.options().pids_zero_is_one)) return Ok();
  std::string value = *limit < 0 ? "max" : *limit == 0 ? "1" : std::to_string(*limit);
  plan.Write("pids.limit", "pids.max", value);
  return Ok();
}

Status PlanCpuset(const Resources::Cpu& cpu, PlanBuilder plan) {
  if (!cpu.cpus.empty()) plan.Write("cpu.cpus", "cpuset.cpus", cpu.cpus);
  if (!cpu.mems.empty()) plan.Write("cpu.mems", "cpuset.mems", cpu.mems);
  return Ok();
}

Status PlanHugetlb(const std::vector<Resources::HugepageLimit>& limits, bool v2, PlanBuilder plan) {
  for (const Resources::HugepageLimit& limit : limits) {
    std::string base = "hugetlb." + limit.page_size;
    std::string value = std::to_string(limit.limit);
    plan.Write("hugepageLimits", base + (v2 ? ".max" : ".limit_in_bytes"), value);
    // The twin for reserved pages, since Linux 5.7.
    plan.Write("hugepageLimits", base + (v2 ? ".rsvd.max" : ".rsvd.limit_in_bytes"), value).may_be_missing =
        true;
  }
  return Ok();
}

Status PlanRdma(const std::vector<Resources::Rdma>& devices, PlanBuilder plan) {
  for (const Resources::Rdma& device : devices) {
    if (!device.hca_handles && !device.hca_objects) continue;
    std::string value = device.device;
    if (device.hca_handles) value += " hca_handle=" + std::to_string(*device.hca_handles);
    if (device.hca_objects) value += " hca_object=" + std::to_string(*device.hca_objects);
    CgroupWrite& write = plan.Write("rdma", "rdma.max", value);
    write.restore = CgroupWrite::Restore::kFirstWord;
    write.when_missing = device.device + " hca_handle=max hca_object=max";
  }
  return Ok();
}

}  // namespace

uint64_t SharesToWeight(uint64_t shares, PlanOptions::SharesFormula formula) {
  if (shares == 0) return 0;
  if (shares <= 2) return 1;
  if (formula == PlanOptions::SharesFormula::kLinear) {
    // Beyond the kernel's range for shares it would leave that for weights too.
    if (shares >= 262144) return 10000;
    return 1 + (shares - 2) * 9999 / 262142;
  }
  if (shares >= 262144) return 10000;
  double l = std::log2(static_cast<double>(shares));
  return static_cast<uint64_t>(std::ceil(std::pow(10.0, (l * l + 125 * l) / 612.0 - 7.0 / 34.0)));
}

uint64_t BlkioToIoWeight(uint16_t weight) {
  if (weight < 10) return weight == 0 ? 0 : 1;
  return 1 + (uint64_t{weight} - 10) * 9999 / 990;
}

Result<std::optional<int64_t>> SwapForV2(std::optional<int64_t> swap, std::optional<int64_t> memory) {
  int64_t both = swap.value_or(0);
  int64_t alone = memory.value_or(0);
  if (alone == -1 && both == 0) return std::optional<int64_t>(-1);
  if (both == 0) return std::optional<int64_t>();
  if (both == -1) return std::optional<int64_t>(-1);
  if (alone == -1) return std::optional<int64_t>(both);
  if (alone == 0) return Invalid("memory.swap", "needs memory.limit: it is memory and swap together");
  if (both < alone) {
    return Invalid("memory.swap", "(" + std::to_string(both) + ") must be at least memory.limit (" +
                                      std::to_string(alone) + "): it is memory and swap together");
  }
  return std::optional<int64_t>(both - alone);
}

Status CheckUsage(const Resources::Memory& memory, const std::optional<std::string>& usage) {
  if (!memory.check_before_update.value_or(false) || !usage) return Ok();
  auto used = ScanU64(*usage);
  if (!used) return Ok();
  auto check = [&](const char* field, std::optional<int64_t> limit) -> Status {
    if (limit.value_or(0) <= 0 || static_cast<uint64_t>(*limit) > *used) return Ok();
    Error error = Error::Of(EBUSY, "write");
    error.text = std::string(field) + " " + std::to_string(*limit) + " is not above the current usage " +
                 std::to_string(*used) + ", and memory.checkBeforeUpdate is set";
    return error;
  };
  Status status = check("memory.swap", memory.swap);
  return status ? check("memory.limit", memory.limit) : status;
}

Result<CgroupPlan> PlanUpdate(const Resources& resources, const CgroupPaths& paths,
                              const PlanOptions& options, const ReadCurrent& current) {
  CgroupPlan plan;
  Status status = Ok();
  // Calls `v1` or `v2` with a builder, whichever hierarchy has the controller.
  auto with = [&](bool wanted, const char* controller, const char* field, auto v1, auto v2) {
    if (!wanted || !status) return;
    if (paths.Find(controller) != nullptr) {
      status = v1(PlanBuilder(options, current, &plan, controller));
    } else if (!paths.unified.empty()) {
      status = v2(PlanBuilder(options, current, &plan, ""));
    } else {
      status = Error::Coded("ERR_UNSUPPORTED",
                            std::string(field) + ": the " + controller + " controller is not mounted", field);
    }
  };
  auto same = [](auto f) { return std::pair(f, f); };
  const Resources& r = resources;
  if (!r.unified.empty() && !paths.is_v2_only()) {
    return Error::Coded("ERR_UNSUPPORTED", "unified is for machines with cgroup v2 alone", "unified");
  }
  auto [cpuset, cpuset2] = same([&](PlanBuilder b) { return PlanCpuset(r.cpu, std::move(b)); });
  auto memory1 = [&](PlanBuilder b) { return PlanMemoryV1(r.memory, std::move(b)); };
  auto memory2 = [&](PlanBuilder b) { return PlanMemoryV2(r.memory, std::move(b)); };
  auto cpu1 = [&](PlanBuilder b) { return PlanCpuV1(r.cpu, std::move(b)); };
  auto cpu2 = [&](PlanBuilder b) { return PlanCpuV2(r.cpu, std::move(b)); };
  auto [pids, pids2] = same([&](PlanBuilder b) { return PlanPids(r.pids_limit, std::move(b)); });
  auto io1 = [&](PlanBuilder b) { return PlanBlkioV1(r.block_io, std::move(b)); };
  auto io2 = [&](PlanBuilder b) { return PlanIoV2(r.block_io, std::move(b)); };
  auto hugetlb1 = [&](PlanBuilder b) { return PlanHugetlb(r.hugepage_limits, false, std::move(b)); };
  auto hugetlb2 = [&](PlanBuilder b) { return PlanHugetlb(r.hugepage_limits, true, std::move(b)); };
  auto [rdma, rdma2] = same([&](PlanBuilder b) { return PlanRdma(r.rdma, std::move(b)); });
  bool wants_cpuset = !r.cpu.cpus.empty() || !r.cpu.mems.empty();

  // The order in which runc goes through the controllers, which differs between the two.
  if (paths.is_v2_only()) {
    with(r.pids_limit.has_value(), "pids", "pids.limit", pids, pids2);
    with(Any(r.memory), "memory", "memory", memory1, memory2);
    with(Any(r.block_io), "blkio", "blockIO", io1, io2);
    with(AnyCpu(r.cpu), "cpu", "cpu", cpu1, cpu2);
    with(wants_cpuset, "cpuset", "cpu.cpus", cpuset, cpuset2);
  } else {
    with(wants_cpuset, "cpuset", "cpu.cpus", cpuset, cpuset2);
    with(Any(r.memory), "memory", "memory", memory1, memory2);
    with(AnyCpu(r.cpu), "cpu", "cpu", cpu1, cpu2);
    with(r.pids_limit.has_value(), "pids", "pids.limit", pids, pids2);
    with(Any(r.block_io), "blkio", "blockIO", io1, io2);
  }
  with(!r.hugepage_limits.empty(), "hugetlb", "hugepageLimits", hugetlb1, hugetlb2);
  with(!r.rdma.empty(), "rdma", "rdma", rdma, rdma2);
  if (status && !r.unified.empty()) status = PlanUnified(r.unified, PlanBuilder(options, current, &plan, ""));
  if (!status) return status.error();
  return plan;
}

}  // namespace lc
