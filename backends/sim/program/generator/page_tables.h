// SPDX-License-Identifier: Apache-2.0
//
// Paging structures and EPT paging structures of L2 that map everything to itself, to be changed.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_PAGE_TABLES_H_
#define NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_PAGE_TABLES_H_

#include <cstdint>

#include "backends/sim/program/generator/program_builder.h"
#include "backends/sim/program/generator/random.h"

namespace nvmx::sim {

// Four tables, as window offsets. The first GByte is mapped by the PD in pages of 2 MBytes, but for
// the 2 MBytes around the window of the CPU, which the PT maps in pages of 4 KBytes.
struct PageTables {
  uint64_t pml4, pdpt, pd, pt;

  // The entry of `pt` that maps the page at that window offset.
  uint64_t PteOf(const ProgramBuilder& builder, uint64_t window_offset) const;
};

// Bits of the entries: those that every entry has, and those of entries that map a page besides.
struct EntryBits {
  uint64_t table, page;
};
PageTables AddPageTables(ProgramBuilder& builder, const EntryBits& bits, const char* name);

// EPT structures with all rights, memory type WB; the value of the EPT pointer.
struct Ept {
  PageTables tables;
  uint64_t eptp;
};
Ept AddEptTables(ProgramBuilder& builder, const char* name);
// Turns EPT on with it.
void UseEpt(ProgramBuilder& builder, const Ept& ept);

// A page that L2 touches when it reads and writes data, uses its stack, takes an event, or
// translates an address: as window offset.
uint64_t SomePageOfL2(Random& random);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_PAGE_TABLES_H_
