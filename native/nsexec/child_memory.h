// What of this process's memory its children get. A fork copies all that is writable, page table by page
// table, and then every page that either side writes to, once more after each fork: for a program that forks
// a thousand times a second that is most of what a fork costs. A child of ours runs on a stack of its own,
// from a block of memory that holds all it needs, so that the rest can be left out.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

#include "core/result.h"

namespace lc::nsexec {

// Lays things out one after the other; without a base it only counts.
class Block {
 public:
  Block() = default;
  explicit Block(char* base) : base_(base) {}

  // A copy; an array without a base is null.
  template <typename T>
  T* Put(std::span<const T> values) {
    used_ = (used_ + alignof(T) - 1) / alignof(T) * alignof(T);
    char* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += values.size_bytes();
    if (at != nullptr && !values.empty()) memcpy(at, values.data(), values.size_bytes());
    return reinterpret_cast<T*>(at);
  }

  // Ended by a NUL.
  char* Put(std::string_view text) {
    char* at = Put(std::span<const char>(text.data(), text.size()));
    if (at != nullptr) at[text.size()] = '\0';
    ++used_;
    return at;
  }

  size_t used() const { return used_; }

 private:
  char* base_ = nullptr;
  size_t used_ = 0;
};

class ChildMemory {
 public:
  ChildMemory() = default;
  ChildMemory(const ChildMemory&) = delete;
  ChildMemory& operator=(const ChildMemory&) = delete;
  ~ChildMemory();

  // At least that many bytes beside the stack; what was in them is gone: a child may be read by others.
  Status Reserve(size_t size);
  char* block() const;
  bool reserved() const { return base_ != nullptr; }

  // As fork(2), but the child begins in `run`, on the stack, and never comes back from it. With `cgroup_fd`
  // it begins in that v2 cgroup, which spares it the migration: ENOSYS before Linux 5.3 or on another
  // architecture than x86-64 and arm64, EINVAL or E2BIG before 5.7. -1 and errno as the kernel says.
  pid_t Fork(int (*run)(void*), void* argument, int cgroup_fd) const;

  // Keeps the heap and the stack of this process, as they are now, from its children: they fault where they
  // touch it. Only for a process of which one task runs at a time, whose forks are all made by Fork() or
  // share its memory as posix_spawn(3) does.
  void KeepRest() const;

 private:
  char* base_ = nullptr;
  size_t size_ = 0;
  size_t used_ = 0;  // of the block, by whoever reserved it last
};

}  // namespace lc::nsexec
