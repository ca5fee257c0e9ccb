// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_SMP_LOCK_H_
#define NVMX_CORE_SMP_LOCK_H_

#include "core/smp/shared.h"

namespace nvmx {

// A spin lock that knows its holder. Not recursive, not fair. Never taken in NMI context: the
// interrupted code may hold it. Whoever starts a quiesce must hold every lock that a stopped CPU
// could hold (see Quiesce).
class Lock {
 public:
  explicit Lock(const char* name) : holder_(name, CellKind::kLock) {}

  // Waits until the lock is free and takes it.
  void Acquire(Cpu& cpu) {
    uint64_t free = 0;
    do {
      cpu.SpinUntil({&holder_, 0, SpinCondition::Comparison::kAcquires});
      free = 0;
    } while (!holder_.value_.compare_exchange_strong(free, uint64_t{cpu.Index()} + 1,
                                                     std::memory_order_acquire));
  }
  // Gives the lock back; the caller holds it.
  void Release(Cpu& cpu) {
    cpu.BeforeSharedAccess({&holder_, SharedOperation::kRelease});
    holder_.value_.store(0, std::memory_order_release);
  }

  const SharedCell& cell() const { return holder_; }

 private:
  Shared holder_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_SMP_LOCK_H_
