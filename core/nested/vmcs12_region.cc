// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs12_region.h"

#include <cstddef>

#include "core/nested/vmcs12.h"
#include "core/nested/vmcs12_shadow.h"

namespace nvmx {
namespace {

GuestPhysicalAddress At(uint64_t region, size_t offset) {
  return GuestPhysicalAddress{region + offset};
}

}  // namespace

bool LoadVmcs12(Vcpu& vcpu, uint64_t address) {
  VcpuState& state = vcpu.state;
  WriteBackVmcs12(vcpu);
  Vmcs12Region region;
  if (!vcpu.ports.memory.ReadValue(GuestPhysicalAddress{address}, region)) return false;
  // L1 may have written anything there: no more than the fields can hold comes in.
  for (const VmcsFieldInformation& row : kVmcsFields) {
    state.vmcs12.Write(row.field, region.fields.Read(row.field));
  }
  state.vmcs12_launched = region.launched != 0;
  state.vmcs12_is_shadow = (region.revision & kShadowVmcsIndicator) != 0;
  state.vmcs02_stale = FieldSet::All();
  state.checked_controls = 0;
  state.current_vmcs = address;
  BeginShadowing(vcpu);
  return true;
}

void WriteBackVmcs12(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  if (state.current_vmcs == kNoVmcs) return;
  FetchFromShadow(vcpu);
  EndShadowing(vcpu);
  CompleteVmcs12(vcpu);
  GuestMemory& memory = vcpu.ports.memory;
  // L1 may have unmapped its own region meanwhile; then the data is lost, as on a processor.
  memory.WriteValue(At(state.current_vmcs, offsetof(Vmcs12Region, launched)),
                    state.vmcs12_launched);
  memory.WriteValue(At(state.current_vmcs, offsetof(Vmcs12Region, fields)), state.vmcs12);
  state.current_vmcs = kNoVmcs;
}

void ClearLaunchState(Vcpu& vcpu, uint64_t address) {
  vcpu.ports.memory.WriteValue(At(address, offsetof(Vmcs12Region, launched)), uint64_t{0});
}

void WriteVmxAbortIndicator(Vcpu& vcpu, VmxAbort indicator) {
  vcpu.ports.memory.WriteValue(At(vcpu.state.current_vmcs, offsetof(Vmcs12Region, abort_indicator)),
                               static_cast<uint32_t>(indicator));
}

}  // namespace nvmx
