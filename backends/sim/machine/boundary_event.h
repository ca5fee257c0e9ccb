// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_BOUNDARY_EVENT_H_
#define NVMX_BACKENDS_SIM_MACHINE_BOUNDARY_EVENT_H_

#include <cstdint>
#include <optional>

namespace nvmx::sim {

// What other agents want of a processor at an instruction boundary.
struct Signals {
  bool init = false;
  std::optional<uint8_t> sipi = std::nullopt;  // its vector
  bool nmi = false;
  std::optional<uint8_t> interrupt =
      std::nullopt;  // the highest vector that is requested in the local APIC
};

// What can happen at an instruction boundary instead of the next instruction, the most urgent
// first. SDM Vol. 3A, 7.9 "Priority Among Concurrent Events"; Vol. 3C, 26.2 "Other Causes of VM
// Exits".
enum class BoundaryEvent : uint8_t {
  kNone,
  kTprBelowThreshold,
  kInit,
  kSipi,
  kMonitorTrap,
  kDebugTrap,
  kPreemptionTimer,
  kNmiWindow,
  kNmi,
  kInterruptWindow,
  kInterrupt,
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_BOUNDARY_EVENT_H_
