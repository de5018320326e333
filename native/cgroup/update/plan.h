// From resources to the list of writes that bring them about, in the order that the kernel wants: pure, for
// v1, v2 and mixtures, so that every order and conversion is tested without a cgroup.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cgroup/update/resources.h"
#include "core/cgroup_paths.h"
#include "core/result.h"

namespace lc {

struct CgroupWrite {
  // How to put the old value back, given what the file said before.
  enum class Restore : uint8_t {
    kWhole,        // one value: write what was read
    kFirstWord,    // a line for each device: the one that begins with the same word, else `when_missing`
    kDefaultLine,  // "default N" stands among lines for devices
    kOomControl,   // the value behind the first word
    kNone,         // nothing to put back (cgroup.procs)
  };
  std::string controller;  // v1 name; empty: the v2 cgroup
  std::string file;
  std::string value;
  std::string field;            // of the resources, for errors: "memory.limit"
  bool may_be_missing = false;  // no such file: nothing to do
  bool retry_after = false;     // EINVAL: again after the next write that is marked `then_retry`
  bool then_retry = false;
  bool read_back = false;  // the kernel clamps: another number than was written is an error
  Restore restore = Restore::kWhole;
  std::string when_missing;
};

struct CgroupPlan {
  std::vector<CgroupWrite> writes;
};

struct PlanOptions {
  // The one that the container's runtime uses, so that its next update writes the same: kCurve since
  // runc 1.3.2 and in crun since 2025, kLinear before.
  enum class SharesFormula : uint8_t { kLinear, kCurve };
  SharesFormula shares = SharesFormula::kCurve;
  // pids.limit 0: runc 1.3 and later write 1; before, and in crun, it means "leave it".
  bool pids_zero_is_one = false;
  // What the runtime recorded for memory and memory+swap (0 or nothing: not set). On v2 a limit for both
  // together must be computed anew whenever one of the two changes.
  std::optional<int64_t> recorded_memory = std::nullopt;
  std::optional<int64_t> recorded_swap = std::nullopt;
};

// What a control file says now; nothing when there is no such file. Asked only where the plan depends on it.
// `controller` as in CgroupWrite.
using ReadCurrent =
    std::function<std::optional<std::string>(const std::string& controller, const char* file)>;

// ERR_INVALID_ARG_VALUE naming the field where values contradict each other, ERR_UNSUPPORTED where this
// machine has no controller or no file for the field.
Result<CgroupPlan> PlanUpdate(const Resources& resources, const CgroupPaths& paths,
                              const PlanOptions& options, const ReadCurrent& current);

// The conversions, as the runtimes do them.
uint64_t SharesToWeight(uint64_t shares, PlanOptions::SharesFormula formula);
uint64_t BlkioToIoWeight(uint16_t weight);
// OCI `swap` is memory and swap together; v2 wants swap alone. -1: no limit; nothing: leave it.
Result<std::optional<int64_t>> SwapForV2(std::optional<int64_t> swap, std::optional<int64_t> memory);
// Nothing when the key is a file name of the cgroup directory, else what is wrong with it.
const char* CheckUnifiedKey(std::string_view key);

}  // namespace lc
