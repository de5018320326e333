// Where the kernel writes the pid of the process that a joiner makes.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

#include "core/result.h"

namespace lc::nsexec {

class PidSlots;

// One place in shared memory. It is free again when this object is destroyed.
class PidSlot {
 public:
  PidSlot() = default;
  PidSlot(PidSlot&& other) noexcept;
  PidSlot& operator=(PidSlot&& other) noexcept;
  PidSlot(const PidSlot&) = delete;
  PidSlot& operator=(const PidSlot&) = delete;
  ~PidSlot();

  // 0 until the process exists.
  pid_t pid() const;
  pid_t* address() const;

 private:
  friend class PidSlots;
  struct Cell {
    pid_t pid;
    int32_t taken;
  };
  PidSlot(PidSlots* owner, Cell* cell) : owner_(owner), cell_(cell) {}
  PidSlots* owner_ = nullptr;
  Cell* cell_ = nullptr;
};

// Memory that the shim shares with its joiners. A joiner takes it out of its own address space's next copy
// before it makes the process (MADV_DONTFORK in madvise(2)), so the process, which the container can trace,
// never has it.
class PidSlots {
 public:
  PidSlots() = default;
  PidSlots(const PidSlots&) = delete;
  PidSlots& operator=(const PidSlots&) = delete;
  ~PidSlots();

  // EAGAIN when all slots are taken: 8,192 execs are being started.
  Result<PidSlot> Take();

  void* base() const { return cells_; }
  static constexpr size_t kBytes = 65536;  // a multiple of every page size; only touched pages use memory

 private:
  friend class PidSlot;
  void Free(PidSlot::Cell* cell);
  size_t taken_ = 0;
  PidSlot::Cell* cells_ = nullptr;
};

}  // namespace lc::nsexec
