// SPDX-License-Identifier: Apache-2.0
#include "core/nested/preemption_timer.h"

#include <limits>

#include "core/vmx/controls.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

unsigned Rate(const Vcpu& vcpu) {
  return static_cast<unsigned>(vcpu.state.offered.misc & VmxMisc::kPreemptionTimerRate);
}

// The timer goes down by 1 each time this number changes.
uint64_t TicksNow(Vcpu& vcpu) { return vcpu.ports.clock.ReadTsc() >> Rate(vcpu); }

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
  // Modulo the largest number of ticks: the TSC can pass its end before the deadline. Behind the
  // deadline the difference is more than any value of the timer.
  const uint64_t left =
      (vcpu.state.l2_timer_deadline - TicksNow(vcpu)) & ~uint64_t{0} >> Rate(vcpu);
  return left <= std::numeric_limits<uint32_t>::max() ? static_cast<uint32_t>(left) : 0;
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
