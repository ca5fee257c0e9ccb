// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vm_exit.h"

#include "core/nested/choreography.h"
#include "core/smp/nmi.h"
#include "core/vmx/interruption_info.h"

namespace nvmx {

namespace {

bool IsNmi(Vmcs& vmcs, uint64_t exit_reason) {
  if (exit_reason != static_cast<uint64_t>(ExitReason::kExceptionOrNmi)) return false;
  const InterruptionInformation event(
      static_cast<uint32_t>(vmcs.Read(VmcsField::kVmExitInterruptionInformation)));
  return event.valid() && event.type() == InterruptionType::kNmi;
}

}  // namespace

bool IsNmiExit(Vmcs& vmcs) { return IsNmi(vmcs, vmcs.Read(VmcsField::kExitReason)); }

std::optional<ReflectableExit> SettleExit(Vcpu& vcpu, RawExit) {
  const uint64_t reason = vcpu.ports.vmcs.Read(VmcsField::kExitReason);
  if (IsNmi(vcpu.ports.vmcs, reason)) {
    SmpContext smp = vcpu.smp();
    SettleNmi(smp, vcpu.quiesce);
    vcpu.choreography.AfterNmiExit(vcpu);
    return std::nullopt;
  }
  return ReflectableExit(static_cast<uint32_t>(reason));
}

}  // namespace nvmx
