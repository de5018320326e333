#include "shim/device_node.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <string>

namespace lc::shim {
namespace {

// Younger than the C libraries that this is built with. One number on every architecture.
constexpr long kOpenTree = 428;
constexpr long kMountSetattr = 442;
constexpr uint64_t kReadOnly = 0x1;     // MOUNT_ATTR_RDONLY
constexpr unsigned kCloneOfTree = 0x1;  // OPEN_TREE_CLONE

}  // namespace

UniqueFd OpenOnReadOnlyMount(int fd, int flags) {
  struct {
    uint64_t set = kReadOnly;
    uint64_t clear = 0;
    uint64_t propagation = 0;
    uint64_t user_namespace = 0;
  } attributes;
  UniqueFd mount(static_cast<int>(syscall(kOpenTree, fd, "", AT_EMPTY_PATH | kCloneOfTree | O_CLOEXEC)));
  if (!mount || syscall(kMountSetattr, mount.get(), "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0)
    return {};
  std::string path = "/proc/self/fd/" + std::to_string(mount.get());
  return UniqueFd(open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY));
}

}  // namespace lc::shim
