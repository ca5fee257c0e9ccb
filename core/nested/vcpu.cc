// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vcpu.h"

namespace nvmx {

void InitializeVcpuState(VcpuState& state, const Capabilities& offered) {
  state = VcpuState{};
  state.offered = offered;
  state.operation = VmxOperation::kOff;
  state.vmxon_region = kNoVmcs;
  state.current_vmcs = kNoVmcs;
  state.vmcs02_stale = FieldSet::All();
}

}  // namespace nvmx
