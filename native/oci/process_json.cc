// Reads an OCI `process` object and checks its ranges.
#include "oci/process_json.h"

#include <array>
#include <charconv>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "core/protection.h"
#include "oci/names.h"

namespace lc {
namespace {

Error Invalid(const std::string& field, const std::string& why) {
  return Error::Coded("ERR_INVALID_ARG_VALUE", "spec" + (field.empty() ? "" : "." + field) + " " + why,
                      field);
}

// Says so of a member that the caller did not write.
Error Named(Error error, const TypedMembers& typed) {
  std::string member = error.path.substr(0, error.path.find('.'));
  const bool is_own = member.empty() || member == "args" || member == "terminal" || member == "consoleSize";
  if (!is_own && !typed.Has(member)) error.text += "; it comes from the container's config.json";
  return error;
}

std::optional<uint32_t> Id(const JsonValue& json) {
  // Strict: an id that is not a whole number below 2^32 - 1 must never end as 0 (CVE-2016-3697 and kin).
  if (Without("strict-ids")) return json.IsInt64() ? static_cast<uint32_t>(json.GetInt64()) : 0;
  // 2^32 - 1 itself is -1, "leave as it is", to setresuid(2).
  if (!json.IsUint() || json.GetUint() == UINT32_MAX) return std::nullopt;
  return json.GetUint();
}

std::optional<Error> ParseUser(const JsonValue& user, bool typed, OciProcess* out) {
  if (!user.IsObject()) return Invalid("user", "is not an object");
  // Null reads as left out elsewhere; here left out is root.
  for (const char* name : {"uid", "gid"}) {
    auto given = user.FindMember(name);
    if (given != user.MemberEnd() && given->value.IsNull())
      return Invalid(std::string("user.") + name, "is null");
  }
  if (const JsonValue* uid = Member(user, "uid")) {
    auto id = Id(*uid);
    if (!id) return Invalid("user.uid", "is not a whole number from 0 to 4294967294");
    out->uid = *id;
  }
  if (const JsonValue* gid = Member(user, "gid")) {
    auto id = Id(*gid);
    if (!id) return Invalid("user.gid", "is not a whole number from 0 to 4294967294");
    out->gid = *id;
  }
  if (const JsonValue* umask = Member(user, "umask")) {
    if (!umask->IsUint() || (typed && umask->GetUint() > 0777))
      return Invalid("user.umask", "is not from 0 to 0777");
    out->umask = umask->GetUint() & 0777;  // as umask(2) takes it
  }
  if (const JsonValue* groups = Member(user, "additionalGids")) {
    if (!groups->IsArray()) return Invalid("user.additionalGids", "is not an array");
    for (const JsonValue& group : groups->GetArray()) {
      auto id = Id(group);
      if (!id) return Invalid("user.additionalGids", "holds what is no group id");
      out->groups.push_back(*id);
    }
  }
  return std::nullopt;
}

std::optional<Error> ParseStrings(const JsonValue& json, const char* name, std::vector<std::string>* out) {
  if (!json.IsArray()) return Invalid(name, "is not an array");
  for (const JsonValue& item : json.GetArray()) {
    if (!item.IsString()) return Invalid(name, "holds what is no string");
    std::string text(item.GetString(), item.GetStringLength());
    if (text.find('\0') != std::string::npos) return Invalid(name, "holds a NUL byte");
    out->push_back(std::move(text));
  }
  return std::nullopt;
}

// runc passes over what it does not know; crun, by libcap, over case as well.
std::optional<int> InheritedCapability(std::string name, bool crun) {
  if (crun) {
    for (char& letter : name)
      letter = static_cast<char>(letter >= 'a' && letter <= 'z' ? letter - 'a' + 'A' : letter);
  }
  return CapabilityNumber(name);
}

std::optional<Error> ParseCapabilities(const JsonValue& json, const TypedMembers& typed,
                                       CapabilitySets* out) {
  const bool strict = typed.Has("capabilities");
  if (!json.IsObject()) return Invalid("capabilities", "is not an object");
  const std::array<std::pair<const char*, uint64_t*>, 5> sets = {{
      {"bounding", &out->bounding},
      {"effective", &out->effective},
      {"inheritable", &out->inheritable},
      {"permitted", &out->permitted},
      {"ambient", &out->ambient},
  }};
  for (const auto& [name, set] : sets) {
    const JsonValue* list = Member(json, name);
    if (list == nullptr) continue;
    std::vector<std::string> names;
    std::string field = std::string("capabilities.") + name;
    if (auto error = ParseStrings(*list, field.c_str(), &names)) return error;
    for (const std::string& capability : names) {
      auto number = strict ? CapabilityNumber(capability) : InheritedCapability(capability, typed.crun);
      if (!number && !strict) continue;  // a newer engine's, perhaps
      if (!number) return Invalid(field, "names an unknown capability: " + capability);
      *set |= uint64_t{1} << static_cast<unsigned>(*number);
    }
  }
  return std::nullopt;
}

// crun reads -1 as strtoull(3) does.
std::optional<uint64_t> LimitMember(const JsonValue& item, const char* name, bool typed) {
  auto value = UintMember(item, name);
  auto negative = typed ? std::nullopt : IntMember(item, name);
  if (!value && negative) return static_cast<uint64_t>(*negative);
  return value;
}

std::optional<Error> ParseRlimits(const JsonValue& json, bool typed, std::vector<Rlimit>* out) {
  if (!json.IsArray()) return Invalid("rlimits", "is not an array");
  for (const JsonValue& item : json.GetArray()) {
    auto type = StringMember(item, "type");
    auto number = type ? RlimitNumber(*type) : std::nullopt;
    if (!number) return Invalid("rlimits", "names an unknown limit: " + type.value_or("(no type)"));
    auto soft = LimitMember(item, "soft", typed);
    auto hard = LimitMember(item, "hard", typed);
    if (!soft || !hard)
      return Invalid("rlimits", *type + ": soft and hard are whole numbers from 0 to 2^64 - 1");
    if (*soft > *hard) return Invalid("rlimits", *type + ": soft is above hard");
    auto earlier = std::find_if(out->begin(), out->end(),
                                [&](const Rlimit& limit) { return limit.resource == *number; });
    if (earlier == out->end()) {
      out->push_back({*number, *soft, *hard});
    } else if (typed) {
      return Invalid("rlimits", "names " + *type + " twice");
    } else {
      *earlier = {*number, *soft, *hard};  // the runtimes set one after the other
    }
  }
  return std::nullopt;
}

// What is there must be of its type: a confinement that reads as left out is none.
template <typename T>
std::optional<Error> Take(const JsonValue& json, const char* name, const std::string& field, T* out) {
  const JsonValue* member = Member(json, name);
  if (member == nullptr) return std::nullopt;
  if (!member->Is<T>()) return Invalid(field, "is of the wrong type, or out of range");
  *out = member->Get<T>();
  return std::nullopt;
}

std::optional<Error> Take(const JsonValue& json, const char* name, const std::string& field,
                          std::string* out) {
  const JsonValue* member = Member(json, name);
  if (member == nullptr) return std::nullopt;
  if (!member->IsString()) return Invalid(field, "is not a string");
  out->assign(member->GetString(), member->GetStringLength());
  if (out->find('\0') != std::string::npos) return Invalid(field, "holds a NUL byte");
  return std::nullopt;
}

std::optional<Error> ParseScheduler(const JsonValue& json, Scheduler* out) {
  if (!json.IsObject()) return Invalid("scheduler", "is not an object");
  auto policy = StringMember(json, "policy");
  auto number = policy ? SchedulerPolicyNumber(*policy) : std::nullopt;
  if (!number) return Invalid("scheduler.policy", "is unknown: " + policy.value_or("(none)"));
  out->policy = static_cast<uint32_t>(*number);
  if (auto error = Take(json, "nice", "scheduler.nice", &out->nice)) return error;
  if (out->nice < -20 || out->nice > 19) return Invalid("scheduler.nice", "is not from -20 to 19");
  if (auto error = Take(json, "priority", "scheduler.priority", &out->priority)) return error;
  if (auto error = Take(json, "runtime", "scheduler.runtime", &out->runtime)) return error;
  if (auto error = Take(json, "deadline", "scheduler.deadline", &out->deadline)) return error;
  if (auto error = Take(json, "period", "scheduler.period", &out->period)) return error;
  std::vector<std::string> flags;
  if (const JsonValue* list = Member(json, "flags")) {
    if (auto error = ParseStrings(*list, "scheduler.flags", &flags)) return error;
  }
  for (const std::string& flag : flags) {
    auto bit = SchedulerFlagNumber(flag);
    if (!bit) return Invalid("scheduler.flags", "names an unknown flag: " + flag);
    out->flags |= static_cast<uint64_t>(*bit);
  }
  return std::nullopt;
}

std::optional<Error> ParseIoPriority(const JsonValue& json, std::optional<int>* out) {
  std::string io_class = StringMember(json, "class").value_or("");
  // ioprio_set(2); Linux 6.5's <linux/ioprio.h> does not compile as C++.
  constexpr int kClassShift = 13;
  int number = io_class == "IOPRIO_CLASS_RT"     ? 1
               : io_class == "IOPRIO_CLASS_BE"   ? 2
               : io_class == "IOPRIO_CLASS_IDLE" ? 3
                                                 : -1;
  if (number < 0) return Invalid("ioPriority.class", "is unknown: " + io_class);
  int priority = 0;
  if (auto error = Take(json, "priority", "ioPriority.priority", &priority)) return error;
  if (priority < 0 || priority > 7) return Invalid("ioPriority.priority", "is not from 0 to 7");
  *out = (number << kClassShift) | priority;
  return std::nullopt;
}

std::optional<Error> ParseAffinity(const JsonValue& json, OciProcess* out) {
  if (!json.IsObject()) return Invalid("execCPUAffinity", "is not an object");
  if (auto error = Take(json, "initial", "execCPUAffinity.initial", &out->affinity_initial)) return error;
  if (auto error = Take(json, "final", "execCPUAffinity.final", &out->affinity_final)) return error;
  for (const std::string& list : {out->affinity_initial, out->affinity_final}) {
    if (!list.empty() && !ParseCpuList(list).ok())
      return Invalid("execCPUAffinity", "is no CPU list: " + list);
  }
  return std::nullopt;
}

// Where a processor's time goes, which is no confinement. A runtime that knows these members refuses to start
// a container for what is wrong in them, so one that runs was started by a runtime that passes over them.
std::optional<Error> ParseScheduling(const JsonValue& json, const TypedMembers& typed, OciProcess* out) {
  if (const JsonValue* priority = Member(json, "ioPriority")) {
    auto error = ParseIoPriority(*priority, &out->io_priority);
    if (error && typed.Has("ioPriority")) return error;
  }
  if (const JsonValue* scheduler = Member(json, "scheduler")) {
    out->scheduler.emplace();
    auto error = ParseScheduler(*scheduler, &*out->scheduler);
    if (error && typed.Has("scheduler")) return error;
    if (error) out->scheduler.reset();
  }
  if (const JsonValue* affinity = Member(json, "execCPUAffinity")) {
    auto error = ParseAffinity(*affinity, out);
    if (error && typed.Has("execCPUAffinity")) return error;
    if (error) out->affinity_initial = out->affinity_final = "";
  }
  return std::nullopt;
}

std::optional<Error> ParseConfinement(const JsonValue& json, const TypedMembers& typed, OciProcess* out) {
  if (const JsonValue* capabilities = Member(json, "capabilities")) {
    if (auto error = ParseCapabilities(*capabilities, typed, &out->capabilities)) return error;
  }
  if (const JsonValue* rlimits = Member(json, "rlimits")) {
    if (auto error = ParseRlimits(*rlimits, typed.Has("rlimits"), &out->rlimits)) return error;
  }
  if (auto error = Take(json, "noNewPrivileges", "noNewPrivileges", &out->no_new_privileges)) return error;
  if (auto error = Take(json, "apparmorProfile", "apparmorProfile", &out->apparmor_profile)) return error;
  if (auto error = Take(json, "selinuxLabel", "selinuxLabel", &out->selinux_label)) return error;
  if (const JsonValue* score = Member(json, "oomScoreAdj")) {
    if (!score->IsInt() || score->GetInt() < -1000 || score->GetInt() > 1000) {
      return Invalid("oomScoreAdj", "is not from -1000 to 1000");
    }
    out->oom_score_adj = score->GetInt();
  }
  return std::nullopt;
}

// putenv(3), by which crun sets them: a name without `=` takes away what was set before it. (runc starts no
// such container.)
void ApplyUnsets(std::vector<std::string>* env) {
  if (std::all_of(env->begin(), env->end(),
                  [](const std::string& entry) { return entry.find('=') != entry.npos; }))
    return;
  std::unordered_set<std::string> unset;
  std::vector<std::string> kept;
  for (auto entry = env->rbegin(); entry != env->rend(); ++entry) {
    size_t equals = entry->find('=');
    if (equals == std::string::npos) {
      if (!entry->empty()) unset.insert(std::move(*entry));
    } else if (!unset.contains(entry->substr(0, equals))) {
      kept.push_back(std::move(*entry));
    }
  }
  env->assign(std::make_move_iterator(kept.rbegin()), std::make_move_iterator(kept.rend()));
}

std::optional<Error> ParseEnv(const JsonValue& json, bool typed, std::vector<std::string>* out) {
  if (auto error = ParseStrings(json, "env", out)) return error;
  if (!typed) {
    ApplyUnsets(out);
    return std::nullopt;
  }
  for (const std::string& entry : *out) {
    size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0)
      return Invalid("env", "holds an entry that is not NAME=value: " + entry);
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<int>> ParseCpuList(const std::string& text) {
  constexpr int kMaxCpu = 8191;
  Error invalid = Error::Of(EINVAL, "parse", text);
  // Where ranges begin and end: a list may name the same processors any number of times.
  std::array<int, kMaxCpu + 2> steps{};
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end) {
    while (at < end && *at == ' ') ++at;
    int first = 0;
    auto [after_first, error] = std::from_chars(at, end, first);
    if (error != std::errc() || first < 0 || first > kMaxCpu) return invalid;
    int last = first;
    at = after_first;
    if (at < end && *at == '-') {
      auto [after_last, range_error] = std::from_chars(at + 1, end, last);
      if (range_error != std::errc() || last < first || last > kMaxCpu) return invalid;
      at = after_last;
    }
    ++steps.at(static_cast<size_t>(first));
    --steps.at(static_cast<size_t>(last) + 1);
    while (at < end && *at == ' ') ++at;
    if (at < end && *at++ != ',') return invalid;
  }
  std::vector<int> out;
  for (int cpu = 0, ranges = 0; cpu <= kMaxCpu; ++cpu) {
    ranges += steps.at(static_cast<size_t>(cpu));
    if (ranges > 0) out.push_back(cpu);
  }
  if (out.empty()) return invalid;
  return out;
}

namespace {

Result<OciProcess> Parse(const JsonValue& json, const TypedMembers& typed) {
  if (!json.IsObject()) return Invalid("", "is not an object");
  OciProcess out;
  if (auto error = Take(json, "terminal", "terminal", &out.terminal)) return *std::move(error);
  if (const JsonValue* size = Member(json, "consoleSize")) {
    if (!size->IsObject()) return Invalid("consoleSize", "is not an object");
    unsigned rows = 0;
    unsigned columns = 0;
    if (auto error = Take(*size, "height", "consoleSize.height", &rows)) return *std::move(error);
    if (auto error = Take(*size, "width", "consoleSize.width", &columns)) return *std::move(error);
    if (rows > UINT16_MAX || columns > UINT16_MAX) return Invalid("consoleSize", "is above 65535");
    out.rows = static_cast<uint16_t>(rows);
    out.columns = static_cast<uint16_t>(columns);
  }
  if (const JsonValue* user = Member(json, "user")) {
    if (auto error = ParseUser(*user, typed.Has("user"), &out)) return *std::move(error);
  }
  const JsonValue* args = Member(json, "args");
  if (args == nullptr) return Invalid("args", "is missing");
  if (auto error = ParseStrings(*args, "args", &out.args)) return *std::move(error);
  if (out.args.empty() || out.args[0].empty()) return Invalid("args", "is empty, or its first word is");
  if (const JsonValue* env = Member(json, "env")) {
    if (auto error = ParseEnv(*env, typed.Has("env"), &out.env)) return *std::move(error);
  }
  if (const JsonValue* cwd = Member(json, "cwd")) {
    if (!cwd->IsString()) return Invalid("cwd", "is not a string");
    out.cwd.assign(cwd->GetString(), cwd->GetStringLength());
    // crun changes to it from the root.
    if (!typed.Has("cwd") && !out.cwd.empty() && out.cwd[0] != '/') out.cwd.insert(0, "/");
    if (out.cwd.empty() || out.cwd[0] != '/' || out.cwd.find('\0') != std::string::npos) {
      return Invalid("cwd", "is not an absolute path");
    }
  }
  if (auto error = ParseConfinement(json, typed, &out)) return *std::move(error);
  if (auto error = ParseScheduling(json, typed, &out)) return *std::move(error);
  return out;
}

}  // namespace

Result<OciProcess> ParseOciProcess(const JsonValue& json, const TypedMembers& typed) {
  auto process = Parse(json, typed);
  if (!process) return Named(std::move(process.error()), typed);
  return process;
}

}  // namespace lc
