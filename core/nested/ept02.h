// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EPT02_H_
#define NVMX_CORE_NESTED_EPT02_H_

#include <cstdint>

#include "core/nested/ept02_tables.h"
#include "core/nested/vcpu.h"

namespace nvmx {

// EPT02: EPT12 and EPT01 one behind the other, in the form that hardware uses. A CPU keeps several,
// one for each EPT12 that its L1 used lately; each is filled page by page, as L2 touches memory. It
// is to L1 what cached guest-physical mappings are: L1 changes EPT12 and says INVEPT, and then,
// not earlier, EPT02 forgets. SDM Vol. 3C, 29.4 "Caching Translation Information".
//
// `eptp12` is a valid value of the EPT-pointer field of L1. The EPT02 in use is the one that was
// last made so; while L2 runs with EPT12, VMCS02 names it.

// Makes the EPT02 of that EPT12 the one in use, and returns the EPT pointer for VMCS02. The flags
// of EPT02 are on if those of EPT12 are, because the processor then reports and treats accesses to
// L2's paging structures as writes: 29.3.3.2 "EPT Violations".
uint64_t UseEpt02(Vcpu& vcpu, uint64_t eptp12);

// Maps a page of L2 in the EPT02 in use. If there is no page for a structure, other EPT02s go, the
// least recently used one first; then everything that this one maps.
void MapInEpt02(Vcpu& vcpu, GuestPhysicalAddress address, const Ept02Leaf& leaf);

// Forgets, in the EPT02 in use, the page that holds L2's address and caused an EPT violation: the
// processor has forgotten it already. SDM Vol. 3C, 29.4.3.1 "Operations that Invalidate Cached
// Mappings".
void DropFromEpt02(Vcpu& vcpu, GuestPhysicalAddress address);

// What INVEPT asks for: drops the EPT02s with the EP4TA of the EPT pointer, or all of them.
void DropEpt02sOf(Vcpu& vcpu, uint64_t eptp12);
void DropAllEpt02s(Vcpu& vcpu);

// Drops from all EPT02s the pages of which a byte lies in that range, and nothing else.
void DropFromEpt02sWhatLeadsTo(Vcpu& vcpu, PhysicalAddress first, uint64_t bytes);

// Drops every page of every EPT02. Unlike DropAllEpt02s() the one in use remains, and so does the
// EPT pointer of VMCS02.
void EmptyEpt02s(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EPT02_H_
