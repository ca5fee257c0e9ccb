// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vm_exit.h"

#include "core/nested/choreography.h"
#include "core/smp/nmi.h"
#include "core/vmx/interruption_info.h"

namespace nvmx {

bool IsNmiExit(Vmcs& vmcs) {
  if (vmcs.Read(VmcsField::kExitReason) != static_cast<uint64_t>(ExitReason::kExceptionOrNmi))
    return false;
  const InterruptionInformation event(
      static_cast<uint32_t>(vmcs.Read(VmcsField::kVmExitInterruptionInformation)));
  return event.valid() && event.type() == InterruptionType::kNmi;
}

std::optional<ReflectableExit> SettleExit(Vcpu& vcpu, RawExit) {
  if (IsNmiExit(vcpu.ports.vmcs)) {
    SmpContext smp = vcpu.smp();
    SettleNmi(smp, vcpu.quiesce);
    vcpu.choreography.AfterNmiExit(vcpu);
    return std::nullopt;
  }
  return ReflectableExit(static_cast<uint32_t>(vcpu.ports.vmcs.Read(VmcsField::kExitReason)));
}

}  // namespace nvmx
