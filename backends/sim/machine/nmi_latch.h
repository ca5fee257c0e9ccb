// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_NMI_LATCH_H_
#define NVMX_BACKENDS_SIM_MACHINE_NMI_LATCH_H_

#include <cstdint>

namespace nvmx::sim {

// Who sent an NMI. The processor does not know; the observer does.
enum class NmiSource : uint8_t {
  kNone,     // the latch is empty
  kQuiesce,  // L0, to stop all CPUs
  kGuest,    // a device, or another CPU's guest: L1 has to see it
};

// What an NMI met when the CPU took it.
enum class NmiDestination : uint8_t {
  kRoot,      // L0's NMI handler
  kL1Exit,    // a VM exit from L1
  kL2Exit,    // a VM exit from L2
  kGuestIdt,  // the guest's own handler, past L0
};

// A processor holds one NMI at most. SDM Vol. 3A, 6.7.1 "Handling Multiple NMIs".
class NmiLatch {
 public:
  NmiSource source() const { return source_; }
  bool full() const { return source_ != NmiSource::kNone; }
  // False if another was there already: the two are one from now on, and the one that came first
  // gives it its name.
  bool Put(NmiSource source) {
    if (full()) return false;
    source_ = source;
    return true;
  }
  NmiSource Take() {
    const NmiSource taken = source_;
    source_ = NmiSource::kNone;
    return taken;
  }

 private:
  NmiSource source_ = NmiSource::kNone;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_NMI_LATCH_H_
