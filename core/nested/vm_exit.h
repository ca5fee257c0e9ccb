// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VM_EXIT_H_
#define NVMX_CORE_NESTED_VM_EXIT_H_

#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/exit_reason.h"

namespace nvmx {

// A VM exit as hardware left it, before anybody looked at it. If it was an NMI, that NMI has been
// consumed, NMIs are blocked, and other CPUs may be waiting for its acknowledgement; so nothing
// that can wait takes a RawExit. The only thing to do with one is to hand it to SettleExit().
class RawExit {
 public:
  // Made by the backend when hardware returns from the guest. `from` is the VMCS that was entered,
  // which is current.
  static RawExit FromHardware(VmcsRole from) { return RawExit(from); }

  RawExit(RawExit&&) = default;
  RawExit(const RawExit&) = delete;
  RawExit& operator=(const RawExit&) = delete;

  // Which VMCS the exit came from.
  VmcsRole from() const { return from_; }

 private:
  explicit RawExit(VmcsRole from) : from_(from) {}
  VmcsRole from_;
};

// A VM exit that L0 owes nothing for any more: translation, MSR lists, prints and locks may follow.
class ReflectableExit {
 public:
  // The 32 bits of the exit-reason field.
  uint32_t reason() const { return reason_; }
  ExitReason basic_reason() const { return static_cast<ExitReason>(reason_ & 0xFFFF); }

 private:
  friend std::optional<ReflectableExit> SettleExit(Vcpu& vcpu, RawExit raw);
  // Defined only where orders that were wrong are kept to be replayed (backends/variants); the core
  // never defines or names it elsewhere.
  friend class HistoricalExitOrder;
  explicit ReflectableExit(uint32_t reason) : reason_(reason) {}
  uint32_t reason_;
};

// Reads the raw exit reason and, if the exit was an NMI, settles the NMI (acknowledges a quiesce
// and waits for its end, or notes a guest's NMI) and ends blocking by NMI. Nothing then remains of
// that exit, and nothing is returned. Any other exit is returned as one that may be worked on.
std::optional<ReflectableExit> SettleExit(Vcpu& vcpu, RawExit raw);

// Whether the exit that the current VMCS describes was caused by an NMI.
bool IsNmiExit(Vmcs& vmcs);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VM_EXIT_H_
