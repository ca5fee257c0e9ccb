// SPDX-License-Identifier: Apache-2.0
#include "core/nested/ept02_tables.h"

#include <algorithm>

#include "core/nested/ept02_pages.h"
#include "core/nested/ept12.h"

namespace nvmx {
namespace {

bool IsLeaf(uint64_t entry, unsigned level) {
  return IsEptEntryPresent(entry) && (level == kEptLevelPte || (entry & EptEntry::kLarge) != 0);
}

bool RefersToTable(uint64_t entry, unsigned level) {
  return IsEptEntryPresent(entry) && !IsLeaf(entry, level);
}

Ept02Table TableBelow(uint64_t entry, unsigned level) {
  return {PhysicalAddress{entry & EptEntry::kAddress}, level - 1};
}

uint64_t& EntryFor(Vcpu& vcpu, Ept02Table table, GuestPhysicalAddress address) {
  return vcpu.host_pages.At(table.address).words[EptIndex(address.value, table.level)];
}

// The entry is none any more; what it referred to is free.
void DropEntry(Vcpu& vcpu, uint64_t& entry, unsigned level) {
  if (RefersToTable(entry, level)) {
    const Ept02Table below = TableBelow(entry, level);
    ClearEpt02Table(vcpu, below);
    FreeEpt02Page(vcpu, below.address);
  }
  entry = 0;
}

uint64_t MakeLeafEntry(const Ept02Leaf& leaf) {
  return leaf.page.value | leaf.permissions | leaf.memory_type | EptEntry::kAccessed |
         EptEntry::kDirty | (leaf.level == kEptLevelPte ? 0 : EptEntry::kLarge);
}

uint64_t MakeTableEntry(PhysicalAddress table) {
  return table.value | EptEntry::kPermissions | EptEntry::kAccessed;
}

bool IsEmpty(Vcpu& vcpu, Ept02Table table) {
  const auto& words = vcpu.host_pages.At(table.address).words;
  return std::all_of(words.begin(), words.end(), [](uint64_t entry) { return entry == 0; });
}

// Whether [page, page + 2^shift) and [first, first + bytes) have a byte in common.
bool Intersects(uint64_t page, unsigned shift, PhysicalAddress first, uint64_t bytes) {
  const uint64_t last_of_page = page + ((uint64_t{1} << shift) - 1);
  return bytes != 0 && page <= first.value + (bytes - 1) && first.value <= last_of_page;
}

}  // namespace

Ept02Change PutEpt02Leaf(Vcpu& vcpu, Ept02Table root, GuestPhysicalAddress address,
                         const Ept02Leaf& leaf) {
  bool structure_changed = false;
  Ept02Table table = root;
  while (table.level > leaf.level) {
    uint64_t& entry = EntryFor(vcpu, table, address);
    if (!RefersToTable(entry, table.level)) {
      const std::optional<PhysicalAddress> page = AllocateEpt02Page(vcpu);
      if (!page) return Ept02Change::kNoPage;
      structure_changed |= entry != 0;
      entry = MakeTableEntry(*page);
    }
    table = TableBelow(entry, table.level);
  }
  uint64_t& entry = EntryFor(vcpu, table, address);
  if (RefersToTable(entry, table.level)) {
    DropEntry(vcpu, entry, table.level);
    structure_changed = true;
  }
  entry = MakeLeafEntry(leaf);
  return structure_changed ? Ept02Change::kStructureChanged : Ept02Change::kDone;
}

void DropEpt02Leaf(Vcpu& vcpu, Ept02Table root, GuestPhysicalAddress address) {
  Ept02Table table = root;
  while (RefersToTable(EntryFor(vcpu, table, address), table.level)) {
    table = TableBelow(EntryFor(vcpu, table, address), table.level);
  }
  EntryFor(vcpu, table, address) = 0;
}

bool DropEpt02LeavesTo(Vcpu& vcpu, Ept02Table root, PhysicalAddress first, uint64_t bytes) {
  bool dropped = false;
  for (uint64_t& entry : vcpu.host_pages.At(root.address).words) {
    if (IsLeaf(entry, root.level)) {
      if (!Intersects(entry & EptEntry::kAddress, EptLevelShift(root.level), first, bytes)) {
        continue;
      }
      entry = 0;
      dropped = true;
    } else if (RefersToTable(entry, root.level)) {
      const Ept02Table below = TableBelow(entry, root.level);
      if (!DropEpt02LeavesTo(vcpu, below, first, bytes)) continue;
      dropped = true;
      if (IsEmpty(vcpu, below)) DropEntry(vcpu, entry, root.level);
    }
  }
  return dropped;
}

void ClearEpt02Table(Vcpu& vcpu, Ept02Table table) {
  for (uint64_t& entry : vcpu.host_pages.At(table.address).words) {
    if (entry != 0) DropEntry(vcpu, entry, table.level);
  }
}

}  // namespace nvmx
