// SPDX-License-Identifier: Apache-2.0
//
// What the VMX instructions of L1 have in common. VMCS01 is current.
#ifndef NVMX_CORE_NESTED_VMX_INSTRUCTION_CHECKS_H_
#define NVMX_CORE_NESTED_VMX_INSTRUCTION_CHECKS_H_

#include <optional>

#include "core/nested/vcpu.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

inline VmxOutcome Undefined() { return VmxOutcome::Fault(Vector::kInvalidOpcode); }
inline VmxOutcome GeneralProtection() { return VmxOutcome::Fault(Vector::kGeneralProtection); }

// VMfail. SDM Vol. 3C, 31.2 "Conventions".
inline VmxOutcome Fail(const Vcpu& vcpu, VmInstructionError error) {
  return VmxOutcome::Fail(error, vcpu.state.current_vmcs != kNoVmcs);
}

// The conditions that raise #UD in every VMX instruction: no protected mode, virtual-8086 mode, or
// a 32-bit code segment in IA-32e mode.
bool ModeForbidsVmx(Vcpu& vcpu);

unsigned CurrentPrivilegeLevel(Vcpu& vcpu);

// What precedes every VMX instruction but VMXON: #UD outside VMX operation or in such a mode, #GP
// for CPL > 0.
std::optional<VmxOutcome> CheckInVmxOperation(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMX_INSTRUCTION_CHECKS_H_
