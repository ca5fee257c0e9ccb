// SPDX-License-Identifier: Apache-2.0
#include "core/nested/boundary_exit.h"

#include "core/nested/entry_surroundings.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/preemption_timer.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"

namespace nvmx {
namespace {

bool HasTimer(const Vcpu& vcpu) {
  return vcpu.state.offered.SupportsPinBased(PinBased::kActivateVmxPreemptionTimer);
}
bool HasMonitorTrapFlag(const Vcpu& vcpu) {
  return vcpu.state.offered.SupportsPrimary(PrimaryProcessorBased::kMonitorTrapFlag);
}
bool L1UsesMonitorTrapFlag(const Vcpu& vcpu) {
  return (vcpu.state.vmcs12.Get<VmcsField::kPrimaryProcessorBasedControls>() &
          PrimaryProcessorBased::kMonitorTrapFlag) != 0;
}

void SetControl(Vcpu& vcpu, VmcsField controls, uint64_t bit, bool on) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t old = vmcs.Read(controls);
  const uint64_t value = on ? old | bit : old & ~bit;
  if (value != old) vmcs.Write(controls, value);
}

void SetMonitorTrapFlag(Vcpu& vcpu, bool on) {
  SetControl(vcpu, VmcsField::kPrimaryProcessorBasedControls,
             PrimaryProcessorBased::kMonitorTrapFlag, on);
}

void SetTimer(Vcpu& vcpu, bool on, uint32_t value) {
  SetControl(vcpu, VmcsField::kPinBasedControls, PinBased::kActivateVmxPreemptionTimer, on);
  if (on) vcpu.ports.vmcs.Write(VmcsField::kVmxPreemptionTimerValue, value);
}

bool MonitorTrapFlagIsOn(Vcpu& vcpu) {
  return (vcpu.ports.vmcs.Read(VmcsField::kPrimaryProcessorBasedControls) &
          PrimaryProcessorBased::kMonitorTrapFlag) != 0;
}

}  // namespace

void ArmExitsOfL1(Vcpu& vcpu) {
  if (HasTimer(vcpu)) {
    SetTimer(vcpu, L1UsesPreemptionTimer(vcpu), PreemptionTimerValue(vcpu));
  }
  if (HasMonitorTrapFlag(vcpu)) SetMonitorTrapFlag(vcpu, L1UsesMonitorTrapFlag(vcpu));
}

void ExitBehindEvent(Vcpu& vcpu) {
  if (HasTimer(vcpu)) {
    SetTimer(vcpu, /*on=*/true, 0);
  } else if (HasMonitorTrapFlag(vcpu)) {
    SetMonitorTrapFlag(vcpu, true);
  } else {
    SetNmiWindowExiting(vcpu, true);
  }
}

void ExitBehindInstruction(Vcpu& vcpu) {
  if (HasMonitorTrapFlag(vcpu)) {
    SetMonitorTrapFlag(vcpu, true);
  } else {
    SetNmiWindowExiting(vcpu, true);
  }
}

bool TprThresholdExitIsDue(Vcpu& vcpu) {
  constexpr unsigned kClassShift = 4;
  constexpr uint64_t kThreshold = 0xF;
  constexpr uint64_t kPrimary =
      PrimaryProcessorBased::kUseTprShadow | PrimaryProcessorBased::kActivateSecondaryControls;
  Vmcs& vmcs = vcpu.ports.vmcs;
  // Those of VMCS02: it may have to go without the virtual-APIC page.
  if ((vmcs.Read(VmcsField::kPrimaryProcessorBasedControls) & kPrimary) != kPrimary ||
      (vmcs.Read(VmcsField::kSecondaryProcessorBasedControls) &
       Secondary::kVirtualizeApicAccesses) == 0) {
    return false;
  }
  const auto activity = static_cast<ActivityState>(vmcs.Read(VmcsField::kGuestActivityState));
  return (activity == ActivityState::kActive || activity == ActivityState::kHlt) &&
         ReadVtpr(vcpu) >> kClassShift < (vmcs.Read(VmcsField::kTprThreshold) & kThreshold);
}

bool IsExitOfL0(Vcpu& vcpu, ExitReason reason) {
  // L1's own at that boundary come behind the INIT. SDM Vol. 3C, 26.5.1 "VMX-Preemption Timer",
  // 26.5.2 "Monitor Trap Flag".
  const bool init_goes_first = vcpu.state.init_latched != 0;
  switch (reason) {
    case ExitReason::kNmiWindow:
      return !L1WantsNmiWindow(vcpu) || init_goes_first;
    case ExitReason::kVmxPreemptionTimerExpired:
      return !PreemptionTimerHasExpired(vcpu) || init_goes_first;
    case ExitReason::kMonitorTrapFlag:
      if (init_goes_first) return true;
      // L1 can also inject one, with the control at 0: then L0 has not set it either.
      return !L1UsesMonitorTrapFlag(vcpu) && MonitorTrapFlagIsOn(vcpu);
    default:
      return false;
  }
}

}  // namespace nvmx
