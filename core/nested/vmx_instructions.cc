// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmx_instructions.h"

#include "core/nested/entry_conditions.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_instructions.h"
#include "core/nested/nested_entry.h"
#include "core/nested/nested_paging.h"
#include "core/nested/operand.h"
#include "core/nested/vmcs01.h"
#include "core/nested/vmcs12.h"
#include "core/nested/vmcs12_region.h"
#include "core/nested/vmx_instruction_checks.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/rflags.h"

namespace nvmx {
namespace {

// Alignment and width of the address of a VMXON or VMCS region. A region that L1's memory does not
// back is refused too: the SDM leaves it undefined, and L0 must not follow such a pointer.
bool IsRegionAddress(const Vcpu& vcpu, uint64_t address) {
  return IsAligned(address) &&
         IsWithinWidth(address, 1,
                       static_cast<unsigned>(vcpu.state.offered.physical_address_width));
}

// The first four bytes of a region; all ones, which no processor has as its revision identifier,
// where no memory answers.
uint32_t ReadRevision(Vcpu& vcpu, uint64_t address) {
  uint32_t revision = ~uint32_t{0};
  vcpu.ports.memory.ReadValue(GuestPhysicalAddress{address}, revision);
  return revision;
}

// A shadow VMCS is one only for a processor that has VMCS shadowing.
bool IsRevisionOfVmcs(const Vcpu& vcpu, uint32_t revision) {
  if (vcpu.state.offered.SupportsSecondary(Secondary::kVmcsShadowing)) {
    revision &= ~kShadowVmcsIndicator;
  }
  return revision == kVmcs12Revision;
}

// "VMXON—Enter VMX Operation". #UD without CR4.VMXE; #GP for CPL, CR0 and CR4 fixed bits.
VmxOutcome Vmxon(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  const uint64_t cr4 = ReadL1Cr4(vcpu);
  if ((cr4 & Cr4::kVmxe) == 0 || ModeForbidsVmx(vcpu)) return Undefined();
  if (state.operation != VmxOperation::kOff) {
    if (CurrentPrivilegeLevel(vcpu) != 0) return GeneralProtection();
    return Fail(vcpu, VmInstructionError::kVmxonInVmxRootOperation);
  }
  if (CurrentPrivilegeLevel(vcpu) != 0 ||
      !HonoursFixedBits(ReadL1Cr0(vcpu), state.offered.cr0_fixed0, state.offered.cr0_fixed1) ||
      !HonoursFixedBits(cr4, state.offered.cr4_fixed0, state.offered.cr4_fixed1)) {
    return GeneralProtection();
  }
  const OperandResult region = ReadMemoryOperand(vcpu);
  if (region.fault) return *region.fault;
  if (!IsRegionAddress(vcpu, region.value) || ReadRevision(vcpu, region.value) != kVmcs12Revision) {
    return VmxOutcome::FailInvalid();
  }
  state.vmxon_region = region.value;
  state.current_vmcs = kNoVmcs;
  state.operation = VmxOperation::kRoot;
  return VmxOutcome::Succeed();
}

// "VMXOFF—Leave VMX Operation". The active VMCS is written back: what L1 finds in its memory
// afterwards is undefined by the SDM, and this is the most useful choice.
VmxOutcome Vmxoff(Vcpu& vcpu) {
  if (auto refusal = CheckInVmxOperation(vcpu)) return *refusal;
  WriteBackVmcs12(vcpu);
  vcpu.state.operation = VmxOperation::kOff;
  vcpu.state.vmxon_region = kNoVmcs;
  return VmxOutcome::Succeed();
}

// "VMCLEAR—Clear Virtual-Machine Control Structure".
VmxOutcome Vmclear(Vcpu& vcpu) {
  if (auto refusal = CheckInVmxOperation(vcpu)) return *refusal;
  const OperandResult region = ReadMemoryOperand(vcpu);
  if (region.fault) return *region.fault;
  if (!IsRegionAddress(vcpu, region.value)) {
    return Fail(vcpu, VmInstructionError::kVmclearWithInvalidPhysicalAddress);
  }
  if (region.value == vcpu.state.vmxon_region) {
    return Fail(vcpu, VmInstructionError::kVmclearWithVmxonPointer);
  }
  if (region.value == vcpu.state.current_vmcs) {
    vcpu.state.vmcs12_launched = 0;
    WriteBackVmcs12(vcpu);
  } else {
    ClearLaunchState(vcpu, region.value);
  }
  return VmxOutcome::Succeed();
}

// "VMPTRLD—Load Pointer to Virtual-Machine Control Structure".
VmxOutcome Vmptrld(Vcpu& vcpu) {
  if (auto refusal = CheckInVmxOperation(vcpu)) return *refusal;
  const OperandResult region = ReadMemoryOperand(vcpu);
  if (region.fault) return *region.fault;
  if (!IsRegionAddress(vcpu, region.value)) {
    return Fail(vcpu, VmInstructionError::kVmptrldWithInvalidPhysicalAddress);
  }
  if (region.value == vcpu.state.vmxon_region) {
    return Fail(vcpu, VmInstructionError::kVmptrldWithVmxonPointer);
  }
  if (!IsRevisionOfVmcs(vcpu, ReadRevision(vcpu, region.value))) {
    return Fail(vcpu, VmInstructionError::kVmptrldWithIncorrectVmcsRevisionIdentifier);
  }
  if (region.value != vcpu.state.current_vmcs && !LoadVmcs12(vcpu, region.value)) {
    return Fail(vcpu, VmInstructionError::kVmptrldWithInvalidPhysicalAddress);
  }
  return VmxOutcome::Succeed();
}

// "VMPTRST—Store Pointer to Virtual-Machine Control Structure".
VmxOutcome Vmptrst(Vcpu& vcpu) {
  if (auto refusal = CheckInVmxOperation(vcpu)) return *refusal;
  if (auto fault = WriteMemoryOperand(vcpu, vcpu.state.current_vmcs)) return *fault;
  return VmxOutcome::Succeed();
}

// "VMREAD—Read Field from Virtual-Machine Control Structure".
VmxOutcome Vmread(Vcpu& vcpu) {
  if (auto refusal = CheckInVmxOperation(vcpu)) return *refusal;
  if (vcpu.state.current_vmcs == kNoVmcs) return VmxOutcome::FailInvalid();
  const uint64_t encoding = RegisterOperand(vcpu);
  const std::optional<VmcsField> field = OfferedField(vcpu, encoding);
  if (!field) return Fail(vcpu, VmInstructionError::kUnsupportedVmcsComponent);
  const uint64_t value = ReadVmcs12(vcpu, *field);
  const bool high = IsHigh(static_cast<uint32_t>(encoding));
  if (auto fault = WriteValueOperand(vcpu, high ? value >> 32 : value)) return *fault;
  return VmxOutcome::Succeed();
}

// "VMWRITE—Write Field to Virtual-Machine Control Structure".
VmxOutcome Vmwrite(Vcpu& vcpu) {
  if (auto refusal = CheckInVmxOperation(vcpu)) return *refusal;
  if (vcpu.state.current_vmcs == kNoVmcs) return VmxOutcome::FailInvalid();
  const OperandResult source = ReadValueOperand(vcpu);
  if (source.fault) return *source.fault;
  const uint64_t encoding = RegisterOperand(vcpu);
  const std::optional<VmcsField> field = OfferedField(vcpu, encoding);
  if (!field) return Fail(vcpu, VmInstructionError::kUnsupportedVmcsComponent);
  if (!MayBeWritten(vcpu, *field)) {
    return Fail(vcpu, VmInstructionError::kVmwriteToReadOnlyVmcsComponent);
  }
  constexpr uint64_t kLowHalf = 0xFFFFFFFF;
  const uint64_t value = IsHigh(static_cast<uint32_t>(encoding))
                             ? (ReadVmcs12(vcpu, *field) & kLowHalf) | source.value << 32
                             : source.value;
  WriteVmcs12(vcpu, *field, value);
  return VmxOutcome::Succeed();
}

// "VMCALL—Call to VM Monitor". There is no dual-monitor treatment of SMIs and SMM, so it can only
// fail.
VmxOutcome Vmcall(Vcpu& vcpu) {
  if (auto refusal = CheckInVmxOperation(vcpu)) return *refusal;
  return Fail(vcpu, VmInstructionError::kVmcallInVmxRootOperation);
}

// An entry that succeeded, or failed after the guest state was looked at, has left the instruction
// behind.
void VmEntryInstruction(Vcpu& vcpu, bool launch) {
  if (auto refusal = CheckInVmxOperation(vcpu)) {
    FinishVmxInstruction(vcpu, *refusal);
    return;
  }
  const EntryOutcome entry = EnterL2(vcpu, launch);
  if (entry.is_fail()) FinishVmxInstruction(vcpu, entry.outcome());
}

}  // namespace

bool EmulateVmxInstruction(Vcpu& vcpu, ExitReason reason) {
  switch (reason) {
    case ExitReason::kVmxon:
      FinishVmxInstruction(vcpu, Vmxon(vcpu));
      return true;
    case ExitReason::kVmxoff:
      FinishVmxInstruction(vcpu, Vmxoff(vcpu));
      return true;
    case ExitReason::kVmclear:
      FinishVmxInstruction(vcpu, Vmclear(vcpu));
      return true;
    case ExitReason::kVmptrld:
      FinishVmxInstruction(vcpu, Vmptrld(vcpu));
      return true;
    case ExitReason::kVmptrst:
      FinishVmxInstruction(vcpu, Vmptrst(vcpu));
      return true;
    case ExitReason::kVmread:
      FinishVmxInstruction(vcpu, Vmread(vcpu));
      return true;
    case ExitReason::kVmwrite:
      FinishVmxInstruction(vcpu, Vmwrite(vcpu));
      return true;
    case ExitReason::kVmcall:
      FinishVmxInstruction(vcpu, Vmcall(vcpu));
      return true;
    case ExitReason::kInvept:
      FinishVmxInstruction(vcpu, Invept(vcpu));
      return true;
    case ExitReason::kInvvpid:
      FinishVmxInstruction(vcpu, Invvpid(vcpu));
      return true;
    case ExitReason::kVmlaunch:
      VmEntryInstruction(vcpu, /*launch=*/true);
      return true;
    case ExitReason::kVmresume:
      VmEntryInstruction(vcpu, /*launch=*/false);
      return true;
    default:
      return false;
  }
}

void FinishVmxInstruction(Vcpu& vcpu, const VmxOutcome& outcome) {
  if (outcome.is_fault()) {
    RaiseFault(vcpu, outcome, vcpu.state.cr2);
    return;
  }
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t old = vmcs.Read(VmcsField::kGuestRflags);
  uint64_t flags = old & ~Rflags::kArithmetic;
  if (outcome.is_fail_invalid()) flags |= Rflags::kCf;
  if (outcome.is_fail_valid()) {
    flags |= Rflags::kZf;
    vcpu.state.vmcs12.Set<VmcsField::kVmInstructionError>(
        static_cast<uint64_t>(outcome.vm_instruction_error()));
  }
  if (flags != old) vmcs.Write(VmcsField::kGuestRflags, flags);
  FinishInstruction(vcpu);
}

}  // namespace nvmx
