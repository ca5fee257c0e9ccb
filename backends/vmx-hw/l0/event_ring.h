// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_EVENT_RING_H_
#define NVMX_BACKENDS_VMX_HW_L0_EVENT_RING_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/ports/trace.h"

namespace nvmx::metal {

struct Event {
  uint64_t tsc;
  TraceKind kind;
  uint64_t first, second;
};

// The latest events of one CPU. That CPU writes, and its NMI context in the middle of a write too;
// another CPU may read meanwhile. Neither takes a lock or waits for the other: an event that is not
// read in time is overwritten, and counted as lost.
class EventRing {
 public:
  static constexpr size_t kEvents = 512;
  // What becomes of an event whose writer has been interrupted: the reader comes again later, or,
  // at the end of a run, does without it.
  enum class Unfinished : uint8_t { kComeAgain, kSkip };

  // On the CPU whose ring it is. NMI context writes fewer events than there is room for.
  void Put(const Event& event);
  // The oldest event that nobody has taken; one reader at a time.
  std::optional<Event> Take(Unfinished unfinished);
  // Whether Take() may find something.
  bool HasMore() const { return taken_.load(kRelaxed) != put_.load(kRelaxed); }
  // How many have been lost since the last call.
  uint64_t TakeLost() { return lost_.exchange(0, kRelaxed); }

 private:
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;
  struct Slot {
    // That of the event, counted from 1; 0 while it is written.
    std::atomic<uint64_t> number{0};
    std::atomic<uint64_t> tsc{0}, kind{0}, first{0}, second{0};
  };

  void Lose(uint64_t events) {
    taken_.fetch_add(events, kRelaxed);
    lost_.fetch_add(events, kRelaxed);
  }

  std::array<Slot, kEvents> slots_{};
  std::atomic<uint64_t> put_{0}, taken_{0}, lost_{0};
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_EVENT_RING_H_
