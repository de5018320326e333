#include "nsexec/child_memory.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>

#include "core/files.h"
#include "nsexec/clone.h"

// The linker's: where this program's own image begins and ends.
extern "C" char __executable_start;  // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)
extern "C" char _end;                // NOLINT(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp)

namespace lc::nsexec {
namespace {

constexpr size_t kPage = 65536;   // a multiple of every page size that Linux has
constexpr size_t kStack = 65536;  // the steps of a child need some 20 KB
constexpr size_t kGuard = kPage;  // below the stack

// clang says by __has_feature what gcc says by a macro.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LC_SANITIZED
#endif
#endif

// A sanitizer's child reads the sanitizer's memory, a weakened one the environment.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(LC_SANITIZED) || \
    defined(LIBCONTAINER_WEAKENED)
constexpr bool kChildNeedsNoMore = false;
#else
constexpr bool kChildNeedsNoMore = true;
#endif

struct Mapping {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  bool contains(const void* address) const {
    auto at = reinterpret_cast<uintptr_t>(address);
    return at >= begin && at < end;
  }
};

// A line of /proc/<pid>/maps where it is private, writable and no file's; else an empty one.
Mapping AnonymousOf(std::string_view line) {
  Mapping out;
  const char* end = line.data() + line.size();
  auto first = std::from_chars(line.data(), end, out.begin, 16);
  if (first.ptr == end || *first.ptr != '-') return {};
  auto last = std::from_chars(first.ptr + 1, end, out.end, 16);
  std::string_view rest(last.ptr, static_cast<size_t>(end - last.ptr));
  bool anonymous =
      rest.starts_with(" rw-p ") &&
      (rest.find('[') == std::string_view::npos || rest.ends_with("[heap]") || rest.ends_with("[stack]")) &&
      rest.find('/') == std::string_view::npos;
  return anonymous ? out : Mapping{};
}

}  // namespace

ChildMemory::~ChildMemory() {
  if (base_ != nullptr) munmap(base_, size_);
}

char* ChildMemory::block() const {
  return base_ + kGuard + kStack;
}

Status ChildMemory::Reserve(size_t size) {
  size_t whole = kGuard + kStack + (size + kPage - 1) / kPage * kPage;
  if (size_ >= whole) {
    memset(block(), 0, used_);
    used_ = size;
    return Ok();
  }
  void* base = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) return Error::Sys("mmap");
  if (mprotect(base, kGuard, PROT_NONE) != 0) {
    Error error = Error::Sys("mprotect");
    munmap(base, whole);
    return error;
  }
  if (base_ != nullptr) munmap(base_, size_);
  base_ = static_cast<char*>(base);
  size_ = whole;
  used_ = size;
  return Ok();
}

pid_t ChildMemory::Fork(int (*run)(void*), void* argument, int cgroup_fd) const {
  if (cgroup_fd < 0) return clone(run, block(), SIGCHLD, argument);
  clone_args args{};
  args.flags = CLONE_INTO_CGROUP;
  args.exit_signal = SIGCHLD;
  args.stack = reinterpret_cast<uint64_t>(base_ + kGuard);
  args.stack_size = kStack;
  args.cgroup = static_cast<uint64_t>(cgroup_fd);
  long pid = CloneOnto(&args, run, argument);
  if (pid >= 0) return static_cast<pid_t>(pid);
  errno = static_cast<int>(-pid);
  return -1;
}

void ChildMemory::KeepRest() const {
  if (!kChildNeedsNoMore) return;
  auto maps = ReadFile("/proc/self/maps", 1U << 20U);
  if (!maps) return;
  const Mapping image{reinterpret_cast<uintptr_t>(&__executable_start), reinterpret_cast<uintptr_t>(&_end)};
  std::string_view rest = *maps;
  while (!rest.empty()) {
    size_t length = rest.find('\n');
    Mapping mapping = AnonymousOf(rest.substr(0, length));
    rest.remove_prefix(length == std::string_view::npos ? rest.size() : length + 1);
    bool needed = mapping.begin == mapping.end || (mapping.begin < image.end && image.begin < mapping.end) ||
                  mapping.contains(&errno) || mapping.contains(base_ + kGuard);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): an address read from text
    if (!needed) madvise(reinterpret_cast<void*>(mapping.begin), mapping.end - mapping.begin, MADV_DONTFORK);
  }
}

}  // namespace lc::nsexec
