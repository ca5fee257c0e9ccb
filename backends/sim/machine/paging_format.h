// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_PAGING_FORMAT_H_
#define NVMX_BACKENDS_SIM_MACHINE_PAGING_FORMAT_H_

#include <array>
#include <cstdint>

#include "core/x86/address.h"

namespace nvmx::sim {

// SDM Vol. 3A, 5.1.1 "Four Paging Modes".
enum class PagingMode : uint8_t { kNone, k32Bit, kPae, k4Level, k5Level };

PagingMode PagingModeOf(uint64_t cr0, uint64_t cr4, uint64_t efer);

// Bits of a paging-structure entry that mean the same in all modes that have them. SDM Vol. 3A, 5.3
// "32-Bit Paging", 5.4 "PAE Paging", 5.5 "4-Level Paging and 5-Level Paging".
struct PagingEntry {
  static constexpr uint64_t kPresent = uint64_t{1} << 0;
  static constexpr uint64_t kWritable = uint64_t{1} << 1;
  static constexpr uint64_t kUser = uint64_t{1} << 2;
  static constexpr uint64_t kAccessed = uint64_t{1} << 5;
  static constexpr uint64_t kDirty = uint64_t{1} << 6;
  static constexpr uint64_t kLarge = uint64_t{1} << 7;
  static constexpr uint64_t kGlobal = uint64_t{1} << 8;
  static constexpr uint64_t kNoExecute = uint64_t{1} << 63;
};

// How the entries of one paging mode are read, under the CR4 and IA32_EFER of the moment. Levels
// are counted from the page table, which is 1, to the PML5 table, which is 5. The four PDPTEs of
// PAE paging are registers and not meant here: that walk begins at level 2.
class PagingFormat {
 public:
  // `mode` is not kNone.
  PagingFormat(PagingMode mode, uint64_t cr4, uint64_t efer, unsigned physical_address_width);

  unsigned first_level() const { return first_level_; }
  unsigned entry_bytes() const { return entry_bytes_; }
  // log2 of the bytes that an entry of the level covers.
  unsigned Shift(unsigned level) const { return kPageShift + index_bits_ * (level - 1); }
  // The physical address of the entry in the table.
  uint64_t EntryAddress(uint64_t table, unsigned level, uint64_t linear) const;
  // The address of the first table, which CR3 or the PDPTE holds.
  uint64_t RootTable(uint64_t cr3, const std::array<uint64_t, 4>& pdptes, uint64_t linear) const;
  // Whether there is one: with PAE paging a PDPTE can be marked not present.
  bool HasRootTable(const std::array<uint64_t, 4>& pdptes, uint64_t linear) const;

  // Of an entry with the present bit set.
  bool HasReservedBits(unsigned level, uint64_t entry) const;
  bool MapsPage(unsigned level, uint64_t entry) const;
  // The physical address of the page or of the next table.
  uint64_t PageAddress(unsigned level, uint64_t entry) const;
  uint64_t TableAddress(uint64_t entry) const { return entry & address_bits_; }
  bool ForbidsExecution(uint64_t entry) const { return (entry & no_execute_) != 0; }

 private:
  PagingMode mode_;
  bool page_size_extension_;
  unsigned physical_address_width_;
  unsigned first_level_;
  unsigned entry_bytes_;
  unsigned index_bits_;
  uint64_t address_bits_;  // of an entry, up to the physical-address width
  uint64_t no_execute_;    // bit 63 if IA32_EFER.NXE gives it a meaning
};

// Whether a present PDPTE of PAE paging has a reserved bit set. SDM Vol. 3A, 5.4.1 "PDPTE
// Registers".
bool HasReservedPdpteBits(uint64_t pdpte, unsigned physical_address_width);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PAGING_FORMAT_H_
