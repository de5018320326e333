// OCI linux.resources as plain data: what to change of a container's limits. What is left out stays as it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lc {

struct Resources {
  struct Memory {
    std::optional<int64_t> limit, reservation, swap, kernel, kernel_tcp;  // bytes; -1: no limit
    std::optional<uint64_t> swappiness;
    std::optional<bool> disable_oom_killer, use_hierarchy, check_before_update;
  };
  struct Cpu {
    std::optional<uint64_t> shares;
    std::optional<int64_t> quota;  // microseconds; negative: no limit
    std::optional<uint64_t> burst, period;
    std::optional<int64_t> realtime_runtime;
    std::optional<uint64_t> realtime_period;
    std::string cpus, mems;  // empty: left out, as the specification has it
    std::optional<int64_t> idle;
  };
  struct WeightDevice {
    int64_t major = 0;
    int64_t minor = 0;
    std::optional<uint16_t> weight, leaf_weight;
  };
  struct ThrottleDevice {
    int64_t major = 0;
    int64_t minor = 0;
    uint64_t rate = 0;  // 0: no limit
  };
  struct BlockIo {
    std::optional<uint16_t> weight, leaf_weight;
    std::vector<WeightDevice> weight_device;
    std::vector<ThrottleDevice> throttle_read_bps, throttle_write_bps, throttle_read_iops,
        throttle_write_iops;
  };
  struct HugepageLimit {
    std::string page_size;
    uint64_t limit = 0;
  };
  struct Rdma {
    std::string device;
    std::optional<uint32_t> hca_handles, hca_objects;
  };
  struct Unified {
    std::string key, value;
  };

  Memory memory;
  Cpu cpu;
  std::optional<int64_t> pids_limit;  // negative: no limit
  BlockIo block_io;
  std::vector<HugepageLimit> hugepage_limits;
  std::vector<Rdma> rdma;
  std::vector<Unified> unified;  // in the order given
};

}  // namespace lc
