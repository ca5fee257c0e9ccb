// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs01.h"

#include "core/nested/msr_bitmap.h"
#include "core/nested/vmcs02_controls.h"
#include "core/nested/vmcs12_shadow.h"
#include "core/nested/vpid02.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

// Bits that a change by L1 must not reach by itself. PE and PG too: in VMX operation clearing them
// raises #GP.
uint64_t L0BitsOfCr0(const Vcpu& vcpu) { return vcpu.state.offered.cr0_fixed0; }
uint64_t L0BitsOfCr4(const Vcpu& vcpu) {
  return vcpu.state.offered.cr4_fixed0 | ~vcpu.state.offered.cr4_fixed1;
}

// What the processor demands while L1 runs. Not PE and PG: an L1 without them is an unrestricted
// guest.
uint64_t ForcedBitsOfCr0(const Vcpu& vcpu) {
  return vcpu.state.offered.cr0_fixed0 & ~(Cr0::kPe | Cr0::kPg);
}

uint64_t View(Vmcs& vmcs, VmcsField guest, VmcsField shadow, uint64_t mask) {
  return (vmcs.Read(guest) & ~mask) | (vmcs.Read(shadow) & mask);
}

uint32_t SecondaryControls01(const Vcpu& vcpu) {
  const uint64_t offered = vcpu.state.offered.procbased_ctls2;
  // Without them the instructions are undefined in L1.
  constexpr uint32_t kInstructions = Secondary::kEnableRdtscp | Secondary::kEnableInvpcid;
  return static_cast<uint32_t>(offered) |
         (static_cast<uint32_t>(offered >> 32) & (kInstructions | Secondary::kEnableVpid));
}

void InitializeProcessorBasedControls(Vcpu& vcpu) {
  const Capabilities& offered = vcpu.state.offered;
  Vmcs& vmcs = vcpu.ports.vmcs;
  auto controls = static_cast<uint32_t>(offered.PrimaryProcessorBasedControls());
  const bool has_pages = !vcpu.host_pages.pages.empty();
  if (has_pages && offered.SupportsPrimary(PrimaryProcessorBased::kUseMsrBitmaps)) {
    controls |= PrimaryProcessorBased::kUseMsrBitmaps;
    FillMsrBitmap01(vcpu);
    vmcs.Write(VmcsField::kMsrBitmapAddress, vcpu.host_pages.AddressOf(kMsrBitmap01Page).value);
  }
  if (offered.SupportsPrimary(PrimaryProcessorBased::kActivateSecondaryControls)) {
    controls |= PrimaryProcessorBased::kActivateSecondaryControls;
    vmcs.Write(VmcsField::kSecondaryProcessorBasedControls, SecondaryControls01(vcpu));
    if (offered.SupportsSecondary(Secondary::kEnableVpid)) {
      vmcs.Write(VmcsField::kVirtualProcessorIdentifier, kVpidOfL1);
    }
  }
  vmcs.Write(VmcsField::kPrimaryProcessorBasedControls, controls);
}

}  // namespace

void InitializeVmcs01Controls(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.Write(VmcsField::kPinBasedControls,
             PinBased::kDefault1 | PinBased::kNmiExiting | PinBased::kVirtualNmis);
  InitializeProcessorBasedControls(vcpu);
  const Capabilities& offered = vcpu.state.offered;
  vmcs.Write(VmcsField::kVmExitControls, VmExit::kDefault1 | L0ExitControls(offered));
  vmcs.Write(VmcsField::kVmEntryControls,
             VmEntry::kDefault1 | kL0EntryControls |
                 (OffersIa32eMode(offered) ? VmEntry::kIa32eModeGuest : 0));
  vmcs.Write(VmcsField::kVmcsLinkPointer, kNoVmcs);
  vmcs.Write(VmcsField::kCr0GuestHostMask, L0BitsOfCr0(vcpu));
  vmcs.Write(VmcsField::kCr4GuestHostMask, L0BitsOfCr4(vcpu));
  WriteL1Cr0(vcpu, vmcs.Read(VmcsField::kGuestCr0));
  WriteL1Cr4(vcpu, vmcs.Read(VmcsField::kGuestCr4));
  InitializeShadowing(vcpu);
}

uint64_t ReadL1Cr0(Vcpu& vcpu) {
  return View(vcpu.ports.vmcs, VmcsField::kGuestCr0, VmcsField::kCr0ReadShadow, L0BitsOfCr0(vcpu));
}
uint64_t ReadL1Cr4(Vcpu& vcpu) {
  return View(vcpu.ports.vmcs, VmcsField::kGuestCr4, VmcsField::kCr4ReadShadow, L0BitsOfCr4(vcpu));
}

void WriteL1Cr0(Vcpu& vcpu, uint64_t value) {
  vcpu.ports.vmcs.Write(VmcsField::kGuestCr0, value | ForcedBitsOfCr0(vcpu));
  vcpu.ports.vmcs.Write(VmcsField::kCr0ReadShadow, value);
}
void WriteL1Cr4(Vcpu& vcpu, uint64_t value) {
  vcpu.ports.vmcs.Write(VmcsField::kGuestCr4, value | vcpu.state.offered.cr4_fixed0);
  vcpu.ports.vmcs.Write(VmcsField::kCr4ReadShadow, value);
}

void ShutDownL1(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kShutdown));
  constexpr uint64_t kShadows =
      Interruptibility::kBlockingBySti | Interruptibility::kBlockingByMovSs;
  const uint64_t state = vmcs.Read(VmcsField::kGuestInterruptibilityState);
  if ((state & kShadows) != 0) {
    vmcs.Write(VmcsField::kGuestInterruptibilityState, state & ~kShadows);
  }
}

}  // namespace nvmx
