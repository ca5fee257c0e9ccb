// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_conditions.h"
#include "core/nested/ept02.h"
#include "core/nested/ept12.h"
#include "core/nested/nested_paging.h"
#include "core/vmx/controls.h"
#include "core/x86/general_register.h"

namespace nvmx {
namespace {

constexpr uint32_t kEptpSwitchingFunction = 0;

uint32_t Low32(const Vcpu& vcpu, GeneralRegister name) {
  return static_cast<uint32_t>(vcpu.state.registers[static_cast<size_t>(name)]);
}

// The entry of L1's list; all ones, which is no valid EPT pointer, where no memory answers.
uint64_t EptpListEntry(Vcpu& vcpu, uint64_t index) {
  const uint64_t list = vcpu.state.vmcs12.Get<VmcsField::kEptpListAddress>();
  uint64_t eptp = ~uint64_t{0};
  vcpu.ports.memory.ReadValue(GuestPhysicalAddress{list + index * sizeof eptp}, eptp);
  return eptp;
}

// SDM Vol. 3C, 26.5.6.3 "EPTP Switching".
bool SwitchEptp(Vcpu& vcpu) {
  const uint64_t index = Low32(vcpu, GeneralRegister::kRcx);
  if (index >= kEptpListEntries) return false;
  const uint64_t eptp = EptpListEntry(vcpu, index);
  if (!IsValidEptp(eptp, vcpu.state.offered)) return false;
  vcpu.state.vmcs12.Set<VmcsField::kEptPointer>(eptp);
  vcpu.ports.vmcs.Write(VmcsField::kEptPointer, UseEpt02(vcpu, eptp));
  return true;
}

}  // namespace

bool HandleVmfuncOfL2(Vcpu& vcpu) {
  const uint32_t function = Low32(vcpu, GeneralRegister::kRax);
  const uint64_t enabled = vcpu.state.vmcs12.Get<VmcsField::kVmFunctionControls>();
  if (function != kEptpSwitchingFunction || (enabled & VmFunction::kEptpSwitching) == 0) {
    return false;
  }
  return SwitchEptp(vcpu);
}

}  // namespace nvmx
