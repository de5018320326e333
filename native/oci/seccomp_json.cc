// Reads a seccomp profile: as the OCI config words it, and as runc records it.
#include "oci/seccomp_json.h"

#include <array>
#include <utility>

namespace lc {
namespace {

// What differs between the two ways of writing a profile down.
struct Dialect {
  const char* default_action;
  const char* default_errno;
  const char* value_two;
  bool numbers;  // actions and operators by number
};
constexpr Dialect kOci = {"defaultAction", "defaultErrnoRet", "valueTwo", false};
constexpr Dialect kRunc = {"default_action", "default_errno_ret", "value_two", true};

struct ActionName {
  const char* name;
  int64_t runc;
  SeccompAction action;
};
constexpr std::array<ActionName, 9> kActions = {{
    {"SCMP_ACT_KILL", 1, SeccompAction::kKillThread},
    {"SCMP_ACT_ERRNO", 2, SeccompAction::kErrno},
    {"SCMP_ACT_TRAP", 3, SeccompAction::kTrap},
    {"SCMP_ACT_ALLOW", 4, SeccompAction::kAllow},
    {"SCMP_ACT_TRACE", 5, SeccompAction::kTrace},
    {"SCMP_ACT_LOG", 6, SeccompAction::kLog},
    {"SCMP_ACT_NOTIFY", 7, SeccompAction::kNotify},
    {"SCMP_ACT_KILL_THREAD", 8, SeccompAction::kKillThread},
    {"SCMP_ACT_KILL_PROCESS", 9, SeccompAction::kKillProcess},
}};

struct CompareName {
  const char* name;
  int64_t runc;
  SeccompCompare compare;
};
constexpr std::array<CompareName, 7> kCompares = {{
    {"SCMP_CMP_EQ", 1, SeccompCompare::kEqual},
    {"SCMP_CMP_NE", 2, SeccompCompare::kNotEqual},
    {"SCMP_CMP_GT", 3, SeccompCompare::kGreater},
    {"SCMP_CMP_GE", 4, SeccompCompare::kGreaterOrEqual},
    {"SCMP_CMP_LT", 5, SeccompCompare::kLess},
    {"SCMP_CMP_LE", 6, SeccompCompare::kLessOrEqual},
    {"SCMP_CMP_MASKED_EQ", 7, SeccompCompare::kMaskedEqual},
}};

struct FlagName {
  const char* name;
  uint32_t bit;
};
constexpr std::array<FlagName, 4> kFlags = {{
    {"SECCOMP_FILTER_FLAG_TSYNC", 1U << 0},
    {"SECCOMP_FILTER_FLAG_LOG", 1U << 1},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1U << 2},
    {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1U << 5},
}};

// Go's name where it is not libseccomp's.
constexpr std::array<std::pair<const char*, const char*>, 2> kGoArchitectures = {{
    {"amd64", "x86_64"},
    {"arm64", "aarch64"},
}};

Error Corrupt(const std::string& path, const std::string& what) {
  return Error::Coded("ERR_STATE_CORRUPT", "the seccomp profile " + what, path);
}

Error Unsupported(const std::string& path, const std::string& what) {
  return Error::Coded("ERR_UNSUPPORTED", "exec cannot apply a seccomp profile with " + what, path);
}

// The entry of `table` that `value` names, in the dialect's way.
template <typename Table>
const typename Table::value_type* Look(const Table& table, const JsonValue* value, const Dialect& dialect) {
  if (value == nullptr) return nullptr;
  for (const auto& entry : table) {
    if (dialect.numbers ? value->IsInt64() && value->GetInt64() == entry.runc
                        : value->IsString() && std::string_view(entry.name) == value->GetString()) {
      return &entry;
    }
  }
  return nullptr;
}

Result<std::optional<uint16_t>> ErrnoMember(const JsonValue& json, const char* name,
                                            const std::string& path) {
  const JsonValue* value = Member(json, name);
  if (value == nullptr) return std::optional<uint16_t>();
  if (!value->IsUint64()) return Corrupt(path, "has an errno that is no number");
  // Both runtimes keep the lower half, which is all that the kernel has room for.
  return std::optional<uint16_t>(static_cast<uint16_t>(value->GetUint64()));
}

Result<std::string> Architecture(const JsonValue& value, const Dialect& dialect, const std::string& path) {
  if (!value.IsString()) return Corrupt(path, "has an architecture that is no string");
  std::string name(value.GetString(), value.GetStringLength());
  if (dialect.numbers) {
    for (const auto& [go, scmp] : kGoArchitectures) {
      if (name == go) return std::string(scmp);
    }
    return name;
  }
  constexpr std::string_view kPrefix = "SCMP_ARCH_";
  if (!name.starts_with(kPrefix)) return Unsupported(path, "the architecture " + name);
  name.erase(0, kPrefix.size());
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return name;
}

Result<SeccompCondition> Condition(const JsonValue& json, const Dialect& dialect, const std::string& path) {
  auto index = UintMember(json, "index");
  auto value = UintMember(json, "value");
  const CompareName* compare = Look(kCompares, Member(json, "op"), dialect);
  if (compare == nullptr) return Unsupported(path, "an operator that is not known");
  // Zero is left out by some writers.
  if (Member(json, "index") != nullptr && !index) return Corrupt(path, "has an index that is no number");
  if (Member(json, "value") != nullptr && !value) return Corrupt(path, "has a value that is no number");
  if (index.value_or(0) > 5) return Corrupt(path, "has an argument past the sixth");
  const JsonValue* two = Member(json, dialect.value_two);
  if (two != nullptr && !two->IsUint64()) return Corrupt(path, "has a second value that is no number");
  return SeccompCondition{static_cast<uint32_t>(index.value_or(0)), compare->compare, value.value_or(0),
                          two != nullptr ? two->GetUint64() : 0};
}

std::optional<Error> AddRules(const JsonValue& json, const Dialect& dialect, const std::string& path,
                              SeccompProfile* out) {
  const ActionName* action = Look(kActions, Member(json, "action"), dialect);
  if (action == nullptr) return Unsupported(path, "an action that is not known");
  SeccompRule rule;
  rule.action = action->action;
  auto errno_return = ErrnoMember(json, "errnoRet", path);
  if (!errno_return) return errno_return.error();
  rule.errno_return = *errno_return;
  if (const JsonValue* args = Member(json, "args")) {
    if (!args->IsArray()) return Corrupt(path, "has conditions that are no array");
    for (const JsonValue& item : args->GetArray()) {
      auto condition = Condition(item, dialect, path);
      if (!condition) return condition.error();
      rule.conditions.push_back(*condition);
    }
  }
  std::vector<std::string> names = StringsMember(json, "names");
  if (auto name = StringMember(json, "name")) names.push_back(*name);
  if (names.empty()) return Corrupt(path, "has a rule without a name");
  for (std::string& name : names) {
    rule.syscall = std::move(name);
    out->rules.push_back(rule);
  }
  return std::nullopt;
}

Result<SeccompProfile> Parse(const JsonValue& json, const Dialect& dialect, const std::string& path) {
  if (!json.IsObject()) return Corrupt(path, "is no object");
  SeccompProfile profile;
  const ActionName* action = Look(kActions, Member(json, dialect.default_action), dialect);
  if (action == nullptr) return Unsupported(path, "a default action that is not known");
  profile.default_action = action->action;
  auto default_errno = ErrnoMember(json, dialect.default_errno, path);
  if (!default_errno) return default_errno.error();
  profile.default_errno = *default_errno;
  if (const JsonValue* architectures = Member(json, "architectures")) {
    if (!architectures->IsArray()) return Corrupt(path, "has architectures that are no array");
    for (const JsonValue& item : architectures->GetArray()) {
      auto name = Architecture(item, dialect, path);
      if (!name) return name.error();
      profile.architectures.push_back(std::move(*name));
    }
  }
  if (const JsonValue* flags = Member(json, "flags")) {
    if (!flags->IsArray()) return Corrupt(path, "has flags that are no array");
    profile.has_flags = true;
    for (const std::string& name : StringsMember(json, "flags")) {
      uint32_t bit = 0;
      for (const FlagName& flag : kFlags) {
        if (name == flag.name) bit = flag.bit;
      }
      if (bit == 0) return Unsupported(path, "the flag " + name);
      profile.flags |= bit;
    }
  }
  if (const JsonValue* rules = Member(json, "syscalls")) {
    if (!rules->IsArray()) return Corrupt(path, "has rules that are no array");
    for (const JsonValue& item : rules->GetArray()) {
      if (auto error = AddRules(item, dialect, path, &profile)) return *std::move(error);
    }
  }
  return profile;
}

}  // namespace

Result<SeccompProfile> ParseOciSeccomp(const JsonValue& json, const std::string& path) {
  return Parse(json, kOci, path);
}

Result<SeccompProfile> ParseRuncSeccomp(const JsonValue& json, const std::string& path) {
  return Parse(json, kRunc, path);
}

}  // namespace lc
