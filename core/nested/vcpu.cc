// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vcpu.h"

#include "core/nested/tsc.h"

namespace nvmx {

void InitializeVcpuState(VcpuState& state, const Capabilities& offered) {
  state = VcpuState{};
  SetOffered(state, offered);
  state.operation = VmxOperation::kOff;
  state.vmxon_region = kNoVmcs;
  state.current_vmcs = kNoVmcs;
  state.vmcs02_stale = FieldSet::All();
  state.vmcs01_inputs.tsc_multiplier = TscView::kUnscaled;
}

void SetOffered(VcpuState& state, const Capabilities& offered) {
  state.offered = offered;
  state.offered_fields = {};
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Exists(row.field, offered)) state.offered_fields.Add(row.field);
  }
}

}  // namespace nvmx
