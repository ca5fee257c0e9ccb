// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_NESTED_EXIT_H_
#define NVMX_CORE_NESTED_NESTED_EXIT_H_

#include <cstdint>

#include "core/nested/vm_exit.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmx_abort.h"

namespace nvmx {

// VM exits from L2 to L1. SDM Vol. 3C, chapter 28 "VM Exits".

// Makes an exit out of VMCS02 an exit of VMCS12: saves L2's state and the exit information into
// VMCS12, then does what LeaveL2() does. VMCS02 is current on entry, VMCS01 at the end.
void ReflectExit(Vcpu& vcpu, const ReflectableExit& exit);

// An NMI exit that L1 asked for, made from a pending guest NMI while VMCS02 is current.
void ReflectNmi(Vcpu& vcpu);

// An INIT that L1's root operation held back until VMCS02 was current.
void ReflectInit(Vcpu& vcpu);

// An exit that is L1's although VMCS02 describes none, or another. What is not given is 0 for L1.
struct MadeExit {
  ExitReason reason;
  uint64_t qualification = 0;
  // The VM-exit interruption information, and its error code.
  InterruptionInformation event = {};
  uint32_t error_code = 0;
  // The IDT-vectoring information, and its error code.
  InterruptionInformation vectored = {};
  uint32_t vectored_error_code = 0;
  uint32_t instruction_length = 0;
};
void ReflectMadeExit(Vcpu& vcpu, const MadeExit& exit);

// The two halves of ReflectExit(): VMCS02 to VMCS12; then the MSR-store list, L1's host state, the
// MSR-load list.
void SaveL2Exit(Vcpu& vcpu);
void LeaveL2(Vcpu& vcpu, bool nmi_blocked_in_l1);

// A VM-entry failure after the checks on controls and host state: `reason` 33 or 34 with bit 31
// set. L1's host state and its exit-load list are loaded, nothing is stored, VMCS12's guest state
// is as L1 wrote it, and blocking by NMI is as it was before the entry. SDM Vol. 3C, 27.8 "VM-Entry
// Failures During or After Loading Guest State".
void ReflectEntryFailure(Vcpu& vcpu, uint32_t reason, uint64_t qualification);

// Puts L1's CPU into VMX-abort shutdown, with the indicator in the VMCS12 region. SDM Vol. 3C, 28.7
// "VMX Aborts".
void EnterVmxAbort(Vcpu& vcpu, VmxAbort indicator);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_NESTED_EXIT_H_
