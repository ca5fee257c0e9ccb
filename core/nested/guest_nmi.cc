// SPDX-License-Identifier: Apache-2.0
#include "core/nested/guest_nmi.h"

#include "core/nested/boundary_exit.h"
#include "core/nested/event_injection.h"
#include "core/nested/nested_exit.h"
#include "core/nested/nested_paging.h"
#include "core/nested/preemption_timer.h"
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

bool IsBlockedBy(Vcpu& vcpu, uint32_t bits) { return (InterruptibilityState(vcpu) & bits) != 0; }

// Whether an exit that L1 asked for is due before an NMI. SDM Vol. 3C, 26.2 "Other Causes of VM
// Exits", 26.5.1 "VMX-Preemption Timer", 27.7.6 "NMI-Window Exiting".
bool ExitOfL1IsDue(Vcpu& vcpu) {
  constexpr uint32_t kBlocking = Interruptibility::kBlockingByNmi |
                                 Interruptibility::kBlockingByMovSs |
                                 Interruptibility::kBlockingBySti;
  return TprThresholdExitIsDue(vcpu) || PreemptionTimerHasExpired(vcpu) ||
         (L1WantsNmiWindow(vcpu) && !IsBlockedBy(vcpu, kBlocking));
}

// A debug exception that the VM entry delivers, unless it injects an event instead. SDM Vol. 3C,
// 27.7.3 "Delivery of Pending Debug Exceptions after VM Entry".
bool DebugExceptionIsDue(Vcpu& vcpu) {
  constexpr uint64_t kValid =
      PendingDebugExceptions::kBs | PendingDebugExceptions::kEnabledBreakpoint;
  const auto activity =
      static_cast<ActivityState>(vcpu.ports.vmcs.Read(VmcsField::kGuestActivityState));
  return (vcpu.ports.vmcs.Read(VmcsField::kGuestPendingDebugExceptions) & kValid) != 0 &&
         !IsBlockedBy(vcpu, Interruptibility::kBlockingByMovSs) &&
         (activity == ActivityState::kActive || activity == ActivityState::kHlt);
}

// An event that the guest takes before an NMI.
bool EventGoesFirst(Vcpu& vcpu) { return InjectionPending(vcpu) || DebugExceptionIsDue(vcpu); }

void GiveAway(Vcpu& vcpu, TraceKind how, uint64_t to) {
  vcpu.state.guest_nmi_is_held = 0;
  vcpu.own.guest_nmis_pending.Add(vcpu.ports.cpu, ~uint64_t{0});
  vcpu.ports.trace.Record(how, to, 0);
}

// SDM Vol. 3A, 6.7.1 "Handling Multiple NMIs": while one cannot be taken, the next is lost. Returns
// how many are pending still.
uint64_t MergeHeld(Vcpu& vcpu, uint64_t pending) {
  if (pending <= 1) return pending;
  vcpu.own.guest_nmis_pending.Add(vcpu.ports.cpu, ~uint64_t{0});
  vcpu.ports.trace.Record(TraceKind::kNmiMergedWhileHeld, 0, 0);
  return pending - 1;
}

// An NMI that L1 intercepts leaves L2 at once, unless NMIs are blocked as L1 sees it, or something
// goes first. True if the NMI was given away.
bool TryToExit(Vcpu& vcpu) {
  SetNmiWindowExiting(vcpu, L1WantsNmiWindow(vcpu));
  // VMCS02 does not know of blocking that lasts until L2 exits: a window would open at once, and L2
  // never run.
  if (BlockedUntilL2Exits(vcpu) || WaitsForSipi(vcpu)) return false;
  if (EventGoesFirst(vcpu)) {
    ExitBehindEvent(vcpu);
    return false;
  }
  if (ExitOfL1IsDue(vcpu)) return false;
  if (IsBlockedBy(vcpu, Interruptibility::kBlockingByMovSs)) {
    ExitBehindInstruction(vcpu);
    return false;
  }
  GiveAway(vcpu, TraceKind::kNmiExitToL1, 0);
  ReflectNmi(vcpu);
  return true;
}

// An NMI that L1 does not intercept goes to whoever runs, as soon as the window opens.
bool TryToInject(Vcpu& vcpu) {
  const bool by_nmi = IsBlockedBy(vcpu, Interruptibility::kBlockingByNmi);
  const bool by_mov_ss = IsBlockedBy(vcpu, Interruptibility::kBlockingByMovSs);
  const bool waits =
      by_nmi || by_mov_ss || EventGoesFirst(vcpu) || (L2Runs(vcpu) && ExitOfL1IsDue(vcpu));
  if (waits || WaitsForSipi(vcpu)) {
    SetNmiWindowExiting(vcpu, !WaitsForSipi(vcpu));
    // An STI would keep the window closed for longer than it holds back NMIs.
    if (L2Runs(vcpu) && by_mov_ss && !by_nmi && !InjectionPending(vcpu)) {
      ExitBehindInstruction(vcpu);
    }
    return false;
  }
  GiveAway(vcpu, TraceKind::kNmiInjected, static_cast<uint64_t>(vcpu.ports.vmcs.Current()));
  InjectNmi(vcpu);
  return true;
}

void WaitForL1sWindowOnly(Vcpu& vcpu) {
  SetNmiWindowExiting(vcpu, L2Runs(vcpu) && L1WantsNmiWindow(vcpu));
}

// Not part of its caller, which most often finds nothing to deliver, and is called before each VM
// entry. `pending` is what was seen last.
[[gnu::noinline]] void DeliverPending(Vcpu& vcpu, uint64_t pending) {
  for (;; pending = vcpu.own.guest_nmis_pending.Load(vcpu.ports.cpu)) {
    const bool nobody_to_take_it =
        vcpu.state.in_vmx_abort != 0 || vcpu.state.guest_nmis_masked != 0;
    if (pending > kGuestNmisPendingMask) {
      const uint64_t suspicions = pending & ~kGuestNmisPendingMask;
      vcpu.own.guest_nmis_pending.Add(vcpu.ports.cpu, -suspicions);
      FollowEpt01(vcpu);
      continue;
    }
    if (pending == 0 || nobody_to_take_it) {
      WaitForL1sWindowOnly(vcpu);
      return;
    }
    // One that has been held is held until it is given: what came meanwhile came before that.
    const uint64_t to_give = vcpu.state.guest_nmi_is_held != 0 ? MergeHeld(vcpu, pending) : pending;
    const bool exits = L2Runs(vcpu) && L1ExitsOnNmi(vcpu);
    if (exits ? TryToExit(vcpu) : TryToInject(vcpu)) {
      // Look again: another may be pending, and after an exit to L1 it is L1 that can take it.
      continue;
    }
    MergeHeld(vcpu, to_give);
    vcpu.state.guest_nmi_is_held = 1;
    return;
  }
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

bool WaitsForSipi(Vcpu& vcpu) {
  return vcpu.ports.vmcs.Read(VmcsField::kGuestActivityState) ==
         static_cast<uint64_t>(ActivityState::kWaitForSipi);
}

void InjectNmi(Vcpu& vcpu) {
  EndBlockingByStiForNmi(vcpu);
  vcpu.ports.vmcs.Write(VmcsField::kVmEntryInterruptionInformation,
                        InterruptionInformation::Nmi().value());
}

void DeliverPendingGuestNmi(Vcpu& vcpu) {
  const uint64_t pending = vcpu.own.guest_nmis_pending.Load(vcpu.ports.cpu);
  if (pending != 0) {
    DeliverPending(vcpu, pending);
  } else {
    WaitForL1sWindowOnly(vcpu);
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
