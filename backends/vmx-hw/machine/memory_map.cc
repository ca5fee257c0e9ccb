// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/memory_map.h"

#include <algorithm>

namespace nvmx::metal {

bool MemoryMap::Add(const MemoryRange& range) {
  if (range.range.begin >= range.range.end) return true;
  if (count_ == kMostRanges) return false;
  ranges_[count_++] = range;
  return true;
}

bool MemoryMap::IsRam(const AddressRange& range) const {
  for (const MemoryRange& r : Ranges()) {
    if (r.kind != MemoryKind::kRam && r.range.Overlaps(range)) return false;
  }
  // Ranges come in any order, and may touch or overlap.
  uint64_t covered = range.begin;
  for (bool moved = true; moved && covered < range.end;) {
    moved = false;
    for (const MemoryRange& r : Ranges()) {
      if (r.kind != MemoryKind::kRam || !r.range.Contains(covered)) continue;
      covered = r.range.end;
      moved = true;
    }
  }
  return covered >= range.end;
}

AddressRange MemoryMap::RamAround(uint64_t address) const {
  AddressRange around{address, address};
  for (const MemoryRange& r : Ranges()) {
    if (r.kind != MemoryKind::kRam || !r.range.Contains(address)) continue;
    if (r.range.size() > around.size()) around = r.range;
  }
  for (const MemoryRange& r : Ranges()) {
    if (r.kind == MemoryKind::kRam || !r.range.Overlaps(around)) continue;
    if (r.range.Contains(address)) return {address, address};
    if (r.range.begin > address) {
      around.end = r.range.begin;
    } else {
      around.begin = r.range.end;
    }
  }
  return around;
}

std::optional<AddressRange> MemoryMap::FindHighest(uint64_t size, uint64_t alignment,
                                                   uint64_t below,
                                                   std::span<const AddressRange> taken) const {
  std::optional<AddressRange> best;
  for (const MemoryRange& r : Ranges()) {
    if (r.kind != MemoryKind::kRam) continue;
    uint64_t end = std::min(r.range.end, below);
    // Each turn moves down, below whatever is in the way.
    while (end >= size) {
      const uint64_t begin = (end - size) & ~(alignment - 1);
      const AddressRange candidate{begin, begin + size};
      if (begin < r.range.begin) break;
      std::optional<uint64_t> in_the_way;
      for (const AddressRange& t : taken) {
        if (t.Overlaps(candidate)) in_the_way = t.begin;
      }
      for (const MemoryRange& other : Ranges()) {
        if (other.kind != MemoryKind::kRam && other.range.Overlaps(candidate)) {
          in_the_way = other.range.begin;
        }
      }
      if (!in_the_way) {
        if (!best || candidate.begin > best->begin) best = candidate;
        break;
      }
      end = *in_the_way;
    }
  }
  return best;
}

bool MemoryMap::Reserve(const AddressRange& range) {
  MemoryMap changed;
  bool fits = true;
  for (const MemoryRange& r : Ranges()) {
    if (r.kind != MemoryKind::kRam || !r.range.Overlaps(range)) {
      fits &= changed.Add(r);
      continue;
    }
    const uint64_t begin = std::max(r.range.begin, range.begin);
    const uint64_t end = std::min(r.range.end, range.end);
    fits &= changed.Add({{r.range.begin, begin}, MemoryKind::kRam});
    fits &= changed.Add({{begin, end}, MemoryKind::kReserved});
    fits &= changed.Add({{end, r.range.end}, MemoryKind::kRam});
  }
  if (fits) *this = changed;
  return fits;
}

uint64_t MemoryMap::EndOfRam() const {
  uint64_t end = 0;
  for (const MemoryRange& r : Ranges()) {
    if (r.kind == MemoryKind::kRam) end = std::max(end, r.range.end);
  }
  return end;
}

}  // namespace nvmx::metal
