// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_ACCESS_RIGHTS_H_
#define NVMX_BACKENDS_SIM_MACHINE_ACCESS_RIGHTS_H_

#include <cstdint>

#include "backends/sim/machine/tlb.h"
#include "backends/sim/machine/translation.h"

namespace nvmx::sim {

// Whether paging allows the access to a page with these rights. SDM Vol. 3A, 5.6.1 "Determination
// of Access Rights".
bool PagingAllows(const TranslationContext& context, const Mapping& page, AccessKind kind);

// The error code of a page fault; P and RSVD are the caller's. SDM Vol. 3A, 5.7 "Page-Fault
// Exceptions".
uint32_t PageFaultErrorCodeOf(const TranslationContext& context, AccessKind kind);

// The permission of EPT that the access needs: one of bits 2:0 of an entry.
uint64_t EptPermissionFor(AccessKind kind);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_ACCESS_RIGHTS_H_
