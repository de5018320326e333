// Two tasks of this process whose bounding sets of capabilities differ.
#pragma once

#include <cstdint>

namespace lc::nsexec {

// To drop a capability from the bounding set takes a system call, and new credentials, for each: some forty
// in each exec's child. A child inherits the set of the task that makes it. So this task drops once what
// execs do not want, and a second one keeps the set as it was, for what wants more: the runtime above all.
class Bounding {
 public:
  // By whatever the calling task holds now; it is the one that is meant by "this task".
  Bounding();
  Bounding(const Bounding&) = delete;
  Bounding& operator=(const Bounding&) = delete;
  // The second task ends with the process, and what it uses stays until then.
  ~Bounding() = default;

  // This task holds no more than `wanted` from now on. Once: later calls do nothing; and nothing where there
  // cannot be a second task (clone3 is of Linux 5.3).
  void Narrow(uint64_t wanted);

  // What a child holds that is made within Run(wanted, ...).
  uint64_t HeldFor(uint64_t wanted) const { return NeedsSecond(wanted) ? whole_ : own_; }

  // Every capability that the kernel knows.
  uint64_t known() const { return known_; }

  // Calls `work` from the task whose set holds all of `wanted` that there is, and returns when that has.
  // This task waits: nothing runs beside it.
  template <typename Work>
  void Run(uint64_t wanted, Work work) {
    if (!NeedsSecond(wanted)) return work();
    Order([](void* argument) { (*static_cast<Work*>(argument))(); }, &work);
  }

 private:
  struct Second;
  static int Serve(void* second);

  bool NeedsSecond(uint64_t wanted) const { return (wanted & whole_ & ~own_) != 0; }
  void Order(void (*work)(void*), void* argument);
  bool Begin();
  void Read(uint64_t* held, uint64_t* known);

  uint64_t known_ = 0;
  uint64_t whole_ = 0;
  uint64_t own_ = 0;
  bool tried_ = false;
  Second* second_ = nullptr;
};

}  // namespace lc::nsexec
