// The program that runc puts before a filter: ENOSYS for system calls newer than the profile.
#include "seccomp/enosys_stub.h"

#include <linux/audit.h>
#include <linux/seccomp.h>

#include <cerrno>
#include <cstddef>

namespace lc::seccomp {
namespace {

constexpr uint32_t kX32Bit = 0x40000000;
constexpr uint32_t kReturnEnosys = SECCOMP_RET_ERRNO | ENOSYS;

sock_filter Load(size_t offset) {
  return {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(offset)};
}
sock_filter Return(uint32_t value) {
  return {BPF_RET | BPF_K, 0, 0, value};
}
sock_filter Jump(uint16_t test, uint32_t value, size_t if_true, size_t if_false) {
  return {static_cast<uint16_t>(BPF_JMP | test | BPF_K), static_cast<uint8_t>(if_true),
          static_cast<uint8_t>(if_false), value};
}
// Goes on with the filter; where that begins is filled in at the end.
sock_filter ToFilter() {
  return {BPF_JMP | BPF_JA, 0, 0, 0};
}

// The number is loaded: ENOSYS above `highest`, else the filter.
void AppendLimit(std::optional<uint32_t> highest, uint32_t mode, std::vector<sock_filter>* out) {
  if (highest) {
    out->push_back(Jump(BPF_JGT, *highest | mode, 0, 1));
    out->push_back(Return(kReturnEnosys));
  }
  out->push_back(ToFilter());
}

std::vector<sock_filter> Section(const KnownCalls& known) {
  std::vector<sock_filter> out;
  out.push_back(Load(offsetof(seccomp_data, nr)));
  if (known.audit_arch == AUDIT_ARCH_S390 || known.audit_arch == AUDIT_ARCH_S390X) {
    // There the kernel leaves number 0 in place of one it does not know.
    out.push_back(Jump(BPF_JEQ, 0, 0, 1));
    out.push_back(Return(kReturnEnosys));
  }
  if (known.audit_arch == AUDIT_ARCH_X86_64) {
    std::vector<sock_filter> native;
    AppendLimit(known.highest, 0, &native);
    out.push_back(Jump(BPF_JSET, kX32Bit, native.size(), 0));
    out.insert(out.end(), native.begin(), native.end());
    AppendLimit(known.highest_x32, kX32Bit, &out);
  } else {
    AppendLimit(known.highest, 0, &out);
  }
  return out;
}

}  // namespace

std::vector<sock_filter> EnosysStub(const std::vector<KnownCalls>& known) {
  std::vector<sock_filter> out;
  out.push_back(Load(offsetof(seccomp_data, arch)));
  for (const KnownCalls& one : known) {
    if (!one.highest && !one.highest_x32) continue;
    std::vector<sock_filter> section = Section(one);
    out.push_back(Jump(BPF_JEQ, one.audit_arch, 0, section.size()));
    out.insert(out.end(), section.begin(), section.end());
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].code == (BPF_JMP | BPF_JA)) out[i].k = static_cast<uint32_t>(out.size() - i - 1);
  }
  return out;
}

}  // namespace lc::seccomp
