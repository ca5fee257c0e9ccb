// SPDX-License-Identifier: Apache-2.0
#include "core/nested/init_sipi.h"

#include "core/nested/boundary_exit.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/nested_exit.h"
#include "core/nested/vmcs01.h"
#include "core/vmx/controls.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/general_register.h"
#include "core/x86/rflags.h"

namespace nvmx {
namespace {

struct FieldValue {
  VmcsField field;
  uint64_t value;
};

// SDM Vol. 3A, Table 10-1 "IA-32 and Intel 64 Processor States Following Power-up, Reset, or INIT".
// CR0 and CR4 are apart; what INIT leaves alone (MTRRs and the other MSRs but IA32_EFER, whose LMA
// cannot outlive paging) is missing.
constexpr uint64_t kLimit = 0xFFFF;
constexpr uint64_t kDataRights = 0x93;
constexpr uint64_t kCodeRights =
    0x9B;  // the table's "read/write, accessed" as a code segment, which VM entry wants
constexpr uint64_t kLdtRights = 0x82;
constexpr uint64_t kTssRights = 0x8B;
constexpr FieldValue kStateAfterInit[] = {
    {VmcsField::kGuestRflags, Rflags::kFixed1},
    {VmcsField::kGuestRip, 0xFFF0},
    {VmcsField::kGuestRsp, 0},
    {VmcsField::kGuestCr3, 0},
    {VmcsField::kGuestDr7, Dr7::kInit},
    {VmcsField::kGuestIa32Efer, 0},
    {VmcsField::kGuestCsSelector, 0xF000},
    {VmcsField::kGuestCsBase, 0xFFFF0000},
    {VmcsField::kGuestCsLimit, kLimit},
    {VmcsField::kGuestCsAccessRights, kCodeRights},
    {VmcsField::kGuestGdtrBase, 0},
    {VmcsField::kGuestGdtrLimit, kLimit},
    {VmcsField::kGuestIdtrBase, 0},
    {VmcsField::kGuestIdtrLimit, kLimit},
    {VmcsField::kGuestPendingDebugExceptions, 0},
    {VmcsField::kGuestInterruptibilityState, 0},
    {VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kWaitForSipi)},
    {VmcsField::kVmEntryInterruptionInformation, 0},
};

struct SegmentFields {
  VmcsField selector, base, limit, access_rights;
  uint64_t rights;
};
#define NVMX_SEGMENT(name, rights)                                                    \
  {                                                                                   \
    VmcsField::kGuest##name##Selector, VmcsField::kGuest##name##Base,                 \
        VmcsField::kGuest##name##Limit, VmcsField::kGuest##name##AccessRights, rights \
  }
constexpr SegmentFields kSegmentsAtZero[] = {
    NVMX_SEGMENT(Ss, kDataRights), NVMX_SEGMENT(Ds, kDataRights), NVMX_SEGMENT(Es, kDataRights),
    NVMX_SEGMENT(Fs, kDataRights), NVMX_SEGMENT(Gs, kDataRights), NVMX_SEGMENT(Ldtr, kLdtRights),
    NVMX_SEGMENT(Tr, kTssRights),
};
#undef NVMX_SEGMENT

void ResetControlRegisters(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  // CR0 is 60000010H, but for CD and NW, which INIT does not change.
  WriteL1Cr0(vcpu, Cr0::kEt | (ReadL1Cr0(vcpu) & (Cr0::kCd | Cr0::kNw)));
  WriteL1Cr4(vcpu, 0);
  // Real mode needs "unrestricted guest", and that needs EPT.
  vmcs.Write(VmcsField::kPrimaryProcessorBasedControls,
             vmcs.Read(VmcsField::kPrimaryProcessorBasedControls) |
                 PrimaryProcessorBased::kActivateSecondaryControls);
  vmcs.Write(VmcsField::kSecondaryProcessorBasedControls,
             vmcs.Read(VmcsField::kSecondaryProcessorBasedControls) | Secondary::kEnableEpt |
                 Secondary::kUnrestrictedGuest);
  vmcs.Write(VmcsField::kVmEntryControls,
             vmcs.Read(VmcsField::kVmEntryControls) & ~uint64_t{VmEntry::kIa32eModeGuest});
}

// VMCS01 is current, and L1 is outside VMX operation.
void ResetL1(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  ResetControlRegisters(vcpu);
  for (const FieldValue& row : kStateAfterInit) vmcs.Write(row.field, row.value);
  for (const SegmentFields& row : kSegmentsAtZero) {
    vmcs.Write(row.selector, 0);
    vmcs.Write(row.base, 0);
    vmcs.Write(row.limit, kLimit);
    vmcs.Write(row.access_rights, row.rights);
  }
  vcpu.state.registers = {};
  // EDX tells the processor's signature.
  constexpr uint32_t kSignatureLeaf = 1;
  vcpu.state.registers[static_cast<size_t>(GeneralRegister::kRdx)] =
      vcpu.ports.cpu.Cpuid(kSignatureLeaf, 0).eax;
  vcpu.state.cr2 = 0;
}

void StartL1(Vcpu& vcpu, uint64_t vector) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.Write(VmcsField::kGuestCsSelector, vector << 8);
  vmcs.Write(VmcsField::kGuestCsBase, vector << 12);
  vmcs.Write(VmcsField::kGuestRip, 0);
  vmcs.Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kActive));
}

bool DeliversAnEvent(Vcpu& vcpu) {
  const InterruptionInformation event(
      static_cast<uint32_t>(vcpu.ports.vmcs.Read(VmcsField::kVmEntryInterruptionInformation)));
  return event.valid() && event.type() != InterruptionType::kOtherEvent;
}

}  // namespace

void HandleInitOfL1(Vcpu& vcpu) { vcpu.state.init_latched = 1; }

void HandleSipiOfL1(Vcpu& vcpu) {
  StartL1(vcpu, vcpu.ports.vmcs.Read(VmcsField::kExitQualification) & 0xFF);
}

// Where L1 waits for a SIPI already, it changes nothing.
void SendInitToGuest(Vcpu& vcpu) {
  if (vcpu.state.operation == VmxOperation::kOff && WaitsForSipi(vcpu)) return;
  HandleInitOfL1(vcpu);
}

void SendSipiToL1(Vcpu& vcpu, uint8_t vector) {
  if (vcpu.state.operation != VmxOperation::kOff || !WaitsForSipi(vcpu)) return;
  EndWaitForSipi(vcpu);
  StartL1(vcpu, vector);
}

void DeliverLatchedInit(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  if (state.init_latched == 0) return;
  switch (state.operation) {
    case VmxOperation::kOff:
      state.init_latched = 0;
      ResetL1(vcpu);
      return;
    case VmxOperation::kRoot:
      return;
    case VmxOperation::kNonRoot:
      // INIT is blocked in wait-for-SIPI. Else it comes behind an event that the entry delivers and
      // an exit for the TPR threshold, and before a pending MTF VM exit. SDM Vol. 3C, 26.2 "Other
      // Causes of VM Exits", 26.5.2, 27.7.7.
      if (WaitsForSipi(vcpu)) return;
      if (DeliversAnEvent(vcpu)) {
        ExitBehindEvent(vcpu);
        return;
      }
      if (TprThresholdExitIsDue(vcpu)) return;
      state.init_latched = 0;
      ReflectInit(vcpu);
      return;
  }
}

void BeginWaitForSipi(Vcpu& vcpu) {
  if (!WaitsForSipi(vcpu)) return;
  SmpContext smp = vcpu.smp();
  QuiesceProtocol::LeaveOut(smp, vcpu.state.left_out);
}

void TakePartInQuiescesAgain(Vcpu& vcpu) {
  SmpContext smp = vcpu.smp();
  QuiesceProtocol::TakePart(smp, vcpu.state.left_out);
}

}  // namespace nvmx
