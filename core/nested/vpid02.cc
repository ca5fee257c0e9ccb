// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vpid02.h"

#include "core/nested/entry_conditions.h"
#include "core/vmx/controls.h"

namespace nvmx {
namespace {

void InvalidateVpid(Vcpu& vcpu, uint16_t vpid) {
  vcpu.ports.cpu.Invalidate({.kind = Invalidation::Kind::kVpidSingleContext, .vpid = vpid});
}

// Without VPIDs the processor that runs L0 drops everything by itself at each transition.
bool HasVpids(const Vcpu& vcpu) {
  return vcpu.state.offered.SupportsSecondary(Secondary::kEnableVpid);
}

}  // namespace

uint16_t Vpid12(const VmcsImage& vmcs12) {
  return HasSecondary(vmcs12, Secondary::kEnableVpid)
             ? vmcs12.Get<VmcsField::kVirtualProcessorIdentifier>()
             : uint16_t{0};
}

void InvalidateOnTransition(Vcpu& vcpu) {
  if (!HasVpids(vcpu)) return;
  if (Vpid02(Vpid12(vcpu.state.vmcs12)) == kVpidOfL1) InvalidateVpid(vcpu, kVpidOfL1);
}

void InvalidateTranslationsOfGuest(Vcpu& vcpu) {
  if (!HasVpids(vcpu)) return;
  const bool of_l1 = vcpu.ports.vmcs.Current() == VmcsRole::kVmcs01;
  InvalidateVpid(vcpu, of_l1 ? kVpidOfL1 : Vpid02(Vpid12(vcpu.state.vmcs12)));
}

}  // namespace nvmx
