#include "nsexec/pid_slots.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

namespace lc::nsexec {

PidSlot::PidSlot(PidSlot&& other) noexcept
    : owner_(other.owner_), cell_(std::exchange(other.cell_, nullptr)) {}

PidSlot& PidSlot::operator=(PidSlot&& other) noexcept {
  std::swap(owner_, other.owner_);
  std::swap(cell_, other.cell_);
  return *this;
}

PidSlot::~PidSlot() {
  if (cell_ != nullptr) owner_->Free(cell_);
}

pid_t PidSlot::pid() const {
  return cell_ == nullptr ? 0 : __atomic_load_n(&cell_->pid, __ATOMIC_ACQUIRE);
}

pid_t* PidSlot::address() const {
  return &cell_->pid;
}

PidSlots::~PidSlots() {
  if (cells_ != nullptr) munmap(cells_, kBytes);
}

// A shim at rest has no page of it.
void PidSlots::Free(PidSlot::Cell* cell) {
  *cell = {};
  if (--taken_ == 0) (void)madvise(cells_, kBytes, MADV_REMOVE);
}

Result<PidSlot> PidSlots::Take() {
  if (cells_ == nullptr) {
    void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return Error::Sys("mmap");
    cells_ = static_cast<PidSlot::Cell*>(memory);
  }
  // Few are taken at a time, so the first ones are nearly always free.
  for (size_t i = 0; i < kBytes / sizeof(PidSlot::Cell); ++i) {
    if (cells_[i].taken != 0) continue;
    cells_[i] = {0, 1};
    ++taken_;
    return PidSlot(this, &cells_[i]);
  }
  return Error::Of(EAGAIN, "clone");
}

}  // namespace lc::nsexec
