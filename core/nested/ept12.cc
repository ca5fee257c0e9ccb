// SPDX-License-Identifier: Apache-2.0
#include "core/nested/ept12.h"

#include "core/x86/memory_type.h"

namespace nvmx {
namespace {

bool Has(const Capabilities& c, uint64_t bit) { return (c.ept_vpid_cap & bit) != 0; }

bool IsSupportedMemoryType(uint64_t type, const Capabilities& c) {
  if (type == static_cast<uint64_t>(MemoryType::kUncacheable)) {
    return Has(c, EptVpidCap::kUncacheable);
  }
  return type == static_cast<uint64_t>(MemoryType::kWriteBack) && Has(c, EptVpidCap::kWriteBack);
}

bool IsSupportedWalkLength(unsigned length, const Capabilities& c) {
  if (length == 4) return Has(c, EptVpidCap::kPageWalkLength4);
  return length == 5 && Has(c, EptVpidCap::kPageWalkLength5);
}

uint64_t BitsAboveWidth(const Capabilities& c) {
  return ~PhysicalAddressMask(static_cast<unsigned>(c.physical_address_width));
}

// Tables "Format of an EPT ...": the bits that must be 0 in a present entry.
uint64_t ReservedBits(uint64_t entry, unsigned level, const Capabilities& c) {
  constexpr uint64_t kTypeAndIgnorePat = EptEntry::kMemoryType | EptEntry::kIgnorePat;
  const uint64_t above_width = BitsAboveWidth(c) & EptEntry::kAddress;
  if (!IsEptLeaf(entry, level, c)) return above_width | kTypeAndIgnorePat | EptEntry::kLarge;
  const uint64_t offset = (uint64_t{1} << EptLevelShift(level)) - 1;
  return above_width | (offset & EptEntry::kAddress);
}

}  // namespace

bool IsValidEptp(uint64_t eptp, const Capabilities& c) {
  uint64_t reserved = Eptp::kReserved | BitsAboveWidth(c);
  if (!Has(c, EptVpidCap::kAccessedAndDirtyFlags)) reserved |= Eptp::kAccessedAndDirty;
  if (!Has(c, EptVpidCap::kSupervisorShadowStackControl)) reserved |= Eptp::kSupervisorShadowStack;
  return IsSupportedMemoryType(eptp & Eptp::kMemoryType, c) &&
         IsSupportedWalkLength(Eptp::WalkLength(eptp), c) && (eptp & reserved) == 0;
}

bool IsEptLeaf(uint64_t entry, unsigned level, const Capabilities& c) {
  if (level == kEptLevelPte) return true;
  if ((entry & EptEntry::kLarge) == 0) return false;
  return (level == kEptLevelPde && Has(c, EptVpidCap::k2MByteMapping)) ||
         (level == kEptLevelPdpte && Has(c, EptVpidCap::k1GByteMapping));
}

bool IsEptMisconfigured(uint64_t entry, unsigned level, const Capabilities& c) {
  if (!IsEptEntryPresent(entry)) return false;
  if ((entry & EptEntry::kRead) == 0) {
    if ((entry & EptEntry::kWrite) != 0 || !Has(c, EptVpidCap::kExecuteOnly)) return true;
  }
  if ((entry & ReservedBits(entry, level, c)) != 0) return true;
  return IsEptLeaf(entry, level, c) &&
         !IsValidMemoryType((entry & EptEntry::kMemoryType) >> EptEntry::kMemoryTypeShift);
}

Ept12Walk WalkEpt12(GuestMemory& memory, const Capabilities& c, uint64_t eptp,
                    GuestPhysicalAddress address, uint64_t needed) {
  Ept12Walk walk;
  unsigned level = Eptp::WalkLength(eptp);
  // Bits of the address that no index of the walk holds: an EPT violation, with nothing permitted.
  if (address.value >> (EptLevelShift(level) + kEptIndexBits) != 0) return walk;
  uint64_t table = eptp & Eptp::kAddress;
  uint64_t permissions = EptEntry::kPermissions;
  for (;; --level) {
    Ept12Walk::Step& step = walk.steps[walk.step_count++];
    step = {GuestPhysicalAddress{table + EptIndex(address.value, level) * sizeof(uint64_t)},
            ~uint64_t{0}};
    memory.ReadValue(step.address, step.entry);
    if (!IsEptEntryPresent(step.entry)) return walk;
    if (IsEptMisconfigured(step.entry, level, c)) {
      walk.result = Ept12Walk::Result::kMisconfiguration;
      return walk;
    }
    permissions &= step.entry;
    if (IsEptLeaf(step.entry, level, c)) break;
    table = step.entry & EptEntry::kAddress;
  }
  const uint64_t leaf = walk.steps[walk.step_count - 1].entry;
  const uint64_t offset = (uint64_t{1} << EptLevelShift(level)) - 1;
  walk.permissions = permissions;
  walk.block_shift = EptLevelShift(level);
  walk.address = {(leaf & EptEntry::kAddress & ~offset) | (address.value & offset)};
  walk.memory_type = leaf & (EptEntry::kMemoryType | EptEntry::kIgnorePat);
  if ((needed & ~permissions) == 0) walk.result = Ept12Walk::Result::kTranslated;
  return walk;
}

}  // namespace nvmx
