// SPDX-License-Identifier: Apache-2.0
#include "core/nested/boundary_exit.h"

#include "core/nested/guest_nmi.h"
#include "core/nested/preemption_timer.h"
#include "core/vmx/controls.h"

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

bool IsExitOfL0(Vcpu& vcpu, ExitReason reason) {
  switch (reason) {
    case ExitReason::kNmiWindow:
      return !L1WantsNmiWindow(vcpu);
    case ExitReason::kVmxPreemptionTimerExpired:
      return !PreemptionTimerHasExpired(vcpu);
    case ExitReason::kMonitorTrapFlag:
      // L1 can also inject one, with the control at 0: then L0 has not set it either.
      return !L1UsesMonitorTrapFlag(vcpu) && MonitorTrapFlagIsOn(vcpu);
    default:
      return false;
  }
}

}  // namespace nvmx
