// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs02.h"

#include "core/nested/choreography.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/host_state.h"
#include "core/nested/pdptes.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"

namespace nvmx {
namespace {

// L0 always switches these by the VMCS, whether L1 asked for it or not: that is what holds L1's,
// L2's and L0's apart.
constexpr uint32_t kL0ExitControls = VmExit::kSaveDebugControls | VmExit::kHostAddressSpaceSize |
                                     VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat |
                                     VmExit::kSaveIa32Efer | VmExit::kLoadIa32Efer;
constexpr uint32_t kL0EntryControls =
    VmEntry::kLoadDebugControls | VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer;

bool L1Asked(const VmcsImage& vmcs12, VmcsField controls, uint32_t bit) {
  return (vmcs12.Read(controls) & bit) != 0;
}

uint64_t WithLongMode(uint64_t efer, bool long_mode) {
  constexpr uint64_t kBits = Efer::kLme | Efer::kLma;
  return long_mode ? efer | kBits : efer & ~kBits;
}

// What L1 had in the MSRs that VM entry loads from the VMCS, at the moment of VMLAUNCH; read while
// VMCS01 is current.
struct L1Registers {
  uint64_t efer, pat, debugctl, dr7, cr0;
};

L1Registers ReadL1Registers(Vmcs& vmcs01) {
  return {vmcs01.Read(VmcsField::kGuestIa32Efer), vmcs01.Read(VmcsField::kGuestIa32Pat),
          vmcs01.Read(VmcsField::kGuestIa32Debugctl), vmcs01.Read(VmcsField::kGuestDr7),
          vmcs01.Read(VmcsField::kGuestCr0)};
}

void CopyFields(Vcpu& vcpu) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy != Vmcs02Policy::kCopy || !Exists(row.field, vcpu.state.offered)) continue;
    vcpu.ports.vmcs.Write(row.field, vcpu.state.vmcs12.Read(row.field));
  }
}

void MergeControls(Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.Write(VmcsField::kPinBasedControls,
             vcpu.choreography.Vmcs02PinBasedControls(vmcs12.Get<VmcsField::kPinBasedControls>()));
  vmcs.Write(VmcsField::kPrimaryProcessorBasedControls,
             vmcs12.Get<VmcsField::kPrimaryProcessorBasedControls>());
  vmcs.Write(VmcsField::kExceptionBitmap, vmcs12.Get<VmcsField::kExceptionBitmap>());
  vmcs.Write(VmcsField::kPageFaultErrorCodeMask, vmcs12.Get<VmcsField::kPageFaultErrorCodeMask>());
  vmcs.Write(VmcsField::kPageFaultErrorCodeMatch,
             vmcs12.Get<VmcsField::kPageFaultErrorCodeMatch>());
  vmcs.Write(VmcsField::kVmExitControls,
             vmcs12.Get<VmcsField::kVmExitControls>() | kL0ExitControls);
  vmcs.Write(VmcsField::kVmEntryControls,
             vmcs12.Get<VmcsField::kVmEntryControls>() | kL0EntryControls);
  // L1's lists are processed in software; the processor sees none.
  for (VmcsField field : {VmcsField::kVmExitMsrStoreCount, VmcsField::kVmExitMsrLoadCount,
                          VmcsField::kVmEntryMsrLoadCount}) {
    vmcs.Write(field, 0);
  }
}

void MergeGuestState(Vcpu& vcpu, const L1Registers& l1) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const auto load = [&](uint32_t control) {
    return L1Asked(vmcs12, VmcsField::kVmEntryControls, control);
  };
  for (VmcsField field :
       {VmcsField::kGuestCr0, VmcsField::kGuestCr4, VmcsField::kCr0GuestHostMask,
        VmcsField::kCr4GuestHostMask, VmcsField::kCr0ReadShadow, VmcsField::kCr4ReadShadow}) {
    vmcs.Write(field, vmcs12.Read(field));
  }
  vmcs.Write(VmcsField::kVmcsLinkPointer, kNoVmcs);
  vmcs.Write(VmcsField::kGuestInterruptibilityState,
             EnterL2NmiBlocking(vcpu, vmcs12.Get<VmcsField::kGuestInterruptibilityState>()));
  // SDM Vol. 3C, 27.3.2.1 "Loading Guest Control Registers, Debug Registers, and MSRs": without the
  // control the register keeps what it held in L1, except that EFER.LMA and LME follow the mode of
  // the guest.
  vmcs.Write(VmcsField::kGuestIa32Efer,
             load(VmEntry::kLoadIa32Efer) ? vmcs12.Get<VmcsField::kGuestIa32Efer>()
                                          : WithLongMode(l1.efer, load(VmEntry::kIa32eModeGuest)));
  vmcs.Write(VmcsField::kGuestIa32Pat,
             load(VmEntry::kLoadIa32Pat) ? vmcs12.Get<VmcsField::kGuestIa32Pat>() : l1.pat);
  const bool load_debug = load(VmEntry::kLoadDebugControls);
  vmcs.Write(VmcsField::kGuestIa32Debugctl,
             load_debug ? vmcs12.Get<VmcsField::kGuestIa32Debugctl>() : l1.debugctl);
  vmcs.Write(VmcsField::kGuestDr7, load_debug ? vmcs12.Get<VmcsField::kGuestDr7>() : l1.dr7);
}

}  // namespace

void InitializeVmcs01Controls(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.Write(VmcsField::kPinBasedControls,
             PinBased::kDefault1 | PinBased::kNmiExiting | PinBased::kVirtualNmis);
  vmcs.Write(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kDefault1);
  vmcs.Write(VmcsField::kVmExitControls, VmExit::kDefault1 | kL0ExitControls);
  vmcs.Write(VmcsField::kVmEntryControls,
             VmEntry::kDefault1 | kL0EntryControls | VmEntry::kIa32eModeGuest);
  vmcs.Write(VmcsField::kVmcsLinkPointer, kNoVmcs);
}

void BuildVmcs02(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const L1Registers l1 = ReadL1Registers(vmcs);
  vmcs.MakeCurrent(VmcsRole::kVmcs02);
  CopyFields(vcpu);
  MergeControls(vcpu);
  MergeGuestState(vcpu, l1);
  vmcs.Write(VmcsField::kGuestCr0,
             (vmcs.Read(VmcsField::kGuestCr0) & kLoadedBitsOfCr0) | (l1.cr0 & ~kLoadedBitsOfCr0));
  InjectEventOfVmcs12(vcpu);
}

void SaveGuestStateToVmcs12(Vcpu& vcpu) {
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const auto saves = [&](uint32_t control) {
    return L1Asked(vmcs12, VmcsField::kVmExitControls, control);
  };
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Type(row.field) != FieldType::kGuestState || !Exists(row.field, vcpu.state.offered))
      continue;
    if (row.field == VmcsField::kVmcsLinkPointer ||
        row.field == VmcsField::kVmxPreemptionTimerValue || IsPdpteField(row.field)) {
      continue;
    }
    if (row.field == VmcsField::kGuestIa32Efer && !saves(VmExit::kSaveIa32Efer)) continue;
    if (row.field == VmcsField::kGuestIa32Pat && !saves(VmExit::kSaveIa32Pat)) continue;
    if ((row.field == VmcsField::kGuestDr7 || row.field == VmcsField::kGuestIa32Debugctl) &&
        !saves(VmExit::kSaveDebugControls)) {
      continue;
    }
    vmcs12.Write(row.field, vmcs.Read(row.field));
  }
  vmcs12.Set<VmcsField::kGuestInterruptibilityState>(L2InterruptibilityForL1(vcpu));
  SavePdptesToVmcs12(vcpu);
  // SDM Vol. 3C, 28.2: the entry control follows IA32_EFER.LMA, and the valid bit of the injection
  // field is cleared.
  const uint32_t entry = vmcs12.Get<VmcsField::kVmEntryControls>() & ~VmEntry::kIa32eModeGuest;
  vmcs12.Set<VmcsField::kVmEntryControls>(
      entry | (vmcs.Read(VmcsField::kVmEntryControls) & VmEntry::kIa32eModeGuest));
  vmcs12.Set<VmcsField::kVmEntryInterruptionInformation>(
      vmcs12.Get<VmcsField::kVmEntryInterruptionInformation>() & ~InterruptionInformation::kValid);
}

void SaveExitInformationToVmcs12(Vcpu& vcpu) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy != Vmcs02Policy::kExitInformation || !Exists(row.field, vcpu.state.offered) ||
        row.field == VmcsField::kVmInstructionError) {
      continue;
    }
    vcpu.state.vmcs12.Write(row.field, vcpu.ports.vmcs.Read(row.field));
  }
}

void ClearExitInformation(VmcsImage& vmcs12) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy == Vmcs02Policy::kExitInformation &&
        row.field != VmcsField::kVmInstructionError) {
      vmcs12.Write(row.field, 0);
    }
  }
}

}  // namespace nvmx
