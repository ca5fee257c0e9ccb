// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/ept_walk.h"

#include "core/vmx/ept.h"
#include "core/x86/address.h"
#include "core/x86/memory_type.h"

namespace nvmx::sim {
namespace {

constexpr unsigned kIndexBits = 9;
constexpr unsigned kPageTableLevel = 1;
constexpr unsigned kDirectoryLevel = 2;         // an entry can map 2 MBytes
constexpr unsigned kDirectoryPointerLevel = 3;  // an entry can map 1 GByte

// Bits of an entry that hold an address, whatever the physical-address width.
constexpr uint64_t kAddressBits = 0x000F'FFFF'FFFF'F000;

constexpr unsigned ShiftOf(unsigned level) { return kPageShift + kIndexBits * (level - 1); }

bool MapsPage(unsigned level, uint64_t entry) {
  return level == kPageTableLevel || (level <= kDirectoryPointerLevel && entry & EptEntry::kLarge);
}

bool SupportsLargePage(const Capabilities& capabilities, unsigned level) {
  switch (level) {
    case kDirectoryLevel:
      return (capabilities.ept_vpid_cap & EptVpidCap::k2MByteMapping) != 0;
    case kDirectoryPointerLevel:
      return (capabilities.ept_vpid_cap & EptVpidCap::k1GByteMapping) != 0;
    default:
      return false;
  }
}

// The bits that must be 0. SDM Vol. 3C, 29.3.2, the tables "Format of an EPT ... Entry".
uint64_t ReservedBits(const Capabilities& capabilities, unsigned level, uint64_t entry) {
  const auto width = static_cast<unsigned>(capabilities.physical_address_width);
  const uint64_t beyond_width = kAddressBits & ~PhysicalAddressMask(width);
  if (level == kPageTableLevel) return beyond_width;
  if (MapsPage(level, entry) && SupportsLargePage(capabilities, level)) {
    const uint64_t below_page = ((uint64_t{1} << ShiftOf(level)) - 1) & ~kPageOffsetMask;
    return beyond_width | below_page;
  }
  // Bits 7:3; with bit 7 an entry that maps a page where that is not supported.
  return beyond_width | EptEntry::kMemoryType | EptEntry::kIgnorePat | EptEntry::kLarge;
}

}  // namespace

EptPosition EptRoot(uint64_t eptp) {
  const uint64_t length = ((eptp & Eptp::kWalkLength) >> Eptp::kWalkLengthShift) + 1;
  return {Eptp::Ep4ta(eptp), static_cast<unsigned>(length), EptEntry::kPermissions};
}

bool IsEptMisconfigured(const Capabilities& capabilities, unsigned level, uint64_t entry) {
  if ((entry & EptEntry::kRead) == 0) {
    if ((entry & EptEntry::kWrite) != 0) return true;
    const bool execute_only = (capabilities.ept_vpid_cap & EptVpidCap::kExecuteOnly) != 0;
    if ((entry & EptEntry::kExecute) != 0 && !execute_only) return true;
  }
  if ((entry & ReservedBits(capabilities, level, entry)) != 0) return true;
  return MapsPage(level, entry) &&
         !IsValidMemoryType((entry & EptEntry::kMemoryType) >> EptEntry::kMemoryTypeShift);
}

EptWalk WalkEpt(const Memory& memory, const Capabilities& capabilities, EptPosition from,
                uint64_t guest_physical) {
  EptWalk walk;
  walk.permissions = from.permissions;
  // A table of level n is reached with the address bits below its reach: those of a guest-physical
  // address beyond it have no translation.
  const unsigned reach = ShiftOf(from.level) + kIndexBits;
  if ((guest_physical & ~kPageOffsetMask) >> reach != 0 && from.level >= 4) {
    walk.permissions = 0;
    return walk;
  }
  EptPosition position = from;
  for (;; --position.level) {
    const unsigned shift = ShiftOf(position.level);
    const uint64_t index = guest_physical >> shift & ((1U << kIndexBits) - 1);
    const uint64_t address = position.table + index * sizeof(uint64_t);
    const auto entry = memory.Load<uint64_t>(address);
    walk.last_table = position;
    walk.entries[walk.count++] = {address, entry};
    walk.permissions &= entry;
    if ((entry & EptEntry::kPermissions) == 0) return walk;
    if (IsEptMisconfigured(capabilities, position.level, entry)) {
      walk.end = EptWalk::End::kMisconfiguration;
      return walk;
    }
    if (MapsPage(position.level, entry)) {
      walk.end = EptWalk::End::kPage;
      walk.page_shift = shift;
      walk.page = entry & kAddressBits & ~((uint64_t{1} << shift) - 1);
      return walk;
    }
    position.table = entry & kAddressBits;
    position.permissions = walk.permissions;
  }
}

}  // namespace nvmx::sim
