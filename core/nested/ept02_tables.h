// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EPT02_TABLES_H_
#define NVMX_CORE_NESTED_EPT02_TABLES_H_

#include <cstdint>

#include "core/nested/vcpu.h"
#include "core/vmx/ept.h"

namespace nvmx {

// The EPT paging structures of one EPT02, as a tree. Entries that refer to another structure permit
// everything; rights are in the leaves alone. Accessed and dirty flags are set beforehand: EPT02's
// own tell nobody anything. Who changes or drops an entry sees to it that the processor forgets it
// (Cpu::Invalidate) before L2 runs again.

// A structure: where it lies, and the level of its entries.
struct Ept02Table {
  PhysicalAddress address;
  unsigned level;
};

// An entry that maps a page.
struct Ept02Leaf {
  PhysicalAddress page;  // aligned as its level demands
  unsigned level;        // kEptLevelPte, kEptLevelPde or kEptLevelPdpte
  uint64_t permissions;  // bits 2:0
  uint64_t memory_type;  // bits 6:3
};

enum class Ept02Change : uint8_t {
  kDone,
  kStructureChanged,  // done, and an entry of another kind, with what was below it, had to go
  kNoPage,            // not done: a structure is missing and there is no page for it
};

// Makes the page that holds L2's address `address` map to the leaf.
Ept02Change PutEpt02Leaf(Vcpu& vcpu, Ept02Table root, GuestPhysicalAddress address,
                         const Ept02Leaf& leaf);

// Drops the page that holds L2's address, if there is one.
void DropEpt02Leaf(Vcpu& vcpu, Ept02Table root, GuestPhysicalAddress address);

// Drops all pages of which a byte lies in the `bytes` bytes of host-physical memory from `first`
// on, and the structures that are empty then; true if there were any.
bool DropEpt02LeavesTo(Vcpu& vcpu, Ept02Table root, PhysicalAddress first, uint64_t bytes);

// Drops everything below the structure, which stays, empty.
void ClearEpt02Table(Vcpu& vcpu, Ept02Table table);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EPT02_TABLES_H_
