// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VPID02_H_
#define NVMX_CORE_NESTED_VPID02_H_

#include <cstdint>

#include "core/nested/vcpu.h"

namespace nvmx {

// The VPIDs that hardware uses. L1 believes that it and an L2 without VPID run with VPID 0000H, and
// may give any other to an L2. L0 keeps 0000H for itself, so one value has to serve twice: L1's own
// is FFFFH, and every VPID of L1's stands for itself. No mapping has to be remembered; the price is
// that an L2 with VPID FFFFH is treated as one without, whose cached translations every VM entry
// and VM exit drops. That is allowed for any VPID at any time. SDM Vol. 3C, 29.1 "Virtual Processor
// Identifiers (VPIDs)", 29.4.3.1 "Operations that Invalidate Cached Mappings".

// What VMCS01 has, if it enables VPIDs.
inline constexpr uint16_t kVpidOfL1 = 0xFFFF;

// What VMCS02 has for a VMCS12 with that VPID, 0 if VMCS12 does not enable VPIDs.
constexpr uint16_t Vpid02(uint16_t vpid12) { return vpid12 == 0 ? kVpidOfL1 : vpid12; }

// The VPID that VMCS12 runs L2 with: 0 if it does not enable VPIDs.
uint16_t Vpid12(const VmcsImage& vmcs12);

// Drops the cached translations that a VM entry with VMCS12, or a VM exit, drops on a processor:
// those of VPID 0000H, which are L1's and an L2's that has no VPID of its own, if VMCS12 does not
// enable VPIDs.
void InvalidateOnTransition(Vcpu& vcpu);

// Drops all cached linear and combined mappings of the guest of the current VMCS. For whoever
// emulates an instruction of L1 or L2 that does so on a processor, such as a MOV to CR4.
void InvalidateTranslationsOfGuest(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VPID02_H_
