#include "nsexec/bounding.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <new>

#include "nsexec/clone.h"

namespace lc::nsexec {
namespace {

constexpr size_t kGuard = 65536;  // a multiple of every page size that Linux has
constexpr size_t kStack = 131072;

enum State : uint32_t { kIdle, kOrdered, kDone };

void Await(std::atomic<uint32_t>* state, uint32_t wanted) {
  for (;;) {
    uint32_t now = state->load();
    if (now == wanted) return;
    syscall(SYS_futex, state, FUTEX_WAIT_PRIVATE, now, nullptr, nullptr, 0);
  }
}

void Tell(std::atomic<uint32_t>* state, uint32_t what) {
  state->store(what);
  syscall(SYS_futex, state, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

struct Bounding::Second {
  std::atomic<uint32_t> state{kIdle};
  void (*work)(void*) = nullptr;
  void* argument = nullptr;
};

Bounding::Bounding() {
  Read(&whole_, &known_);
  own_ = whole_;
}

void Bounding::Read(uint64_t* held, uint64_t* known) {
  *held = 0;
  *known = 0;
  for (unsigned capability = 0; capability < 64; ++capability) {
    int is_held = prctl(PR_CAPBSET_READ, capability, 0, 0, 0);
    if (is_held < 0) break;  // past the last one of this kernel
    *known |= uint64_t{1} << capability;
    if (is_held == 1) *held |= uint64_t{1} << capability;
  }
}

void Bounding::Narrow(uint64_t wanted) {
  uint64_t drop = whole_ & ~wanted;
  if (tried_ || drop == 0) return;
  tried_ = true;
  if (!Begin()) return;
  for (unsigned capability = 0; drop >> capability != 0; ++capability) {
    if ((drop >> capability & 1U) != 0) (void)prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
  // Without CAP_SETPCAP all of it is still there.
  Read(&own_, &known_);
}

int Bounding::Serve(void* second) {
  auto* orders = static_cast<Second*>(second);
  for (;;) {
    Await(&orders->state, kOrdered);
    orders->work(orders->argument);
    Tell(&orders->state, kDone);
  }
}

void Bounding::Order(void (*work)(void*), void* argument) {
  second_->work = work;
  second_->argument = argument;
  Tell(&second_->state, kOrdered);
  Await(&second_->state, kDone);
  second_->state.store(kIdle);
}

// A task that shares all with this one, its thread-local memory included (errno, the allocator's): of the two
// only one runs at a time. Not a thread of libc's, which would have locks taken from then on.
bool Bounding::Begin() {
  size_t size = kGuard + kStack;
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (base == MAP_FAILED) return false;
  char* stack = static_cast<char*>(base) + kGuard;
  // Its first bytes serve for what the two tell each other.
  auto* second = new (stack) Second;
  size_t taken = (sizeof(Second) + 63) / 64 * 64;
  clone_args args{};
  args.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  args.stack = reinterpret_cast<uint64_t>(stack + taken);
  args.stack_size = kStack - taken;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  bool made = mprotect(base, kGuard, PROT_NONE) == 0 && sigprocmask(SIG_SETMASK, &all, &before) == 0;
  if (made) {
    made = CloneOnto(&args, Serve, second) > 0;  // signals are for the first one
    sigprocmask(SIG_SETMASK, &before, nullptr);
  }
  if (!made) {
    munmap(base, size);
    return false;
  }
  second_ = second;
  return true;
}

}  // namespace lc::nsexec
