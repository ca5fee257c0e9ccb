// SPDX-License-Identifier: Apache-2.0
#include "core/nested/preemption_timer.h"

#include "core/vmx/controls.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

// The timer goes down by 1 each time this number changes.
uint64_t TicksNow(Vcpu& vcpu) {
  return vcpu.ports.clock.ReadTsc() >> (vcpu.state.offered.misc & VmxMisc::kPreemptionTimerRate);
}

}  // namespace

bool L1UsesPreemptionTimer(const Vcpu& vcpu) {
  return (vcpu.state.vmcs12.Get<VmcsField::kPinBasedControls>() &
          PinBased::kActivateVmxPreemptionTimer) != 0;
}

void StartPreemptionTimer(Vcpu& vcpu) {
  if (!L1UsesPreemptionTimer(vcpu)) return;
  vcpu.state.l2_timer_deadline =
      TicksNow(vcpu) + vcpu.state.vmcs12.Get<VmcsField::kVmxPreemptionTimerValue>();
}

uint32_t PreemptionTimerValue(Vcpu& vcpu) {
  if (!L1UsesPreemptionTimer(vcpu)) return 0;
  const uint64_t now = TicksNow(vcpu);
  const uint64_t deadline = vcpu.state.l2_timer_deadline;
  return static_cast<uint32_t>(deadline > now ? deadline - now : 0);
}

bool WriteTscBesidePreemptionTimer(Vcpu& vcpu, uint64_t value) {
  const bool runs = vcpu.state.operation == VmxOperation::kNonRoot && L1UsesPreemptionTimer(vcpu);
  const uint32_t left = runs ? PreemptionTimerValue(vcpu) : 0;
  if (!vcpu.ports.cpu.WriteMsr(Index(Msr::IA32_TIME_STAMP_COUNTER), value)) return false;
  if (runs) vcpu.state.l2_timer_deadline = TicksNow(vcpu) + left;
  return true;
}

void StopPreemptionTimer(Vcpu& vcpu) {
  if (!L1UsesPreemptionTimer(vcpu)) return;
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  if ((vmcs12.Get<VmcsField::kVmExitControls>() & VmExit::kSaveVmxPreemptionTimerValue) != 0) {
    vmcs12.Set<VmcsField::kVmxPreemptionTimerValue>(PreemptionTimerValue(vcpu));
  }
  vcpu.state.l2_timer_deadline = 0;
}

}  // namespace nvmx
