// How a process is looked after beyond its exit: its own cgroup, how long it may run, and whom it belongs to.
#include "shim/care.h"

#include <ctime>

#include "shim/message.h"

namespace lc::shim {
namespace {

constexpr int64_t kMostMs = INT32_MAX;
constexpr int kMostSignal = 64;

// False where it is there and no number from `least` to `most`.
bool ReadNumber(const JsonValue& json, const char* name, int64_t least, int64_t most, int64_t* out) {
  if (Member(json, name) == nullptr) return true;
  auto number = IntMember(json, name);
  if (!number || *number < least || *number > most) return false;
  *out = *number;
  return true;
}

}  // namespace

int64_t MonotonicNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

Result<CareSpec> CareSpec::FromRequest(const JsonValue& request) {
  CareSpec out;
  out.bound = BoolMember(request, "bound").value_or(false);
  out.sweep = BoolMember(request, "sweep").value_or(false);
  int64_t signal = SIGKILL;
  if (!ReadNumber(request, "runMs", 1, kMostMs, &out.run_ms) ||
      !ReadNumber(request, "killSignal", 1, kMostSignal, &signal) ||
      !ReadNumber(request, "graceMs", 0, kMostMs, &out.grace_ms)) {
    return Error::Coded("ERR_INVALID_ARG_VALUE", "runMs, killSignal or graceMs is out of its range");
  }
  out.kill_signal = static_cast<int>(signal);
  return out;
}

CareSpec CareSpec::FromFile(const std::string& text) {
  CareSpec out;
  JsonDocument json;
  if (text.empty() || !ParseJson(text, &json) || !json.IsObject()) return out;
  auto read = FromRequest(json);
  if (!read) return out;
  out = *read;
  out.cgroup = StringMember(json, "cgroup").value_or("");
  out.deadline_ms = IntMember(json, "deadlineMs").value_or(0);
  out.owner_pid = static_cast<pid_t>(IntMember(json, "ownerPid").value_or(0));
  out.owner_start = UintMember(json, "ownerStart").value_or(0);
  return out;
}

std::string CareSpec::ToJson() const {
  Message message;
  if (!cgroup.empty()) message.Add("cgroup", cgroup);
  if (bound) message.Add("bound", true).Add("ownerPid", int64_t{owner_pid}).Add("ownerStart", owner_start);
  if (sweep) message.Add("sweep", true);
  if (deadline_ms != 0) message.Add("deadlineMs", deadline_ms);
  if (kill_signal != SIGKILL) message.Add("killSignal", int64_t{kill_signal}).Add("graceMs", grace_ms);
  return message.Done();
}

}  // namespace lc::shim
