// SPDX-License-Identifier: Apache-2.0
//
// The VMCSs that are active on a processor. What they hold is in the processor, not in memory: the
// region in memory has it when VMCLEAR was executed, or when the processor needed the place.
// Source: SDM Vol. 3C, 25.1 "Overview", 25.2 "Format of the VMCS Region", 25.11.1 "Software Use of
// Virtual-Machine Control Structures", 25.11.3 "Initializing a VMCS".
#ifndef NVMX_BACKENDS_SIM_MACHINE_VMCS_CACHE_H_
#define NVMX_BACKENDS_SIM_MACHINE_VMCS_CACHE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

#include "backends/sim/machine/memory.h"
#include "core/vmx/vmcs_image.h"

namespace nvmx::sim {

// The VMCS pointer that names no VMCS, and an empty VMCS link pointer.
inline constexpr uint64_t kNoVmcs = ~uint64_t{0};

// The first four bytes of a VMCS region: revision identifier, and whether it is a shadow VMCS.
struct VmcsHeader {
  static constexpr uint32_t kRevision = 0x7FFFFFFF;
  static constexpr uint32_t kShadow = uint32_t{1} << 31;
};

struct ActiveVmcs {
  // The slot holds the VMCS of the region at `address`. Meaningless for the slots of L0's two
  // VMCSs, which have no region.
  uint64_t in_use;
  uint64_t address;
  uint64_t launched;
  uint64_t shadow;  // it is a shadow VMCS
  // What a VMX abort wrote at byte offset 4 of the region. SDM Vol. 3C, 28.7 "VMX Aborts".
  uint64_t abort_indicator;
  VmcsImage fields;
};

// With L0 the first two are those of VMCS01 and VMCS02. Without it a processor needs two at once,
// the current one and the shadow VMCS that it links to.
inline constexpr size_t kVmcsSlots = 4;
inline constexpr size_t kSlotsOfL0 = 2;
using VmcsSlots = std::array<ActiveVmcs, kVmcsSlots>;
static_assert(std::has_unique_object_representations_v<VmcsSlots>);

// The slot of the VMCS with this region if it is active and in the processor.
std::optional<size_t> FindVmcs(const VmcsSlots& slots, uint64_t address);

// Its slot, after taking it from memory if it is not in the processor. For that the first slot from
// `first` on that is free is used, or else the first that is not `keep`, whose VMCS goes to memory.
size_t ActivateVmcs(VmcsSlots& slots, Memory& memory, uint64_t address, size_t keep,
                    size_t first = 0);

// VMCLEAR: everything goes to memory, with the launch state "clear".
void ClearVmcs(VmcsSlots& slots, Memory& memory, uint64_t address);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_VMCS_CACHE_H_
