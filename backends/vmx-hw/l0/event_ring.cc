// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/event_ring.h"

namespace nvmx::metal {

void EventRing::Put(const Event& event) {
  // NMI context that comes after this takes the next slot.
  const uint64_t before = put_.fetch_add(1, std::memory_order_acq_rel);
  Slot& slot = slots_[before % kEvents];
  slot.number.store(0, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);
  slot.tsc.store(event.tsc, kRelaxed);
  slot.kind.store(static_cast<uint64_t>(event.kind), kRelaxed);
  slot.first.store(event.first, kRelaxed);
  slot.second.store(event.second, kRelaxed);
  slot.number.store(before + 1, std::memory_order_release);
}

std::optional<Event> EventRing::Take(Unfinished unfinished) {
  for (;;) {
    const uint64_t put = put_.load(std::memory_order_acquire);
    const uint64_t taken = taken_.load(kRelaxed);
    if (taken == put) return std::nullopt;
    if (put - taken > kEvents) {
      Lose(put - taken - kEvents);
      continue;
    }
    const Slot& slot = slots_[taken % kEvents];
    if (slot.number.load(std::memory_order_acquire) == taken + 1) {
      const Event event{slot.tsc.load(kRelaxed), static_cast<TraceKind>(slot.kind.load(kRelaxed)),
                        slot.first.load(kRelaxed), slot.second.load(kRelaxed)};
      std::atomic_thread_fence(std::memory_order_acquire);
      // Unless it has been overwritten meanwhile.
      if (slot.number.load(kRelaxed) == taken + 1) {
        taken_.fetch_add(1, kRelaxed);
        return event;
      }
      continue;
    }
    if (put_.load(std::memory_order_acquire) != put) continue;
    if (unfinished == Unfinished::kComeAgain) return std::nullopt;
    Lose(1);
  }
}

}  // namespace nvmx::metal
