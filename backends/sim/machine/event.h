// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_EVENT_H_
#define NVMX_BACKENDS_SIM_MACHINE_EVENT_H_

#include <cstdint>
#include <optional>

#include "backends/sim/machine/translation.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/exception.h"

namespace nvmx::sim {

// An event that goes through the guest's IDT.
struct Event {
  uint8_t vector;
  // Software interrupts and exceptions are checked against the gate's DPL, and a fault in their
  // delivery is not reported as one of an external event.
  InterruptionType type;
  // What is pushed; real-address mode leaves it out.
  std::optional<uint32_t> error_code = {};
  // INT n, INT3, INTO, INT1: the saved RIP is the one behind the instruction.
  uint64_t instruction_length = 0;
  // The saved RFLAGS have RF set: true for faults. SDM Vol. 3A, 7.8.3 "Masking Instruction
  // Breakpoints".
  bool resume_flag = false;

  bool IsSoftware() const {
    return type == InterruptionType::kSoftwareInterrupt ||
           type == InterruptionType::kSoftwareException;
  }
};

// What the delivery of an event, or IRET, met instead of its end. Registers are then unchanged;
// flags of paging structures, and what was pushed, stay.
struct EventFault {
  enum class Kind : uint8_t {
    kException,    // `vector`, with `error_code` if there is one, and `address` if it is #PF
    kTranslation,  // `translation`: an EPT kind, or the APIC-access page
    kTaskSwitch,   // to the TSS with the selector `task`, by a task gate or by IRET with NT set
  };
  Kind kind = Kind::kException;
  Vector vector = Vector::kGeneralProtection;
  std::optional<uint32_t> error_code = {};
  uint64_t address = 0;
  TranslationFault translation = {};
  uint16_t task = 0;

  static EventFault Exception(Vector vector, uint32_t error_code) {
    return {.vector = vector, .error_code = error_code};
  }
  // What became of an access: `not_canonical` is for an address that no paging can map.
  static EventFault FromTranslation(const TranslationFault& fault,
                                    const EventFault& not_canonical) {
    switch (fault.kind) {
      case TranslationFault::Kind::kPageFault:
        return {
            .vector = Vector::kPageFault, .error_code = fault.error_code, .address = fault.linear};
      case TranslationFault::Kind::kNotCanonical:
        return not_canonical;
      default:
        return {.kind = Kind::kTranslation, .translation = fault};
    }
  }
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_EVENT_H_
