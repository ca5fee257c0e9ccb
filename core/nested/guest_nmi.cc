// SPDX-License-Identifier: Apache-2.0
#include "core/nested/guest_nmi.h"

#include "core/nested/nested_exit.h"
#include "core/nested/nested_paging.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"

namespace nvmx {
namespace {

uint32_t PinControls12(const Vcpu& vcpu) {
  return vcpu.state.vmcs12.Get<VmcsField::kPinBasedControls>();
}
bool L1ExitsOnNmi(const Vcpu& vcpu) { return (PinControls12(vcpu) & PinBased::kNmiExiting) != 0; }
bool L1UsesVirtualNmis(const Vcpu& vcpu) {
  return (PinControls12(vcpu) & PinBased::kVirtualNmis) != 0;
}

uint32_t InterruptibilityState(Vcpu& vcpu) {
  return static_cast<uint32_t>(vcpu.ports.vmcs.Read(VmcsField::kGuestInterruptibilityState));
}

bool L2Runs(const Vcpu& vcpu) { return vcpu.state.operation == VmxOperation::kNonRoot; }

// Whether NMIs are blocked in L2 in such a way that no instruction of L2 ends it: IRET does not,
// when L1 uses "NMI exiting" without virtual NMIs.
bool BlockedUntilL2Exits(const Vcpu& vcpu) {
  return L2Runs(vcpu) && L1ExitsOnNmi(vcpu) && !L1UsesVirtualNmis(vcpu) &&
         vcpu.state.l2_blocking_by_nmi != 0;
}

// Whether an NMI-window exit that L1 asked for is due: it comes before an NMI. SDM Vol. 3C, 27.7.6
// "NMI-Window Exiting".
bool NmiWindowExitIsDue(Vcpu& vcpu) {
  constexpr uint32_t kBlocking =
      Interruptibility::kBlockingByNmi | Interruptibility::kBlockingByMovSs;
  return L1WantsNmiWindow(vcpu) && (InterruptibilityState(vcpu) & kBlocking) == 0;
}

// An NMI that L1 intercepts leaves L2 at once, unless NMIs are blocked as L1 sees it. An event that
// is still to be injected into L2 goes first: then the NMI waits for the window right behind it.
bool CanExitToL1(Vcpu& vcpu) {
  return !BlockedUntilL2Exits(vcpu) && !InjectionPending(vcpu) && !NmiWindowExitIsDue(vcpu);
}

bool CanInject(Vcpu& vcpu) {
  constexpr uint32_t kBlocking = Interruptibility::kBlockingByNmi |
                                 Interruptibility::kBlockingByMovSs |
                                 Interruptibility::kBlockingBySti;
  // A processor that waits for a SIPI takes no NMI, and a VM entry that injects one would fail.
  const bool waits_for_sipi = vcpu.ports.vmcs.Read(VmcsField::kGuestActivityState) ==
                              static_cast<uint64_t>(ActivityState::kWaitForSipi);
  return (InterruptibilityState(vcpu) & kBlocking) == 0 && !InjectionPending(vcpu) &&
         !waits_for_sipi;
}

// True if the NMI was given away.
bool TryDeliver(Vcpu& vcpu) {
  Shared& pending = vcpu.own.guest_nmis_pending;
  if (L2Runs(vcpu) && L1ExitsOnNmi(vcpu)) {
    if (!CanExitToL1(vcpu)) return false;
    pending.Add(vcpu.ports.cpu, ~uint64_t{0});
    vcpu.ports.trace.Record(TraceKind::kNmiExitToL1, 0, 0);
    ReflectNmi(vcpu);
    return true;
  }
  if (!CanInject(vcpu)) return false;
  pending.Add(vcpu.ports.cpu, ~uint64_t{0});
  vcpu.ports.trace.Record(TraceKind::kNmiInjected, static_cast<uint64_t>(vcpu.ports.vmcs.Current()),
                          0);
  InjectNmi(vcpu);
  return true;
}

}  // namespace

bool InjectionPending(Vcpu& vcpu) {
  return InterruptionInformation(static_cast<uint32_t>(vcpu.ports.vmcs.Read(
                                     VmcsField::kVmEntryInterruptionInformation)))
      .valid();
}

bool L1WantsNmiWindow(const Vcpu& vcpu) {
  return (vcpu.state.vmcs12.Get<VmcsField::kPrimaryProcessorBasedControls>() &
          PrimaryProcessorBased::kNmiWindowExiting) != 0;
}

void SetNmiWindowExiting(Vcpu& vcpu, bool on) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t old = vmcs.Read(VmcsField::kPrimaryProcessorBasedControls);
  const uint64_t bit = PrimaryProcessorBased::kNmiWindowExiting;
  const uint64_t controls = on ? old | bit : old & ~bit;
  if (controls != old) vmcs.Write(VmcsField::kPrimaryProcessorBasedControls, controls);
}

void InjectNmi(Vcpu& vcpu) {
  vcpu.ports.vmcs.Write(VmcsField::kVmEntryInterruptionInformation,
                        InterruptionInformation::Nmi().value());
}

void DeliverPendingGuestNmi(Vcpu& vcpu) {
  for (;;) {
    const bool l1_wants_window = L2Runs(vcpu) && L1WantsNmiWindow(vcpu);
    const bool nobody_to_take_it =
        vcpu.state.in_vmx_abort != 0 || vcpu.state.guest_nmis_masked != 0;
    const uint64_t pending = vcpu.own.guest_nmis_pending.Load(vcpu.ports.cpu);
    if (pending > kGuestNmisPendingMask) {
      const uint64_t suspicions = pending & ~kGuestNmisPendingMask;
      vcpu.own.guest_nmis_pending.Add(vcpu.ports.cpu, -suspicions);
      FollowEpt01(vcpu);
      continue;
    }
    if (pending == 0 || nobody_to_take_it) {
      SetNmiWindowExiting(vcpu, l1_wants_window);
      return;
    }
    if (!TryDeliver(vcpu)) {
      // VMCS02 does not know of blocking that lasts until L2 exits: the window would open at once,
      // and L2 never run.
      SetNmiWindowExiting(vcpu, !BlockedUntilL2Exits(vcpu));
      return;
    }
    // Look again: another may be pending, and after an exit to L1 it is L1 that can take it.
  }
}

void MaskGuestNmis(Vcpu& vcpu, bool masked) { vcpu.state.guest_nmis_masked = masked ? 1 : 0; }

uint32_t EnterL2NmiBlocking(Vcpu& vcpu, uint32_t interruptibility12) {
  vcpu.state.l2_blocking_by_nmi = 0;
  if (!L1ExitsOnNmi(vcpu) || L1UsesVirtualNmis(vcpu)) return interruptibility12;
  vcpu.state.l2_blocking_by_nmi = (interruptibility12 & Interruptibility::kBlockingByNmi) != 0;
  return interruptibility12 & ~Interruptibility::kBlockingByNmi;
}

uint32_t L2InterruptibilityForL1(Vcpu& vcpu) {
  const uint32_t state = InterruptibilityState(vcpu);
  if (!L1ExitsOnNmi(vcpu) || L1UsesVirtualNmis(vcpu)) return state;
  const uint32_t blocking =
      vcpu.state.l2_blocking_by_nmi != 0 ? Interruptibility::kBlockingByNmi : 0;
  return (state & ~Interruptibility::kBlockingByNmi) | blocking;
}

bool NmiBlockedAfterL2Exit(Vcpu& vcpu) {
  if (L1UsesVirtualNmis(vcpu)) return false;
  return (L2InterruptibilityForL1(vcpu) & Interruptibility::kBlockingByNmi) != 0;
}

}  // namespace nvmx
