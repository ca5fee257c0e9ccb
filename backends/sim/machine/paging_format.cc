// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/paging_format.h"

#include <algorithm>

#include "core/x86/control_registers.h"
#include "core/x86/efer.h"

namespace nvmx::sim {
namespace {

// Bits 51:12, the physical address in an entry of 64 bits.
constexpr uint64_t kAddressBits = 0x000F'FFFF'FFFF'F000;
// Bits 62:52 are reserved with PAE paging and for software's use with 4-level and 5-level paging.
constexpr uint64_t kUpperBits = 0x7FF0'0000'0000'0000;
// 32-bit paging: where a PDE that maps 4 MBytes holds bits 31:22 and 39:32 of the address, and the
// bit that is always reserved. SDM Vol. 3A, table "Format of a 32-Bit Page-Directory Entry that
// Maps a 4-MByte Page".
constexpr uint64_t kPse36Low = 0xFFC0'0000;
constexpr uint64_t kPse36High = 0x001F'E000;
constexpr unsigned kPse36HighShift = 32 - 13;
constexpr unsigned kPse36Width = 40;
constexpr uint64_t kPse36Reserved = uint64_t{1} << 21;
// In a PDE or PDPTE that maps a page, bit 12 is the PAT bit.
constexpr uint64_t kLargePat = uint64_t{1} << 12;

uint64_t PdpteOf(const std::array<uint64_t, 4>& pdptes, uint64_t linear) {
  constexpr unsigned kPdpteShift = 30;
  return pdptes[linear >> kPdpteShift & 3];
}

}  // namespace

PagingMode PagingModeOf(uint64_t cr0, uint64_t cr4, uint64_t efer) {
  if ((cr0 & Cr0::kPg) == 0) return PagingMode::kNone;
  if ((cr4 & Cr4::kPae) == 0) return PagingMode::k32Bit;
  if ((efer & Efer::kLma) == 0) return PagingMode::kPae;
  return (cr4 & Cr4::kLa57) != 0 ? PagingMode::k5Level : PagingMode::k4Level;
}

PagingFormat::PagingFormat(PagingMode mode, uint64_t cr4, uint64_t efer,
                           unsigned physical_address_width)
    : mode_(mode),
      page_size_extension_((cr4 & Cr4::kPse) != 0),
      physical_address_width_(physical_address_width) {
  first_level_ = mode == PagingMode::k5Level ? 5 : mode == PagingMode::k4Level ? 4 : 2;
  const bool is_32_bit = mode == PagingMode::k32Bit;
  entry_bytes_ = is_32_bit ? 4 : 8;
  index_bits_ = is_32_bit ? 10 : 9;
  address_bits_ =
      is_32_bit ? 0xFFFF'F000 : kAddressBits & PhysicalAddressMask(physical_address_width);
  no_execute_ = !is_32_bit && (efer & Efer::kNxe) != 0 ? PagingEntry::kNoExecute : 0;
}

uint64_t PagingFormat::EntryAddress(uint64_t table, unsigned level, uint64_t linear) const {
  const uint64_t index = linear >> Shift(level) & ((uint64_t{1} << index_bits_) - 1);
  return table + index * entry_bytes_;
}

uint64_t PagingFormat::RootTable(uint64_t cr3, const std::array<uint64_t, 4>& pdptes,
                                 uint64_t linear) const {
  return (mode_ == PagingMode::kPae ? PdpteOf(pdptes, linear) : cr3) & address_bits_;
}

bool PagingFormat::HasRootTable(const std::array<uint64_t, 4>& pdptes, uint64_t linear) const {
  return mode_ != PagingMode::kPae || (PdpteOf(pdptes, linear) & PagingEntry::kPresent) != 0;
}

bool PagingFormat::MapsPage(unsigned level, uint64_t entry) const {
  if (level == 1) return true;
  if ((entry & PagingEntry::kLarge) == 0) return false;
  if (mode_ == PagingMode::k32Bit) return page_size_extension_;
  return level == 2 || level == 3;
}

bool PagingFormat::HasReservedBits(unsigned level, uint64_t entry) const {
  if (mode_ == PagingMode::k32Bit) {
    if (level == 1 || !MapsPage(level, entry)) return false;
    const unsigned width = std::min(physical_address_width_, kPse36Width);
    const uint64_t beyond = ~PhysicalAddressMask(width) >> kPse36HighShift & kPse36High;
    return (entry & (kPse36Reserved | beyond)) != 0;
  }
  uint64_t reserved = kAddressBits & ~address_bits_;
  if (mode_ == PagingMode::kPae) reserved |= kUpperBits;
  if (no_execute_ == 0) reserved |= PagingEntry::kNoExecute;
  if (level >= 4) reserved |= PagingEntry::kLarge;
  if (level > 1 && MapsPage(level, entry)) {
    reserved |= ((uint64_t{1} << Shift(level)) - 1) & ~kPageOffsetMask & ~kLargePat;
  }
  return (entry & reserved) != 0;
}

uint64_t PagingFormat::PageAddress(unsigned level, uint64_t entry) const {
  if (mode_ == PagingMode::k32Bit && level == 2) {
    return (entry & kPse36Low) | (entry & kPse36High) << kPse36HighShift;
  }
  return entry & address_bits_ & ~((uint64_t{1} << Shift(level)) - 1);
}

bool HasReservedPdpteBits(uint64_t pdpte, unsigned physical_address_width) {
  // Bits 2:1, 8:5 and 63:MAXPHYADDR.
  constexpr uint64_t kReserved = 0x1E6;
  return (pdpte & (kReserved | ~PhysicalAddressMask(physical_address_width))) != 0;
}

}  // namespace nvmx::sim
