// How many descriptors cgroup handles may keep open between reads, and who must give theirs back first.
#include "cgroup/descriptors.h"

#include <sys/resource.h>
#include <time.h>

#include <algorithm>
#include <utility>

namespace lc {
namespace {

constexpr size_t kMost = 16'384;
constexpr int64_t kIdleMs = 30'000;
constexpr int64_t kScanEveryMs = 1'000;
constexpr int64_t kPressureMs = 10'000;

int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
}

}  // namespace

void DescriptorHolder::Register() {
  std::lock_guard lock(budget_->mutex_);
  index_ = budget_->holders_.size();
  budget_->holders_.push_back(this);
}

void DescriptorHolder::Unregister() {
  std::lock_guard lock(budget_->mutex_);
  budget_->holders_.back()->index_ = index_;
  budget_->holders_[index_] = budget_->holders_.back();
  budget_->holders_.pop_back();
}

void DescriptorHolder::Touch() {
  last_used_.store(NowMs(), std::memory_order_relaxed);
}

size_t DescriptorBudget::DefaultLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kMost;
  return std::min<size_t>(limit.rlim_cur / 2, kMost);
}

bool DescriptorBudget::Admit(const DescriptorHolder* self) {
  size_t before = used_.fetch_add(1, std::memory_order_relaxed);
  int64_t barred = no_admission_before_.load(std::memory_order_relaxed);
  if (before < limit() && (barred == 0 || NowMs() >= barred)) {
    if (barred != 0) no_admission_before_.store(0, std::memory_order_relaxed);
    return true;
  }
  used_.fetch_sub(1, std::memory_order_relaxed);
  if (before < limit()) return false;
  int64_t now = NowMs();
  if (now < next_idle_scan_.load(std::memory_order_relaxed)) return false;
  std::lock_guard lock(mutex_);
  next_idle_scan_.store(now + kScanEveryMs, std::memory_order_relaxed);
  if (EvictDownTo(limit() / 2, now - kIdleMs, self) == 0) return false;
  if (used_.fetch_add(1, std::memory_order_relaxed) < limit()) return true;
  used_.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

bool DescriptorBudget::Relieve(const DescriptorHolder* self) {
  int64_t now = NowMs();
  no_admission_before_.store(now + kPressureMs, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);
  return EvictDownTo(used() / 2, INT64_MAX, self) > 0;
}

void DescriptorBudget::SetLimit(size_t limit) {
  limit_.store(limit, std::memory_order_relaxed);
  std::lock_guard lock(mutex_);
  EvictDownTo(limit, INT64_MAX, nullptr);
}

size_t DescriptorBudget::EvictDownTo(size_t target, int64_t used_before, const DescriptorHolder* self) {
  if (used() <= target) return 0;
  std::vector<std::pair<int64_t, DescriptorHolder*>> oldest;
  for (DescriptorHolder* holder : holders_) {
    int64_t last = holder->last_used_.load(std::memory_order_relaxed);
    if (holder != self && last < used_before) oldest.emplace_back(last, holder);
  }
  std::sort(oldest.begin(), oldest.end());
  size_t closed = 0;
  for (auto& [last, holder] : oldest) {
    if (used() <= target) break;
    // Whoever reads right now keeps its own; it is among the freshest anyway.
    if (!holder->mutex_.try_lock()) continue;
    size_t count = holder->CloseKept();
    holder->mutex_.unlock();
    Release(count);
    closed += count;
  }
  return closed;
}

KeptDescriptors::~KeptDescriptors() {
  Unregister();
  budget_->Release(CloseKept());
}

UniqueFd KeptDescriptors::Take(size_t place) {
  std::lock_guard lock(mutex_);
  UniqueFd fd = std::move(fds_[place]);
  if (fd) budget_->Release(1);
  return fd;
}

void KeptDescriptors::Keep(size_t place, UniqueFd fd) {
  if (!fd) return;
  std::lock_guard lock(mutex_);
  Touch();
  if (!fds_[place] && budget_->Admit(this)) fds_[place] = std::move(fd);
}

void KeptDescriptors::CloseAll() {
  std::lock_guard lock(mutex_);
  budget_->Release(CloseKept());
}

size_t KeptDescriptors::CloseKept() {
  size_t closed = 0;
  for (UniqueFd& fd : fds_) {
    if (!fd) continue;
    fd.Reset();
    ++closed;
  }
  return closed;
}

}  // namespace lc
