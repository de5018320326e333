// The v2 half of a plan.
#include "cgroup/scan.h"
#include "cgroup/stats/parse.h"
#include "cgroup/update/plan_build.h"

namespace lc {
namespace {

constexpr uint64_t kDefaultPeriodUsec = 100'000;
constexpr const char* kNoIoLimit = " rbps=max wbps=max riops=max wiops=max";

std::string OrMax(int64_t value) {
  return value == -1 ? "max" : std::to_string(value);
}

// memory.max as the kernel has it, for a swap limit that comes without one.
std::optional<int64_t> CurrentMax(const PlanBuilder& plan) {
  auto text = plan.Read("memory.max");
  Limit limit = text ? ParseLimitV2(*text) : Limit{};
  if (limit.state == Limit::State::kNone) return -1;
  if (limit.is_set() && limit.value <= INT64_MAX) return static_cast<int64_t>(limit.value);
  return std::nullopt;
}

bool IsDevice(std::string_view word) {
  Scanner scan(word);
  return scan.TakeU64() && scan.Take(':') && scan.TakeU64() && scan.done();
}

}  // namespace

Status PlanMemoryV2(const Resources::Memory& m, PlanBuilder plan) {
  if (m.kernel.value_or(0) > 0) return NotOnV2("memory.kernel");
  if (m.kernel_tcp.value_or(0) > 0) return NotOnV2("memory.kernelTCP");
  if (m.swappiness) return NotOnV2("memory.swappiness");
  if (m.disable_oom_killer.value_or(false)) return NotOnV2("memory.disableOOMKiller");
  if (!m.use_hierarchy.value_or(true)) return NotOnV2("memory.useHierarchy false");
  Status usage =
      CheckUsage(m, m.check_before_update.value_or(false) ? plan.Read("memory.current") : std::nullopt);
  if (!usage) return usage;

  int64_t limit = m.limit.value_or(0);
  std::optional<int64_t> swap = m.swap;
  // A new limit on memory alone leaves the limit on both together where the runtime's record has it.
  if (limit != 0 && limit != -1 && !swap) swap = plan.options().recorded_swap;
  std::optional<int64_t> memory = limit;
  if (limit == 0 && swap.value_or(0) > 0) {
    memory = plan.options().recorded_memory;
    if (memory.value_or(0) == 0) memory = CurrentMax(plan);
  }
  auto alone = SwapForV2(swap, memory);
  if (!alone) return alone.error();
  if (*alone) {
    CgroupWrite& write = plan.Write("memory.swap", "memory.swap.max", OrMax(**alone));
    // Where swap is not counted, having none and having no limit are both as they are wanted.
    write.may_be_missing = **alone == -1 || **alone == 0;
  }
  if (limit != 0) plan.Write("memory.limit", "memory.max", OrMax(limit));
  if (m.reservation.value_or(0) != 0) plan.Write("memory.reservation", "memory.low", OrMax(*m.reservation));
  return Ok();
}

Status PlanCpuV2(const Resources::Cpu& c, PlanBuilder plan) {
  if (c.realtime_runtime.value_or(0) != 0) return NotOnV2("cpu.realtimeRuntime");
  if (c.realtime_period.value_or(0) != 0) return NotOnV2("cpu.realtimePeriod");
  // An idle cgroup refuses a weight, so it stops being idle before and becomes it after.
  if (c.idle == 0) plan.Write("cpu.idle", "cpu.idle", "0");
  if (c.shares.value_or(0) != 0) {
    plan.Write("cpu.shares", "cpu.weight", std::to_string(SharesToWeight(*c.shares, plan.options().shares)));
  }
  if (c.idle == 1) plan.Write("cpu.idle", "cpu.idle", "1");
  bool has_quota = c.quota.value_or(0) != 0;
  bool has_period = c.period.has_value();
  if (c.burst) plan.Write("cpu.burst", "cpu.max.burst", std::to_string(*c.burst)).retry_after = has_quota;
  if (!has_quota && !has_period) return Ok();
  // The file holds both; the one that is left out stays as it is.
  std::string quota = has_quota ? (*c.quota < 0 ? "max" : std::to_string(*c.quota)) : "";
  uint64_t period = c.period.value_or(0);
  if (!has_quota || !has_period) {
    std::string now = plan.Read("cpu.max").value_or("max 100000");
    Scanner scan(now);
    std::string_view current_quota = scan.TakeWord();
    scan.SkipBlanks();
    uint64_t current_period = scan.TakeU64().value_or(kDefaultPeriodUsec);
    if (!has_quota) quota = current_quota;
    if (!has_period) period = current_period;
  }
  if (period == 0) period = kDefaultPeriodUsec;
  plan.Write(has_quota ? "cpu.quota" : "cpu.period", "cpu.max", quota + " " + std::to_string(period))
      .then_retry = true;
  return Ok();
}

Status PlanIoV2(const Resources::BlockIo& b, PlanBuilder plan) {
  if (b.leaf_weight.value_or(0) != 0) return NotOnV2("blockIO.leafWeight");
  bool weights = b.weight.value_or(0) != 0 || !b.weight_device.empty();
  std::optional<std::string> bfq = weights ? plan.Read("io.bfq.weight") : std::nullopt;
  const char* file = bfq ? "io.bfq.weight" : "io.weight";
  auto value = [&](uint16_t weight) { return std::to_string(bfq ? weight : BlkioToIoWeight(weight)); };
  if (b.weight.value_or(0) != 0) {
    plan.Write("blockIO.weight", file, value(*b.weight)).restore = CgroupWrite::Restore::kDefaultLine;
  }
  for (const Resources::WeightDevice& d : b.weight_device) {
    if (d.leaf_weight.value_or(0) != 0) return NotOnV2("blockIO.weightDevice leafWeight");
    if (!d.weight) continue;
    // Before Linux 5.4 BFQ had one number for all devices, and the file holds nothing else.
    if (bfq && ScanU64(*bfq)) {
      return Error::Coded("ERR_UNSUPPORTED",
                          "blockIO.weightDevice: this kernel has one weight for all devices",
                          "blockIO.weightDevice");
    }
    std::string device = DeviceName(d.major, d.minor);
    CgroupWrite& write = plan.Write("blockIO.weightDevice", file,
                                    device + " " + (*d.weight == 0 ? "default" : value(*d.weight)));
    write.restore = CgroupWrite::Restore::kFirstWord;
    write.when_missing = device + " default";
  }
  auto throttle = [&](const char* field, const char* key,
                      const std::vector<Resources::ThrottleDevice>& devices) {
    for (const Resources::ThrottleDevice& d : devices) {
      std::string device = DeviceName(d.major, d.minor);
      std::string rate = d.rate == 0 ? "max" : std::to_string(d.rate);
      CgroupWrite& write = plan.Write(field, "io.max", device + " " + key + "=" + rate);
      write.restore = CgroupWrite::Restore::kFirstWord;
      write.when_missing = device + kNoIoLimit;
    }
  };
  throttle("blockIO.throttleReadBpsDevice", "rbps", b.throttle_read_bps);
  throttle("blockIO.throttleWriteBpsDevice", "wbps", b.throttle_write_bps);
  throttle("blockIO.throttleReadIOPSDevice", "riops", b.throttle_read_iops);
  throttle("blockIO.throttleWriteIOPSDevice", "wiops", b.throttle_write_iops);
  return Ok();
}

const char* CheckUnifiedKey(std::string_view key) {
  if (key.empty()) return "is empty";
  if (key == "." || key == "..") return "is no file name";
  if (key.find('/') != std::string_view::npos) return "must be a file name, without a slash";
  if (key.find("..") != std::string_view::npos) return "must not hold two dots in a row";
  for (char c : key) {
    if (c == '\0' || c == '\n') return "holds a character that no cgroup file name has";
  }
  if (key.find('.') == std::string_view::npos)
    return "must be like \"memory.high\": controller, dot, parameter";
  return nullptr;
}

Status PlanUnified(const std::vector<Resources::Unified>& unified, PlanBuilder plan) {
  using Restore = CgroupWrite::Restore;
  for (const Resources::Unified& entry : unified) {
    if (const char* wrong = CheckUnifiedKey(entry.key))
      return Invalid("unified key \"" + entry.key + "\"", wrong);
  }
  for (const Resources::Unified& entry : unified) {
    // The kernel takes one line in one write.
    std::string_view rest = entry.value;
    do {
      size_t end = rest.find('\n');
      std::string line(rest.substr(0, end));
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
      std::string device = line.substr(0, line.find(' '));
      // A write of nothing does not reach the kernel; a newline does, and means the same.
      CgroupWrite& write = plan.Write("unified", entry.key, line.empty() ? "\n" : line);
      write.field = "unified." + entry.key;
      if (entry.key == "cgroup.procs" || entry.key == "cgroup.threads" || entry.key == "cgroup.kill" ||
          entry.key == "cgroup.subtree_control" || entry.key == "memory.reclaim") {
        write.restore = Restore::kNone;
      } else if (entry.key == "rdma.max") {
        write.restore = Restore::kFirstWord;
        write.when_missing = device + " hca_handle=max hca_object=max";
      } else if (entry.key.starts_with("io.") && IsDevice(device)) {
        write.restore = Restore::kFirstWord;
        write.when_missing = device + (entry.key == "io.max"       ? kNoIoLimit
                                       : entry.key == "io.latency" ? " target=0"
                                                                   : " default");
      } else if (entry.key == "io.weight" || entry.key == "io.bfq.weight") {
        write.restore = Restore::kDefaultLine;
      }
    } while (!rest.empty());
  }
  return Ok();
}

}  // namespace lc
