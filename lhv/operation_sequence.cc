// SPDX-License-Identifier: Apache-2.0
#include "lhv/operation_sequence.h"

#include <array>
#include <bit>

#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"
#include "lhv/exit_fields.h"
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

// The entry of kExitFields that bit number `number` among those set in `selector` asks for.
VmcsField SelectedExitField(uint32_t selector, size_t number) {
  for (; number > 0; --number) selector &= selector - 1;
  return kExitFields[std::countr_zero(selector)].field;
}

Instruction AdvanceInstruction(size_t number, uint64_t scratch) {
  if (number == 0) {
    return {.kind = InstructionKind::kVmread, .first = Encoding(VmcsField::kGuestRip)};
  }
  if (number == 1) {
    return {.kind = InstructionKind::kVmread,
            .first = Encoding(VmcsField::kVmExitInstructionLength)};
  }
  return {.kind = InstructionKind::kVmwrite,
          .first = Encoding(VmcsField::kGuestRip),
          .second = scratch};
}

Instruction SendInstruction(const Operation& operation, uint64_t delivery_mode) {
  uint64_t command =
      delivery_mode | InterruptCommand::kAssert | (operation.value & InterruptCommand::kVector);
  if (operation.selector == kToSelf) {
    command |= InterruptCommand::kSelf;
  } else if (operation.selector == kToAllOthers) {
    command |= InterruptCommand::kAllExcludingSelf;
  } else {
    command |= uint64_t{operation.selector} << InterruptCommand::kDestinationShift;
  }
  return {.kind = InstructionKind::kSendIpi, .first = command};
}

}  // namespace

size_t InstructionCount(const Operation& operation) {
  switch (operation.kind) {
    case OperationKind::kInitializeVmxRegion:
      return 2;
    case OperationKind::kVmwriteControl:
      return ControlInstructionCount(operation);
    case OperationKind::kVmwriteHostState:
      return std::size(kHostState);
    case OperationKind::kObserveExit:
      return static_cast<size_t>(std::popcount(operation.selector & kEveryExitField));
    case OperationKind::kAdvanceGuestRip:
      return 3;
    default:
      return 1;
  }
}

Instruction InstructionAt(const Operation& operation, size_t number,
                          const OperationContext& context) {
  using enum InstructionKind;
  const uint64_t value = ValueOn(context.cpu, operation);
  switch (operation.kind) {
    case OperationKind::kInitializeVmxRegion:
      if (number == 0) return {.kind = kRdmsr, .first = Index(Msr::IA32_VMX_BASIC)};
      return {.kind = kWriteMemory,
              .width = sizeof(uint32_t),
              .first = value,
              .second = context.scratch & VmxBasic::kRevisionIdentifier};
    case OperationKind::kVmxon:
      return {.kind = kVmxon, .first = value};
    case OperationKind::kVmxoff:
      return {.kind = kVmxoff};
    case OperationKind::kVmclear:
      return {.kind = kVmclear, .first = value};
    case OperationKind::kVmptrld:
      return {.kind = kVmptrld, .first = value};
    case OperationKind::kVmptrst:
      return {.kind = kVmptrst, .first = value};
    case OperationKind::kVmread:
      return {.kind = kVmread, .first = operation.selector};
    case OperationKind::kVmwrite:
      return {.kind = kVmwrite, .first = operation.selector, .second = value};
    case OperationKind::kVmwriteControl:
      return ControlInstruction(operation, number, context.scratch);
    case OperationKind::kVmwriteHostState: {
      const HostStateField& row = kHostState[number];
      return {.kind = kVmwrite,
              .first = Encoding(row.field),
              .second = row.in_window ? WindowOf(context.cpu) + row.value : row.value};
    }
    case OperationKind::kSetHostRip:
      return {.kind = kVmwrite,
              .first = Encoding(VmcsField::kHostRip),
              .second = OperationAddress(kL1CodeBase, operation.value)};
    case OperationKind::kVmlaunch:
      return {.kind = kVmlaunch};
    case OperationKind::kVmresume:
      return {.kind = kVmresume};
    case OperationKind::kObserveExit:
      return {.kind = kVmread, .first = Encoding(SelectedExitField(operation.selector, number))};
    case OperationKind::kAdvanceGuestRip:
      return AdvanceInstruction(number, context.scratch);
    case OperationKind::kVmcall:
      return {.kind = kVmcall, .first = operation.value};
    case OperationKind::kCpuid:
      return {.kind = kCpuid, .first = operation.selector, .second = operation.value};
    case OperationKind::kRdmsr:
      return {.kind = kRdmsr, .first = operation.selector};
    case OperationKind::kWrmsr:
      return {.kind = kWrmsr, .first = operation.selector, .second = value};
    case OperationKind::kReadMemory:
      return {
          .kind = kReadMemory, .width = static_cast<uint8_t>(operation.selector), .first = value};
    case OperationKind::kWriteMemory:
      return {.kind = kWriteMemory,
              .width = static_cast<uint8_t>(operation.selector),
              .first = value,
              .second = operation.extra};
    case OperationKind::kSendNmi:
      return SendInstruction(operation, InterruptCommand::kNmi);
    case OperationKind::kSendInterrupt:
      return SendInstruction(operation, InterruptCommand::kFixed);
    case OperationKind::kSendInit:
      return SendInstruction(operation, InterruptCommand::kInit);
    case OperationKind::kSendSipi:
      return SendInstruction(operation, InterruptCommand::kStartUp);
    case OperationKind::kIret:
      return {.kind = kIret, .first = context.next_rip};
    case OperationKind::kHlt:
      return {.kind = kHlt};
    case OperationKind::kSti:
      return {.kind = kSti};
    case OperationKind::kCli:
      return {.kind = kCli};
    case OperationKind::kNop:
      return {.kind = kNop};
    default:
      return {};
  }
}

uint64_t ScratchAfter(const Operation& operation, size_t number, uint64_t scratch, uint64_t value) {
  switch (operation.kind) {
    case OperationKind::kInitializeVmxRegion:
    case OperationKind::kVmwriteControl:
      return value;
    case OperationKind::kAdvanceGuestRip:
      if (number == 0) return value;
      return number == 1 ? scratch + value : 0;
    default:
      // Also what clears a mark that an earlier operation left.
      return 0;
  }
}

bool IsVmxInstruction(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kVmxon:
    case InstructionKind::kVmxoff:
    case InstructionKind::kVmclear:
    case InstructionKind::kVmptrld:
    case InstructionKind::kVmptrst:
    case InstructionKind::kVmread:
    case InstructionKind::kVmwrite:
    case InstructionKind::kVmlaunch:
    case InstructionKind::kVmresume:
    case InstructionKind::kVmcall:
      return true;
    default:
      return false;
  }
}

bool InstructionsAreIndependent(OperationKind kind) {
  return kind == OperationKind::kVmwriteHostState || kind == OperationKind::kObserveExit;
}

uint64_t ValueOn(uint32_t cpu, const Operation& operation) {
  return (operation.flags & kValueIsWindowOffset) != 0 ? WindowOf(cpu) + operation.value
                                                       : operation.value;
}

}  // namespace nvmx::lhv
