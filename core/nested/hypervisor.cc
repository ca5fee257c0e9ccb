// SPDX-License-Identifier: Apache-2.0
#include "core/nested/hypervisor.h"

#include <utility>

#include "core/nested/boundary_exit.h"
#include "core/nested/choreography.h"
#include "core/nested/init_sipi.h"
#include "core/nested/l1_exits.h"
#include "core/nested/nested_paging.h"
#include "core/smp/nmi.h"

namespace nvmx {

void HandleVmExit(Vcpu& vcpu, RawExit raw) {
  if (raw.from() == VmcsRole::kVmcs02) {
    vcpu.choreography.HandleL2Exit(vcpu, std::move(raw));
  } else if (std::optional<ReflectableExit> exit = SettleExit(vcpu, std::move(raw))) {
    EndWaitForSipi(vcpu);
    HandleL1Exit(vcpu, *exit);
  }
  ArrangeEntry(vcpu);
}

void ArrangeEntry(Vcpu& vcpu) {
  if (vcpu.state.operation == VmxOperation::kNonRoot) ArmExitsOfL1(vcpu);
  if (vcpu.state.init_latched != 0) DeliverLatchedInit(vcpu);
  BeginWaitForSipi(vcpu);
  if (vcpu.state.operation == VmxOperation::kNonRoot) FollowEpt01(vcpu);
  vcpu.choreography.DeliverGuestNmi(vcpu);
}

void HandleHostNmi(Vcpu& vcpu) {
  SmpContext smp = vcpu.smp();
  if (SettleNmi(smp, vcpu.quiesce) == NmiOwner::kL0 && DependsOnEpt01(vcpu)) {
    vcpu.own.guest_nmis_pending.Add(vcpu.ports.cpu, kEpt01Suspected);
  }
}

}  // namespace nvmx
