// Compiles a seccomp profile to the bytes of its filter, with libseccomp.
#include "seccomp/compile.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "core/files.h"
#include "core/unique_fd.h"
#include "seccomp/enosys_stub.h"

namespace lc::seccomp {
namespace {

class Filter {
 public:
  explicit Filter(uint32_t default_action) : context_(seccomp_init(default_action)) {}
  ~Filter() {
    if (context_ != nullptr) seccomp_release(context_);
  }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  scmp_filter_ctx get() const { return context_; }

 private:
  scmp_filter_ctx context_;
};

Error Unsupported(const std::string& what) {
  return Error::Coded("ERR_UNSUPPORTED", "exec cannot apply a seccomp profile with " + what);
}

uint32_t NativeAction(SeccompAction action, std::optional<uint16_t> errno_return) {
  uint16_t number = errno_return.value_or(EPERM);
  switch (action) {
    case SeccompAction::kKillThread:
      return SCMP_ACT_KILL_THREAD;
    case SeccompAction::kKillProcess:
      return SCMP_ACT_KILL_PROCESS;
    case SeccompAction::kTrap:
      return SCMP_ACT_TRAP;
    case SeccompAction::kErrno:
      return SCMP_ACT_ERRNO(number);
    case SeccompAction::kTrace:
      return SCMP_ACT_TRACE(number);
    case SeccompAction::kAllow:
      return SCMP_ACT_ALLOW;
    case SeccompAction::kLog:
      return SCMP_ACT_LOG;
    case SeccompAction::kNotify:
      break;
  }
  return SCMP_ACT_NOTIFY;
}

scmp_compare NativeCompare(SeccompCompare compare) {
  switch (compare) {
    case SeccompCompare::kEqual:
      return SCMP_CMP_EQ;
    case SeccompCompare::kNotEqual:
      return SCMP_CMP_NE;
    case SeccompCompare::kGreater:
      return SCMP_CMP_GT;
    case SeccompCompare::kGreaterOrEqual:
      return SCMP_CMP_GE;
    case SeccompCompare::kLess:
      return SCMP_CMP_LT;
    case SeccompCompare::kLessOrEqual:
      return SCMP_CMP_LE;
    case SeccompCompare::kMaskedEqual:
      break;
  }
  return SCMP_CMP_MASKED_EQ;
}

Status AddRule(const Filter& filter, const SeccompRule& rule, uint32_t default_action) {
  uint32_t action = NativeAction(rule.action, rule.errno_return);
  if (action == default_action) return Ok();  // says nothing new, and libseccomp takes it for a mistake
  int number = seccomp_syscall_resolve_name(rule.syscall.c_str());
  // Profiles name calls of other architectures and of newer libraries; the runtimes pass over them too.
  if (number == __NR_SCMP_ERROR) return Ok();
  std::vector<scmp_arg_cmp> conditions;
  std::array<int, 6> uses{};
  bool repeated = false;
  for (const SeccompCondition& condition : rule.conditions) {
    conditions.push_back(
        {condition.argument, NativeCompare(condition.compare), condition.value, condition.value_two});
    repeated = repeated || ++uses.at(condition.argument) > 1;
  }
  int rc = 0;
  if (repeated) {
    // libseccomp takes one condition for each argument: then any of them is enough, as both runtimes have it.
    for (const scmp_arg_cmp& condition : conditions) {
      if (rc == 0) rc = seccomp_rule_add_array(filter.get(), action, number, 1, &condition);
    }
  } else {
    rc = seccomp_rule_add_array(filter.get(), action, number, static_cast<unsigned>(conditions.size()),
                                conditions.data());
  }
  if (rc != 0) return Error::Of(-rc, "seccomp_rule_add", rule.syscall);
  return Ok();
}

Result<std::string> Export(const Filter& filter) {
  UniqueFd memory(static_cast<int>(syscall(SYS_memfd_create, "seccomp", MFD_CLOEXEC)));
  if (!memory) return Error::Sys("memfd_create");
  int rc = seccomp_export_bpf(filter.get(), memory.get());
  if (rc != 0) return Error::Of(-rc, "seccomp_export_bpf");
  return RereadFd(memory.get(), "seccomp");
}

std::vector<KnownCalls> HighestCalls(const SeccompProfile& profile) {
  std::vector<KnownCalls> out;
  for (const std::string& name : profile.architectures) {
    uint32_t architecture = seccomp_arch_resolve_name(name.c_str());
    int highest = 0;
    for (const SeccompRule& rule : profile.rules) {
      // Negative for a call that the architecture does not have.
      highest = std::max(highest, seccomp_syscall_resolve_name_arch(architecture, rule.syscall.c_str()));
    }
    if (highest == 0) continue;
    bool x32 = architecture == SCMP_ARCH_X32;
    uint32_t audit_arch = x32 ? SCMP_ARCH_X86_64 : architecture;
    auto known = std::find_if(out.begin(), out.end(),
                              [&](const KnownCalls& one) { return one.audit_arch == audit_arch; });
    if (known == out.end()) known = out.insert(out.end(), KnownCalls{audit_arch, {}, {}});
    constexpr uint32_t kX32Bit = 0x40000000;
    (x32 ? known->highest_x32 : known->highest) = static_cast<uint32_t>(highest) & ~kX32Bit;
  }
  return out;
}

// For a default that lets calls through there is nothing to soften; a tracer answers new calls by itself.
bool IsPermissive(SeccompAction action) {
  return action == SeccompAction::kAllow || action == SeccompAction::kLog || action == SeccompAction::kTrace;
}

}  // namespace

bool WantsListener(const SeccompProfile& profile) {
  return profile.default_action == SeccompAction::kNotify ||
         std::any_of(profile.rules.begin(), profile.rules.end(),
                     [](const SeccompRule& rule) { return rule.action == SeccompAction::kNotify; });
}

Result<std::string> Compile(const SeccompProfile& profile, bool enosys_stub) {
  if (WantsListener(profile)) return Unsupported("SCMP_ACT_NOTIFY, since its listener is not served");

  uint32_t default_action = NativeAction(profile.default_action, profile.default_errno);
  Filter filter(default_action);
  if (filter.get() == nullptr) return Error::Of(EINVAL, "seccomp_init");
  for (const std::string& name : profile.architectures) {
    uint32_t architecture = seccomp_arch_resolve_name(name.c_str());
    if (architecture == 0) return Unsupported("the architecture " + name);
    int rc = seccomp_arch_add(filter.get(), architecture);
    if (rc != 0 && rc != -EEXIST) return Error::Of(-rc, "seccomp_arch_add", name);
  }
  for (const SeccompRule& rule : profile.rules) {
    auto added = AddRule(filter, rule, default_action);
    if (!added) return added.error();
  }
  auto program = Export(filter);
  if (!program) return program.error();
  if (!enosys_stub || IsPermissive(profile.default_action)) return program;
  std::vector<sock_filter> stub = EnosysStub(HighestCalls(profile));
  std::string whole(reinterpret_cast<const char*>(stub.data()), stub.size() * sizeof(sock_filter));
  return whole + *program;
}

}  // namespace lc::seccomp
