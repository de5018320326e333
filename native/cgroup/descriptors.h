// How many descriptors cgroup handles may keep open between reads, and who must give theirs back first.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "core/unique_fd.h"

namespace lc {

class DescriptorBudget;

// Something that keeps descriptors. Its lock is taken with try_lock only, so a holder that is being read is
// passed over and never waited for.
class DescriptorHolder {
 public:
  DescriptorHolder(const DescriptorHolder&) = delete;
  DescriptorHolder& operator=(const DescriptorHolder&) = delete;

 protected:
  explicit DescriptorHolder(DescriptorBudget* budget) : budget_(budget) {}
  ~DescriptorHolder() = default;

  // From Register to Unregister another thread may call CloseKept: the last act of the one who builds the
  // object, the first of its destructor.
  void Register();
  void Unregister();

  // Closes all that is kept, and answers how many that were. Called with `mutex_` held.
  virtual size_t CloseKept() = 0;
  void Touch();

  std::mutex mutex_;
  DescriptorBudget* const budget_;

 private:
  friend class DescriptorBudget;
  size_t index_ = 0;                   // in the budget's list
  std::atomic<int64_t> last_used_{0};  // milliseconds of CLOCK_MONOTONIC_COARSE
};

// One for each user of the library (a Node environment); outlives its holders. Thread-safe.
class DescriptorBudget {
 public:
  // Half of the soft limit on open files and at most 16,384: each kept kernel file (a directory does not)
  // also costs the kernel a page for its text.
  static size_t DefaultLimit();
  explicit DescriptorBudget(size_t limit = DefaultLimit()) : limit_(limit) {}

  // True: the descriptor may be kept, and counts until Release. When the budget is used up, holders that
  // nobody has read for half a minute give theirs back; fresher ones never, since a walk over more
  // containers than fit would then close and open everything on every round. `self` holds its own lock.
  bool Admit(const DescriptorHolder* self);
  void Release(size_t count) { used_.fetch_sub(count, std::memory_order_relaxed); }

  // EMFILE or ENFILE was met: gives back at least half of what is kept, and keeps nothing new for ten
  // seconds. False when there was nothing to give back.
  bool Relieve(const DescriptorHolder* self);

  // Gives back what is above the new limit.
  void SetLimit(size_t limit);
  size_t limit() const { return limit_.load(std::memory_order_relaxed); }
  size_t used() const { return used_.load(std::memory_order_relaxed); }

 private:
  friend class DescriptorHolder;
  // With mutex_ held.
  size_t EvictDownTo(size_t target, int64_t used_before, const DescriptorHolder* self);

  std::mutex mutex_;
  std::vector<DescriptorHolder*> holders_;
  std::atomic<size_t> limit_;
  std::atomic<size_t> used_{0};
  std::atomic<int64_t> no_admission_before_{0};
  std::atomic<int64_t> next_idle_scan_{0};
};

// A few descriptors that are kept between uses of any length: whoever uses one takes it out meanwhile, so
// that nobody waits for it.
class KeptDescriptors final : public DescriptorHolder {
 public:
  static constexpr size_t kPlaces = 4;

  explicit KeptDescriptors(DescriptorBudget* budget) : DescriptorHolder(budget) { Register(); }
  ~KeptDescriptors();

  // The caller's from now on; none where none is kept.
  UniqueFd Take(size_t place);
  // Closes it where the place is taken again already or the budget has no room.
  void Keep(size_t place, UniqueFd fd);
  void CloseAll();

 private:
  size_t CloseKept() override;

  std::array<UniqueFd, kPlaces> fds_;
};

}  // namespace lc
