// SPDX-License-Identifier: Apache-2.0
#include "core/nested/host_state.h"

#include "core/nested/msr_access.h"
#include "core/nested/pdptes.h"
#include "core/nested/vmcs01.h"
#include "core/nested/vmcs12_shadow.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx {
namespace {

bool L1Asked(const VmcsImage& vmcs12, VmcsField controls, uint32_t bit) {
  return (vmcs12.Read(controls) & bit) != 0;
}

uint64_t WithLongMode(uint64_t efer, bool long_mode) {
  constexpr uint64_t kBits = Efer::kLme | Efer::kLma;
  return long_mode ? efer | kBits : efer & ~kBits;
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

// What the guest that exits has in the registers that an exit need not load; the PAT only if this
// one does not.
struct LeftRegisters {
  uint64_t cr0, efer, pat;
};

// SDM Vol. 3C, 28.5.1 "Loading Host Control Registers, Debug Registers, MSRs".
void LoadHostRegisters(Vcpu& vcpu, const LeftRegisters& left) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const auto asked = [&](uint32_t control) {
    return L1Asked(vmcs12, VmcsField::kVmExitControls, control);
  };
  const bool long_mode = asked(VmExit::kHostAddressSpaceSize);
  uint64_t cr4 = vmcs12.Get<VmcsField::kHostCr4>();
  cr4 = long_mode ? cr4 | Cr4::kPae : cr4 & ~Cr4::kPcide;
  const uint64_t cr0 =
      (vmcs12.Get<VmcsField::kHostCr0>() & kLoadedBitsOfCr0) | (left.cr0 & ~kLoadedBitsOfCr0);
  WriteL1Cr0(vcpu, cr0);
  vmcs.Write(VmcsField::kGuestCr3, vmcs12.Get<VmcsField::kHostCr3>());
  WriteL1Cr4(vcpu, cr4);
  vmcs.Write(VmcsField::kGuestDr7, Dr7::kInit);
  vmcs.Write(VmcsField::kGuestIa32Debugctl, 0);
  vmcs.Write(VmcsField::kGuestIa32SysenterCs, vmcs12.Get<VmcsField::kHostIa32SysenterCs>());
  vmcs.Write(VmcsField::kGuestIa32SysenterEsp, vmcs12.Get<VmcsField::kHostIa32SysenterEsp>());
  vmcs.Write(VmcsField::kGuestIa32SysenterEip, vmcs12.Get<VmcsField::kHostIa32SysenterEip>());
  vmcs.Write(VmcsField::kGuestIa32Efer,
             WithLongMode(
                 asked(VmExit::kLoadIa32Efer) ? vmcs12.Get<VmcsField::kHostIa32Efer>() : left.efer,
                 long_mode));
  vmcs.Write(VmcsField::kGuestIa32Pat,
             asked(VmExit::kLoadIa32Pat) ? vmcs12.Get<VmcsField::kHostIa32Pat>() : left.pat);
  if (asked(VmExit::kLoadIa32PerfGlobalCtrl)) {
    WriteGuestMsr(vcpu, Index(Msr::IA32_PERF_GLOBAL_CTRL),
                  vmcs12.Get<VmcsField::kHostIa32PerfGlobalCtrl>());
  }
  vmcs.Write(VmcsField::kGuestRip, vmcs12.Get<VmcsField::kHostRip>());
  vmcs.Write(VmcsField::kGuestRsp, vmcs12.Get<VmcsField::kHostRsp>());
  vmcs.Write(VmcsField::kGuestRflags, Rflags::kFixed1);
  const uint64_t old = vmcs.Read(VmcsField::kVmEntryControls);
  const uint64_t entry =
      long_mode ? old | VmEntry::kIa32eModeGuest : old & ~uint64_t{VmEntry::kIa32eModeGuest};
  if (entry != old) vmcs.Write(VmcsField::kVmEntryControls, entry);
}

// SDM Vol. 3C, 28.5.4 "Checking and Loading Host Page-Directory-Pointer-Table Entries".
bool LoadHostPdptes(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const bool long_mode =
      L1Asked(vcpu.state.vmcs12, VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize);
  if (long_mode ||
      !UsesPaePaging(vmcs.Read(VmcsField::kGuestCr0), vmcs.Read(VmcsField::kGuestCr4), long_mode)) {
    return true;
  }
  const Pdptes pdptes = ReadPdptes(vcpu, vmcs.Read(VmcsField::kGuestCr3));
  if (!AreValidPdptes(pdptes, static_cast<unsigned>(vcpu.state.offered.physical_address_width))) {
    return false;
  }
  WritePdpteFields(vcpu, pdptes);
  return true;
}

}  // namespace

std::optional<VmxAbort> LoadHostStateIntoVmcs01(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  LeftRegisters left = {vmcs.Read(VmcsField::kGuestCr0), vmcs.Read(VmcsField::kGuestIa32Efer), 0};
  if (!L1Asked(vcpu.state.vmcs12, VmcsField::kVmExitControls, VmExit::kLoadIa32Pat)) {
    left.pat = vmcs.Read(VmcsField::kGuestIa32Pat);
  }
  StoreIntoShadow(vcpu);
  vmcs.MakeCurrent(VmcsRole::kVmcs01);
  if ((left.efer & Efer::kLma) != 0 &&
      !L1Asked(vcpu.state.vmcs12, VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize)) {
    return VmxAbort::kHostAddressSpaceSize;
  }
  LoadHostRegisters(vcpu, left);
  LoadHostSegments(vcpu);
  // SDM Vol. 3C, 28.5.5 "Updating Non-Register State": no blocking by STI or MOV SS.
  vmcs.Write(VmcsField::kGuestInterruptibilityState,
             vmcs.Read(VmcsField::kGuestInterruptibilityState) & Interruptibility::kBlockingByNmi);
  vmcs.Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kActive));
  vmcs.Write(VmcsField::kGuestPendingDebugExceptions, 0);
  vmcs.Write(VmcsField::kVmEntryInterruptionInformation, 0);
  if (!LoadHostPdptes(vcpu)) return VmxAbort::kHostPdptes;
  return std::nullopt;
}

}  // namespace nvmx
