// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_HARDWARE_ADDRESS_H_
#define NVMX_CORE_NESTED_HARDWARE_ADDRESS_H_

#include <cstdint>
#include <optional>

#include "core/nested/embedder.h"
#include "core/nested/vcpu.h"

namespace nvmx {

// The wall between L1 and L0's memory, for the addresses in VMCS12 that hardware is to use by
// itself (the virtual-APIC page, the APIC-access page, a bitmap that is used as it is): where the
// 4-KByte page that L1 calls so really lies, if EPT01 gives L1 these rights on it (EptEntry::kRead,
// kWrite). Nothing if not: hardware must not be given any address then. An answer is good until
// EPT01 changes (FollowEpt01() in nested_paging.h). `rights` is not 0.
std::optional<PhysicalAddress> TranslateForHardware(const Vcpu& vcpu, GuestPhysicalAddress page,
                                                    uint64_t rights);

// The rights of a mapping as bits of an EPT entry.
uint64_t RightsOf(const Ept01Mapping& mapping);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_HARDWARE_ADDRESS_H_
