// A container's seccomp profile, the same whether runc's record or an OCI config said it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lc {

enum class SeccompAction { kKillThread, kKillProcess, kTrap, kErrno, kTrace, kAllow, kLog, kNotify };
enum class SeccompCompare {
  kEqual,
  kNotEqual,
  kGreater,
  kGreaterOrEqual,
  kLess,
  kLessOrEqual,
  kMaskedEqual,
};

struct SeccompCondition {
  uint32_t argument = 0;  // 0 to 5
  SeccompCompare compare = SeccompCompare::kEqual;
  uint64_t value = 0;  // kMaskedEqual: the mask
  uint64_t value_two = 0;
};

struct SeccompRule {
  std::string syscall;
  SeccompAction action = SeccompAction::kAllow;
  std::optional<uint16_t> errno_return;  // of kErrno and kTrace; EPERM when left out
  std::vector<SeccompCondition> conditions;
};

struct SeccompProfile {
  SeccompAction default_action = SeccompAction::kKillThread;
  std::optional<uint16_t> default_errno;
  std::vector<std::string> architectures;  // libseccomp's names: "x86_64", "aarch64"
  bool has_flags = false;                  // the profile names flags, be it none
  uint32_t flags = 0;                      // SECCOMP_FILTER_FLAG_*
  std::vector<SeccompRule> rules;          // one name each
};

}  // namespace lc
