// The kernel's numbers for what the OCI specification names.
#pragma once

#include <optional>
#include <string>

namespace lc {

// Nothing for a name that is not known.
std::optional<int> CapabilityNumber(const std::string& name);       // "CAP_KILL" -> 5
std::optional<int> RlimitNumber(const std::string& name);           // "RLIMIT_CORE" -> 4
std::optional<int> SchedulerPolicyNumber(const std::string& name);  // "SCHED_FIFO" -> 1
std::optional<int> SchedulerFlagNumber(const std::string& name);    // "SCHED_FLAG_RECLAIM" -> 2

}  // namespace lc
