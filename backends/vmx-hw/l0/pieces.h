// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_PIECES_H_
#define NVMX_BACKENDS_VMX_HW_L0_PIECES_H_

#include <algorithm>
#include <cstdint>

#include "backends/vmx-hw/l0/l0_layout.h"

namespace nvmx::metal {

// Calls visit(offset, bytes) for the parts of the range of `bytes` bytes from the physical address
// on that lie in one large page each: as far as AtPhysical() says where they are.
template <typename Visit>
void ForEachPiece(uint64_t address, uint64_t bytes, const Visit& visit) {
  for (uint64_t offset = 0; offset < bytes;) {
    const uint64_t to_next = L0Layout::kLargePage - (address + offset) % L0Layout::kLargePage;
    const uint64_t piece = std::min(to_next, bytes - offset);
    visit(offset, piece);
    offset += piece;
  }
}

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_PIECES_H_
