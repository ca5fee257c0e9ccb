// SPDX-License-Identifier: Apache-2.0
#include "lhv/vmcs_sequences.h"

#include <array>

#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"
#include "lhv/layout.h"

namespace nvmx::lhv {
namespace {

struct HostStateField {
  VmcsField field;
  uint64_t value;
  bool in_window = false;
};

// RIP is missing: kSetHostRip writes it. SDM Vol. 3C, 25.5 "Host-State Area". The fields that a CPU
// may lack are the last.
constexpr HostStateField kHostState[] = {
    {VmcsField::kHostCr0, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg},
    {VmcsField::kHostCr3, kPageTableOffset, true},
    {VmcsField::kHostCr4, Cr4::kPae | Cr4::kVmxe},
    {VmcsField::kHostRsp, kL1StackTop, true},
    {VmcsField::kHostEsSelector, kDataSelector},
    {VmcsField::kHostCsSelector, kCodeSelector},
    {VmcsField::kHostSsSelector, kDataSelector},
    {VmcsField::kHostDsSelector, kDataSelector},
    {VmcsField::kHostFsSelector, kDataSelector},
    {VmcsField::kHostGsSelector, kDataSelector},
    {VmcsField::kHostTrSelector, kTssSelector},
    {VmcsField::kHostFsBase, 0},
    {VmcsField::kHostGsBase, 0},
    {VmcsField::kHostTrBase, kTssOffset, true},
    {VmcsField::kHostGdtrBase, kGdtOffset, true},
    {VmcsField::kHostIdtrBase, kL1IdtOffset, true},
    {VmcsField::kHostIa32SysenterCs, 0},
    {VmcsField::kHostIa32SysenterEsp, 0},
    {VmcsField::kHostIa32SysenterEip, 0},
    {VmcsField::kHostIa32Pat, kPatReset},
    {VmcsField::kHostIa32Efer, Efer::kLme | Efer::kLma},
};

// Where the capability of a control field is. SDM Vol. 3D, A.2 "Reserved Controls and Default
// Settings" to A.5 "VM-Entry Controls".
struct ControlCapability {
  VmcsField field;
  Msr msr;
  Msr true_msr;        // the same as msr if there is none
  bool only_allowed1;  // all 64 bits of the MSR are allowed-1 settings
};
constexpr ControlCapability kControlCapabilities[] = {
    {VmcsField::kPinBasedControls, Msr::IA32_VMX_PINBASED_CTLS, Msr::IA32_VMX_TRUE_PINBASED_CTLS,
     false},
    {VmcsField::kPrimaryProcessorBasedControls, Msr::IA32_VMX_PROCBASED_CTLS,
     Msr::IA32_VMX_TRUE_PROCBASED_CTLS, false},
    {VmcsField::kSecondaryProcessorBasedControls, Msr::IA32_VMX_PROCBASED_CTLS2,
     Msr::IA32_VMX_PROCBASED_CTLS2, false},
    {VmcsField::kTertiaryProcessorBasedControls, Msr::IA32_VMX_PROCBASED_CTLS3,
     Msr::IA32_VMX_PROCBASED_CTLS3, true},
    {VmcsField::kVmExitControls, Msr::IA32_VMX_EXIT_CTLS, Msr::IA32_VMX_TRUE_EXIT_CTLS, false},
    {VmcsField::kSecondaryVmExitControls, Msr::IA32_VMX_EXIT_CTLS2, Msr::IA32_VMX_EXIT_CTLS2, true},
    {VmcsField::kVmEntryControls, Msr::IA32_VMX_ENTRY_CTLS, Msr::IA32_VMX_TRUE_ENTRY_CTLS, false},
};

const ControlCapability& CapabilityOf(uint32_t encoding) {
  for (const ControlCapability& capability : kControlCapabilities) {
    if (Encoding(capability.field) == encoding) return capability;
  }
  return kControlCapabilities[0];
}

constexpr size_t kControlInstructionsWithTrueMsr = 3;

}  // namespace

bool HasControlCapability(uint32_t encoding) {
  return Encoding(CapabilityOf(encoding).field) == encoding;
}

size_t ControlInstructionCount(const Operation& operation) {
  const ControlCapability& capability = CapabilityOf(operation.selector);
  return capability.msr == capability.true_msr ? 2 : kControlInstructionsWithTrueMsr;
}

Instruction ControlInstruction(const Operation& operation, size_t number, uint64_t scratch) {
  const ControlCapability& capability = CapabilityOf(operation.selector);
  const size_t remaining = ControlInstructionCount(operation) - number;
  if (remaining == kControlInstructionsWithTrueMsr) {
    return {.kind = InstructionKind::kRdmsr, .first = Index(Msr::IA32_VMX_BASIC)};
  }
  if (remaining == 2) {
    // With no TRUE MSR to choose, the scratch register still holds what another operation left.
    const bool use_true =
        capability.msr != capability.true_msr && (scratch & VmxBasic::kTrueControls) != 0;
    return {.kind = InstructionKind::kRdmsr,
            .first = Index(use_true ? capability.true_msr : capability.msr)};
  }
  const uint64_t adjusted = capability.only_allowed1
                                ? operation.value & scratch
                                : (operation.value | (scratch & 0xFFFF'FFFF)) & (scratch >> 32);
  return {.kind = InstructionKind::kVmwrite, .first = operation.selector, .second = adjusted};
}

size_t HostStateInstructionCount() { return std::size(kHostState); }

Instruction HostStateInstruction(uint32_t cpu, size_t number) {
  const HostStateField& row = kHostState[number];
  return {.kind = InstructionKind::kVmwrite,
          .first = Encoding(row.field),
          .second = row.in_window ? WindowOf(cpu) + row.value : row.value};
}

}  // namespace nvmx::lhv
