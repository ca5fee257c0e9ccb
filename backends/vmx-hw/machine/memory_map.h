// SPDX-License-Identifier: Apache-2.0
//
// Which physical addresses are RAM.
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_MEMORY_MAP_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_MEMORY_MAP_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace nvmx::metal {

// Addresses begin to end - 1.
struct AddressRange {
  uint64_t begin;
  uint64_t end;

  constexpr uint64_t size() const { return end - begin; }
  constexpr bool Contains(uint64_t address) const { return begin <= address && address < end; }
  constexpr bool Overlaps(const AddressRange& other) const {
    return begin < other.end && other.begin < end;
  }
  friend constexpr bool operator==(const AddressRange&, const AddressRange&) = default;
};

// The types that the boot loader hands on from the firmware. All but kRam are only names.
enum class MemoryKind : uint32_t { kRam = 1, kReserved = 2, kAcpi = 3, kAcpiNvs = 4, kBad = 5 };

struct MemoryRange {
  AddressRange range;
  MemoryKind kind;
  friend constexpr bool operator==(const MemoryRange&, const MemoryRange&) = default;
};

class MemoryMap {
 public:
  static constexpr size_t kMostRanges = 128;

  std::span<const MemoryRange> Ranges() const { return {ranges_.data(), count_}; }
  // False, and nothing added, if there is no more room. An empty range is left out.
  bool Add(const MemoryRange& range);

  // Whether all of the range is RAM and nothing else claims any of it.
  bool IsRam(const AddressRange& range) const;
  // The largest range of RAM around the address that one entry gives and no other claims; empty if
  // the address is not RAM.
  AddressRange RamAround(uint64_t address) const;
  // The highest range of `size` bytes, beginning at a multiple of `alignment` (a power of 2), that
  // is RAM, ends at or below `below` and overlaps none of `taken`.
  std::optional<AddressRange> FindHighest(uint64_t size, uint64_t alignment, uint64_t below,
                                          std::span<const AddressRange> taken) const;
  // Makes the range, if it is RAM, reserved: what lies in front of and behind it stays RAM. False,
  // and nothing changed, if there is no room for that.
  bool Reserve(const AddressRange& range);
  // Where RAM ends.
  uint64_t EndOfRam() const;

 private:
  size_t count_ = 0;
  std::array<MemoryRange, kMostRanges> ranges_ = {};
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_MEMORY_MAP_H_
