// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_DIRECT_MAP_H_
#define NVMX_BACKENDS_VMX_HW_L0_DIRECT_MAP_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "backends/vmx-hw/l0/l0_layout.h"

namespace nvmx::metal {

// Physical addresses below kDirectMapEnd, once MoveImage() has returned.
inline constexpr uint64_t kDirectMap = 0xFFFF'8000'0000'0000;
std::byte* AtPhysical(uint64_t physical_address);
// The addresses around it that lie behind one another there, too.
AddressRange PieceAround(uint64_t physical_address);
// Where the direct map ends: 512 GBytes with pages of 1 GByte, else 4.
uint64_t DirectMapEnd();

// L0's paging structures, of which the processor changes accessed and dirty flags.
std::span<const uint64_t> PagingStructures();

// Copies the image to layout.physical(), and goes on there: the same linear addresses lead to it
// from now on. The image's former place is free afterwards. On the CPU that booted, before others
// run.
void MoveImage(const L0Layout& layout);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_DIRECT_MAP_H_
