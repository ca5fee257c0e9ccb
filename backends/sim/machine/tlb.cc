// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/tlb.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kKindMask = 0xFFF;
constexpr size_t kFirstBuckets = 64;

constexpr uint64_t FirstByte(uint64_t address, unsigned shift) { return address >> shift << shift; }

bool IsOfLinear(const MappingTag& tag) {
  const uint64_t kind = tag.space & kKindMask;
  return kind == MappingTag::kLinear || kind == MappingTag::kCombined;
}
bool HasEp4ta(const MappingTag& tag) { return (tag.space & kKindMask) != MappingTag::kLinear; }
uint16_t VpidOf(const MappingTag& tag) { return static_cast<uint16_t>(tag.context >> 16); }
uint16_t PcidOf(const MappingTag& tag) { return static_cast<uint16_t>(tag.context); }

}  // namespace

Tlb::Tlb() : buckets_(kFirstBuckets, kNone) {}

size_t Tlb::BucketOf(uint64_t space, uint64_t address) const {
  // The PCID is left out: global mappings are found under any. Multiplication carries upwards, so
  // that the bits on top depend on all of both.
  constexpr uint64_t kOdd = 0x9E37'79B9'7F4A'7C15;
  const uint64_t mixed = ((address >> 12) * kOdd ^ space) * kOdd;
  return (mixed >> 32) & (buckets_.size() - 1);
}

const Mapping* Tlb::Find(MappingTag tag, uint64_t address) const {
  const uint32_t index = FindIndex(tag, address);
  return index == kNone ? nullptr : &entries_[index].mapping;
}

uint32_t Tlb::FindIndex(MappingTag tag, uint64_t address) const {
  const auto& counts = counts_[tag.space & kKindMask];
  for (size_t size = 0; size < counts.size(); ++size) {
    if (counts[size] == 0) continue;
    const uint8_t shift = kPageShifts[size];
    const uint64_t first = FirstByte(address, shift);
    for (uint32_t i = buckets_[BucketOf(tag.space, first)]; i != kNone; i = entries_[i].next) {
      const Entry& entry = entries_[i];
      if (entry.address != first || entry.tag.space != tag.space) continue;
      if (entry.mapping.page_shift != shift) continue;
      if (entry.tag.context == tag.context) return i;
      if (entry.mapping.global && VpidOf(entry.tag) == VpidOf(tag)) return i;
    }
  }
  return kNone;
}

void Tlb::Insert(MappingTag tag, uint64_t address, const Mapping& mapping) {
  Drop(tag, address);
  if (entries_.size() == buckets_.size()) Grow();
  entries_.push_back({tag, FirstByte(address, mapping.page_shift), mapping, kNone});
  Link(static_cast<uint32_t>(entries_.size() - 1));
  ++CountOf(entries_.back());
}

uint32_t& Tlb::CountOf(const Entry& entry) {
  size_t size = 0;
  while (kPageShifts[size] != entry.mapping.page_shift) ++size;
  return counts_[entry.tag.space & kKindMask][size];
}

void Tlb::Drop(MappingTag tag, uint64_t address) {
  for (uint32_t i = FindIndex(tag, address); i != kNone; i = FindIndex(tag, address)) Remove(i);
}

void Tlb::Link(uint32_t index) {
  Entry& entry = entries_[index];
  uint32_t& head = buckets_[BucketOf(entry.tag.space, entry.address)];
  entry.next = head;
  head = index;
}

void Tlb::Unlink(uint32_t index) {
  const Entry& entry = entries_[index];
  uint32_t* link = &buckets_[BucketOf(entry.tag.space, entry.address)];
  while (*link != index) link = &entries_[*link].next;
  *link = entry.next;
}

void Tlb::Remove(uint32_t index) {
  --CountOf(entries_[index]);
  Unlink(index);
  const auto last = static_cast<uint32_t>(entries_.size() - 1);
  if (index != last) {
    Unlink(last);
    entries_[index] = entries_[last];
    Link(index);
  }
  entries_.pop_back();
}

void Tlb::Grow() {
  buckets_.assign(2 * buckets_.size(), kNone);
  for (uint32_t i = 0; i < entries_.size(); ++i) Link(i);
}

template <typename Predicate>
void Tlb::DropIf(Predicate matches) {
  // From the end: what Remove() moves into a gap has been looked at.
  for (auto i = static_cast<uint32_t>(entries_.size()); i-- > 0;) {
    if (matches(entries_[i])) Remove(i);
  }
}

// INVLPG drops all of a large page whose translation is cached in smaller pieces. SDM Vol. 3A,
// 5.10.2.3 "Details of TLB Use".
void Tlb::DropPage(uint16_t vpid, uint16_t pcid, uint64_t linear) {
  DropIf([=](const Entry& entry) {
    const unsigned shift = entry.mapping.paging_shift;
    return IsOfLinear(entry.tag) && VpidOf(entry.tag) == vpid &&
           (PcidOf(entry.tag) == pcid || entry.mapping.global) &&
           entry.address >> shift == linear >> shift;
  });
}

void Tlb::DropPageOfPcid(uint16_t vpid, uint16_t pcid, uint64_t linear) {
  DropIf([=](const Entry& entry) {
    const unsigned shift = entry.mapping.paging_shift;
    return IsOfLinear(entry.tag) && VpidOf(entry.tag) == vpid && PcidOf(entry.tag) == pcid &&
           !entry.mapping.global && entry.address >> shift == linear >> shift;
  });
}

void Tlb::DropPageOfVpid(uint16_t vpid, uint64_t linear) {
  DropIf([=](const Entry& entry) {
    const unsigned shift = entry.mapping.paging_shift;
    return IsOfLinear(entry.tag) && VpidOf(entry.tag) == vpid &&
           entry.address >> shift == linear >> shift;
  });
}

void Tlb::DropPcid(uint16_t vpid, uint16_t pcid) {
  DropIf([=](const Entry& entry) {
    return IsOfLinear(entry.tag) && VpidOf(entry.tag) == vpid && PcidOf(entry.tag) == pcid &&
           !entry.mapping.global;
  });
}

void Tlb::DropVpid(uint16_t vpid, bool retain_globals) {
  DropIf([=](const Entry& entry) {
    return IsOfLinear(entry.tag) && VpidOf(entry.tag) == vpid &&
           !(retain_globals && entry.mapping.global);
  });
}

void Tlb::DropAllVpids() {
  DropIf([](const Entry& entry) { return IsOfLinear(entry.tag) && VpidOf(entry.tag) != 0; });
}

void Tlb::DropGuestPhysical(uint64_t ep4ta, uint64_t guest_physical) {
  Drop(MappingTag::GuestPhysical(ep4ta), guest_physical);
  Drop(MappingTag::EptTable(ep4ta), guest_physical);
}

void Tlb::DropEp4ta(uint64_t ep4ta) {
  DropIf([=](const Entry& entry) {
    return HasEp4ta(entry.tag) && (entry.tag.space & ~kKindMask) == ep4ta;
  });
}

void Tlb::DropAllEp4tas() {
  DropIf([](const Entry& entry) { return HasEp4ta(entry.tag); });
}

void Tlb::Clear() {
  for (const Entry& entry : entries_) {
    buckets_[BucketOf(entry.tag.space, entry.address)] = kNone;
  }
  entries_.clear();
  counts_ = {};
}

}  // namespace nvmx::sim
