// The extra descriptors of an exec: `fds`.
#include "shim/extra_fds.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <string_view>

#include "nsexec/plan.h"

namespace lc::shim {
namespace {

constexpr long kNsfs = 0x6e736673;
constexpr long kPidfs = 0x50494446;  // Linux 6.9
constexpr long kAnonymous = 0x09041934;

// Before Linux 6.9 a pidfd is one of the kernel's anonymous inodes, which are told apart by their names. An
// fscontext makes a mount.
bool LeadsOutByName(int fd) {
  char link[64];
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = readlink(path.c_str(), link, sizeof link);
  if (size < 0) return true;
  const std::string_view name(link, static_cast<size_t>(size));
  return name == "anon_inode:[pidfd]" || name == "anon_inode:[fscontext]";
}

// Why a process of a container must not have it; null where it may.
const char* Refusal(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  struct stat st {};
  struct statfs fs {};
  if (flags < 0 || fstat(fd, &st) != 0) return "cannot be looked at";
  if ((flags & O_PATH) != 0) return "is an O_PATH descriptor";
  if (S_ISDIR(st.st_mode)) return "is a directory";
  if (fstatfs(fd, &fs) != 0) return "cannot be looked at";
  switch (fs.f_type) {
    case kNsfs:
      return "is a namespace";
    case PROC_SUPER_MAGIC:
      return "is a file of procfs";
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
      return "is a file of cgroupfs";
    case kPidfs:
      return "is a pidfd";
    case kAnonymous:
      return LeadsOutByName(fd) ? "is a pidfd or a mount" : nullptr;
    default:
      return nullptr;
  }
}

}  // namespace

Result<std::vector<UniqueFd>> TakeExtraFds(const JsonValue& request, std::vector<UniqueFd>* fds) {
  std::vector<UniqueFd> out;
  const uint64_t count = UintMember(request, "extraFds").value_or(0);
  if (count > fds->size() || count > nsexec::kMaxExtra)
    return Error::Coded("ERR_INVALID_ARG_VALUE", "extraFds is garbled");
  for (size_t i = fds->size() - count; i < fds->size(); ++i) {
    if (const char* refusal = Refusal((*fds)[i].get())) {
      return Error::Coded("ERR_INVALID_ARG_VALUE", "fds[" + std::to_string(out.size()) + "] " + refusal +
                                                       ", which would lead out of the container");
    }
    out.push_back(std::move((*fds)[i]));
  }
  fds->resize(fds->size() - count);
  return out;
}

}  // namespace lc::shim
