// SPDX-License-Identifier: Apache-2.0
//
// VM-instruction error numbers.
// Source: SDM Vol. 3C, 31.4 "VM Instruction Error Numbers", Table 31-1. Numbers 14, 21 and 27 are
// not in use.
#ifndef NVMX_CORE_VMX_VM_INSTRUCTION_ERROR_H_
#define NVMX_CORE_VMX_VM_INSTRUCTION_ERROR_H_

#include <cstdint>

namespace nvmx {

enum class VmInstructionError : uint8_t {
  kVmcallInVmxRootOperation = 1,
  kVmclearWithInvalidPhysicalAddress = 2,
  kVmclearWithVmxonPointer = 3,
  kVmlaunchWithNonClearVmcs = 4,
  kVmresumeWithNonLaunchedVmcs = 5,
  kVmresumeAfterVmxoff = 6,
  kVmEntryWithInvalidControlFields = 7,
  kVmEntryWithInvalidHostStateFields = 8,
  kVmptrldWithInvalidPhysicalAddress = 9,
  kVmptrldWithVmxonPointer = 10,
  kVmptrldWithIncorrectVmcsRevisionIdentifier = 11,
  kUnsupportedVmcsComponent = 12,
  kVmwriteToReadOnlyVmcsComponent = 13,
  kVmxonInVmxRootOperation = 15,
  kVmEntryWithInvalidExecutiveVmcsPointer = 16,
  kVmEntryWithNonLaunchedExecutiveVmcs = 17,
  kVmEntryWithExecutiveVmcsPointerNotVmxonPointer = 18,
  kVmcallWithNonClearVmcs = 19,
  kVmcallWithInvalidVmExitControlFields = 20,
  kVmcallWithIncorrectMsegRevisionIdentifier = 22,
  kVmxoffUnderDualMonitorTreatment = 23,
  kVmcallWithInvalidSmmMonitorFeatures = 24,
  kVmEntryWithInvalidControlFieldsInExecutiveVmcs = 25,
  kVmEntryWithEventsBlockedByMovSs = 26,
  kInvalidOperandToInveptInvvpid = 28,
};

// A short description; "reserved" for a number that is not in use.
constexpr const char* Name(VmInstructionError error) {
  switch (error) {
    case VmInstructionError::kVmcallInVmxRootOperation:
      return "VMCALL executed in VMX root operation";
    case VmInstructionError::kVmclearWithInvalidPhysicalAddress:
      return "VMCLEAR with invalid physical address";
    case VmInstructionError::kVmclearWithVmxonPointer:
      return "VMCLEAR with VMXON pointer";
    case VmInstructionError::kVmlaunchWithNonClearVmcs:
      return "VMLAUNCH with non-clear VMCS";
    case VmInstructionError::kVmresumeWithNonLaunchedVmcs:
      return "VMRESUME with non-launched VMCS";
    case VmInstructionError::kVmresumeAfterVmxoff:
      return "VMRESUME after VMXOFF";
    case VmInstructionError::kVmEntryWithInvalidControlFields:
      return "VM entry with invalid control field(s)";
    case VmInstructionError::kVmEntryWithInvalidHostStateFields:
      return "VM entry with invalid host-state field(s)";
    case VmInstructionError::kVmptrldWithInvalidPhysicalAddress:
      return "VMPTRLD with invalid physical address";
    case VmInstructionError::kVmptrldWithVmxonPointer:
      return "VMPTRLD with VMXON pointer";
    case VmInstructionError::kVmptrldWithIncorrectVmcsRevisionIdentifier:
      return "VMPTRLD with incorrect VMCS revision identifier";
    case VmInstructionError::kUnsupportedVmcsComponent:
      return "VMREAD/VMWRITE from/to unsupported VMCS component";
    case VmInstructionError::kVmwriteToReadOnlyVmcsComponent:
      return "VMWRITE to read-only VMCS component";
    case VmInstructionError::kVmxonInVmxRootOperation:
      return "VMXON executed in VMX root operation";
    case VmInstructionError::kVmEntryWithInvalidExecutiveVmcsPointer:
      return "VM entry with invalid executive-VMCS pointer";
    case VmInstructionError::kVmEntryWithNonLaunchedExecutiveVmcs:
      return "VM entry with non-launched executive VMCS";
    case VmInstructionError::kVmEntryWithExecutiveVmcsPointerNotVmxonPointer:
      return "VM entry with executive-VMCS pointer not VMXON pointer";
    case VmInstructionError::kVmcallWithNonClearVmcs:
      return "VMCALL with non-clear VMCS";
    case VmInstructionError::kVmcallWithInvalidVmExitControlFields:
      return "VMCALL with invalid VM-exit control fields";
    case VmInstructionError::kVmcallWithIncorrectMsegRevisionIdentifier:
      return "VMCALL with incorrect MSEG revision identifier";
    case VmInstructionError::kVmxoffUnderDualMonitorTreatment:
      return "VMXOFF under dual-monitor treatment of SMIs and SMM";
    case VmInstructionError::kVmcallWithInvalidSmmMonitorFeatures:
      return "VMCALL with invalid SMM-monitor features";
    case VmInstructionError::kVmEntryWithInvalidControlFieldsInExecutiveVmcs:
      return "VM entry with invalid VM-execution control fields in executive VMCS";
    case VmInstructionError::kVmEntryWithEventsBlockedByMovSs:
      return "VM entry with events blocked by MOV SS";
    case VmInstructionError::kInvalidOperandToInveptInvvpid:
      return "Invalid operand to INVEPT/INVVPID";
  }
  return "reserved";
}

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_VM_INSTRUCTION_ERROR_H_
