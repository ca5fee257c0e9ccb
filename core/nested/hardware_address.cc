// SPDX-License-Identifier: Apache-2.0
#include "core/nested/hardware_address.h"

#include "core/vmx/ept.h"

namespace nvmx {

uint64_t RightsOf(const Ept01Mapping& mapping) {
  return (mapping.readable ? EptEntry::kRead : 0) | (mapping.writable ? EptEntry::kWrite : 0) |
         (mapping.executable ? EptEntry::kExecute : 0);
}

std::optional<PhysicalAddress> TranslateForHardware(const Vcpu& vcpu, GuestPhysicalAddress page,
                                                    uint64_t rights) {
  const auto width = static_cast<unsigned>(vcpu.state.offered.physical_address_width);
  if (!IsAligned(page) || !IsWithinWidth(page, kPageSize, width)) return std::nullopt;
  const Ept01Mapping mapping = vcpu.embedder.MapEpt01(vcpu, page);
  if ((rights & ~RightsOf(mapping)) != 0) return std::nullopt;
  return mapping.address;
}

}  // namespace nvmx
