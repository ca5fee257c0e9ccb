// SPDX-License-Identifier: Apache-2.0
//
// What VMCS02 translates the addresses of L2 with.
#include "core/nested/entry_conditions.h"
#include "core/nested/ept02.h"
#include "core/nested/nested_paging.h"
#include "core/nested/vpid02.h"
#include "core/vmx/controls.h"

namespace nvmx {

uint32_t TranslationControls02(const Vcpu& vcpu, uint32_t secondary01) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  uint32_t controls = secondary01 & Secondary::kEnableEpt;
  if (HasSecondary(vmcs12, Secondary::kEnableEpt)) controls |= Secondary::kEnableEpt;
  if (vcpu.state.offered.SupportsSecondary(Secondary::kEnableVpid)) {
    controls |= Secondary::kEnableVpid;
  }
  // VMFUNC has to exit, and without the control it is an undefined opcode instead.
  if (HasSecondary(vmcs12, Secondary::kEnableVmFunctions)) {
    controls |= Secondary::kEnableVmFunctions;
  }
  return controls;
}

uint64_t ReadEptp01(Vcpu& vcpu) {
  if (HasSecondary(vcpu.state.vmcs12, Secondary::kEnableEpt)) return 0;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const bool enabled =
      (vmcs.Read(VmcsField::kPrimaryProcessorBasedControls) &
       PrimaryProcessorBased::kActivateSecondaryControls) != 0 &&
      (vmcs.Read(VmcsField::kSecondaryProcessorBasedControls) & Secondary::kEnableEpt) != 0;
  return enabled ? vmcs.Read(VmcsField::kEptPointer) : 0;
}

void PrepareTranslationForL2(Vcpu& vcpu, uint64_t eptp01) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  InvalidateOnTransition(vcpu);
  if (HasSecondary(vmcs12, Secondary::kEnableEpt)) {
    UseEpt02(vcpu, vmcs12.Get<VmcsField::kEptPointer>());
  } else if (eptp01 != 0) {
    WriteEptPointer02(vcpu, eptp01);
  }
}

void LeaveTranslationOfL2(Vcpu& vcpu) { InvalidateOnTransition(vcpu); }

}  // namespace nvmx
