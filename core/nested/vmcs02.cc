// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs02.h"

#include "core/nested/choreography.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_nmi.h"
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
  uint64_t efer, pat, debugctl, dr7;
};

L1Registers ReadL1Registers(Vmcs& vmcs01) {
  return {vmcs01.Read(VmcsField::kGuestIa32Efer), vmcs01.Read(VmcsField::kGuestIa32Pat),
          vmcs01.Read(VmcsField::kGuestIa32Debugctl), vmcs01.Read(VmcsField::kGuestDr7)};
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

struct SegmentFields {
  VmcsField selector, base, limit, access_rights;
};

void LoadSegment(Vmcs& vmcs, const SegmentFields& fields, uint64_t selector, uint64_t base,
                 uint64_t limit_and_rights) {
  vmcs.Write(fields.selector, selector);
  vmcs.Write(fields.base, base);
  vmcs.Write(fields.limit, limit_and_rights >> 32);
  vmcs.Write(fields.access_rights, limit_and_rights & 0xFFFFFFFF);
}

// Limit in the high half, access rights in the low half, as SDM Vol. 3C, 28.5.2 "Loading Host
// Segment and Descriptor-Table Registers" fixes them.
constexpr uint64_t kDataSegment = uint64_t{0xFFFFFFFF} << 32 | 0xC093;
constexpr uint64_t kCodeSegment32 = uint64_t{0xFFFFFFFF} << 32 | 0xC09B;
constexpr uint64_t kCodeSegment64 = uint64_t{0xFFFFFFFF} << 32 | 0xA09B;
constexpr uint64_t kUnusableSegment = uint64_t{0xFFFFFFFF} << 32 | 0x1C093;
constexpr uint64_t kBusyTss = uint64_t{0x67} << 32 | 0x8B;
constexpr uint64_t kUnusableLdtr = 0x10082;

void LoadHostSegments(Vcpu& vcpu) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const bool long_mode = L1Asked(vmcs12, VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize);
#define NVMX_SEGMENT(name)                                                    \
  SegmentFields {                                                             \
    VmcsField::kGuest##name##Selector, VmcsField::kGuest##name##Base,         \
        VmcsField::kGuest##name##Limit, VmcsField::kGuest##name##AccessRights \
  }
  const auto data = [](uint64_t selector) {
    return selector == 0 ? kUnusableSegment : kDataSegment;
  };
  LoadSegment(vmcs, NVMX_SEGMENT(Cs), vmcs12.Get<VmcsField::kHostCsSelector>(), 0,
              long_mode ? kCodeSegment64 : kCodeSegment32);
  LoadSegment(vmcs, NVMX_SEGMENT(Ss), vmcs12.Get<VmcsField::kHostSsSelector>(), 0,
              data(vmcs12.Get<VmcsField::kHostSsSelector>()));
  LoadSegment(vmcs, NVMX_SEGMENT(Ds), vmcs12.Get<VmcsField::kHostDsSelector>(), 0,
              data(vmcs12.Get<VmcsField::kHostDsSelector>()));
  LoadSegment(vmcs, NVMX_SEGMENT(Es), vmcs12.Get<VmcsField::kHostEsSelector>(), 0,
              data(vmcs12.Get<VmcsField::kHostEsSelector>()));
  LoadSegment(vmcs, NVMX_SEGMENT(Fs), vmcs12.Get<VmcsField::kHostFsSelector>(),
              vmcs12.Get<VmcsField::kHostFsBase>(), data(vmcs12.Get<VmcsField::kHostFsSelector>()));
  LoadSegment(vmcs, NVMX_SEGMENT(Gs), vmcs12.Get<VmcsField::kHostGsSelector>(),
              vmcs12.Get<VmcsField::kHostGsBase>(), data(vmcs12.Get<VmcsField::kHostGsSelector>()));
  LoadSegment(vmcs, NVMX_SEGMENT(Tr), vmcs12.Get<VmcsField::kHostTrSelector>(),
              vmcs12.Get<VmcsField::kHostTrBase>(), kBusyTss);
  LoadSegment(vmcs, NVMX_SEGMENT(Ldtr), 0, 0, kUnusableLdtr);
#undef NVMX_SEGMENT
  vmcs.Write(VmcsField::kGuestGdtrBase, vmcs12.Get<VmcsField::kHostGdtrBase>());
  vmcs.Write(VmcsField::kGuestIdtrBase, vmcs12.Get<VmcsField::kHostIdtrBase>());
  vmcs.Write(VmcsField::kGuestGdtrLimit, 0xFFFF);
  vmcs.Write(VmcsField::kGuestIdtrLimit, 0xFFFF);
}

// SDM Vol. 3C, 28.5.1 "Loading Host Control Registers, Debug Registers, MSRs". `efer2` and `pat2`
// are what L2 left.
void LoadHostRegisters(Vcpu& vcpu, uint64_t efer2, uint64_t pat2) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const auto asked = [&](uint32_t control) {
    return L1Asked(vmcs12, VmcsField::kVmExitControls, control);
  };
  const bool long_mode = asked(VmExit::kHostAddressSpaceSize);
  uint64_t cr4 = vmcs12.Get<VmcsField::kHostCr4>();
  cr4 = long_mode ? cr4 | Cr4::kPae : cr4 & ~Cr4::kPcide;
  vmcs.Write(VmcsField::kGuestCr0, vmcs12.Get<VmcsField::kHostCr0>());
  vmcs.Write(VmcsField::kGuestCr3, vmcs12.Get<VmcsField::kHostCr3>());
  vmcs.Write(VmcsField::kGuestCr4, cr4);
  vmcs.Write(VmcsField::kGuestDr7, Dr7::kInit);
  vmcs.Write(VmcsField::kGuestIa32Debugctl, 0);
  vmcs.Write(VmcsField::kGuestIa32SysenterCs, vmcs12.Get<VmcsField::kHostIa32SysenterCs>());
  vmcs.Write(VmcsField::kGuestIa32SysenterEsp, vmcs12.Get<VmcsField::kHostIa32SysenterEsp>());
  vmcs.Write(VmcsField::kGuestIa32SysenterEip, vmcs12.Get<VmcsField::kHostIa32SysenterEip>());
  vmcs.Write(
      VmcsField::kGuestIa32Efer,
      WithLongMode(asked(VmExit::kLoadIa32Efer) ? vmcs12.Get<VmcsField::kHostIa32Efer>() : efer2,
                   long_mode));
  vmcs.Write(VmcsField::kGuestIa32Pat,
             asked(VmExit::kLoadIa32Pat) ? vmcs12.Get<VmcsField::kHostIa32Pat>() : pat2);
  vmcs.Write(VmcsField::kGuestRip, vmcs12.Get<VmcsField::kHostRip>());
  vmcs.Write(VmcsField::kGuestRsp, vmcs12.Get<VmcsField::kHostRsp>());
  vmcs.Write(VmcsField::kGuestRflags, 0x2);
  const uint64_t entry = vmcs.Read(VmcsField::kVmEntryControls);
  vmcs.Write(VmcsField::kVmEntryControls, long_mode ? entry | VmEntry::kIa32eModeGuest
                                                    : entry & ~uint64_t{VmEntry::kIa32eModeGuest});
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
    if (row.field == VmcsField::kVmcsLinkPointer) continue;
    if (row.field == VmcsField::kGuestIa32Efer && !saves(VmExit::kSaveIa32Efer)) continue;
    if (row.field == VmcsField::kGuestIa32Pat && !saves(VmExit::kSaveIa32Pat)) continue;
    if ((row.field == VmcsField::kGuestDr7 || row.field == VmcsField::kGuestIa32Debugctl) &&
        !saves(VmExit::kSaveDebugControls)) {
      continue;
    }
    vmcs12.Write(row.field, vmcs.Read(row.field));
  }
  vmcs12.Set<VmcsField::kGuestInterruptibilityState>(L2InterruptibilityForL1(vcpu));
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

void LoadHostStateIntoVmcs01(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t efer2 = vmcs.Read(VmcsField::kGuestIa32Efer);
  const uint64_t pat2 = vmcs.Read(VmcsField::kGuestIa32Pat);
  vmcs.MakeCurrent(VmcsRole::kVmcs01);
  LoadHostRegisters(vcpu, efer2, pat2);
  LoadHostSegments(vcpu);
  // SDM Vol. 3C, 28.5.5 "Updating Non-Register State": no blocking by STI or MOV SS; blocking by
  // NMI is the caller's.
  vmcs.Write(VmcsField::kGuestInterruptibilityState,
             vmcs.Read(VmcsField::kGuestInterruptibilityState) & Interruptibility::kBlockingByNmi);
  vmcs.Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kActive));
  vmcs.Write(VmcsField::kGuestPendingDebugExceptions, 0);
  vmcs.Write(VmcsField::kVmEntryInterruptionInformation, 0);
}

}  // namespace nvmx
