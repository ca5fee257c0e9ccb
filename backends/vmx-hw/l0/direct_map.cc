// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/direct_map.h"

#include <array>

#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "core/x86/address.h"

extern "C" {
extern const char image_begin[];
extern const char image_end[];
}

namespace nvmx::metal {
namespace {

constexpr uint64_t kPresentWritable = 3;
constexpr uint64_t kLarge = 0x80;
constexpr size_t kEntries = 512;
constexpr unsigned kGByteShift = 30;
constexpr size_t kLowGBytes = 4;
constexpr size_t kDirectMapEntry = (kDirectMap >> 39) % kEntries;

struct alignas(kPageSize) PageTable {
  std::array<uint64_t, kEntries> entries;
};

struct PageTables {
  PageTable root;
  PageTable low_pdpt;
  PageTable direct_pdpt;
  std::array<PageTable, kLowGBytes> low;     // with L0's own linear addresses
  std::array<PageTable, kLowGBytes> direct;  // without
};
constinit PageTables tables{};

bool Has1GBytePages() {
  constexpr uint32_t kFeatures = 0x80000001;
  return (Cpuid(kFeatures).edx & (1U << 26)) != 0;
}

// `table` is one of `tables`, which will be at layout.physical().
uint64_t PhysicalOf(const L0Layout& layout, const PageTable& table) {
  return reinterpret_cast<uintptr_t>(&table) - layout.linear_begin() + layout.physical().begin;
}

void FillTables(const L0Layout& layout) {
  const AddressRange own{layout.linear_begin(), layout.linear_begin() + layout.size()};
  for (size_t i = 0; i < kLowGBytes; ++i) {
    for (size_t entry = 0; entry < kEntries; ++entry) {
      const uint64_t address = (uint64_t{i} << kGByteShift) + entry * L0Layout::kLargePage;
      const uint64_t physical =
          own.Contains(address) ? address - own.begin + layout.physical().begin : address;
      tables.low[i].entries[entry] = physical | kPresentWritable | kLarge;
      tables.direct[i].entries[entry] = address | kPresentWritable | kLarge;
    }
    tables.low_pdpt.entries[i] = PhysicalOf(layout, tables.low[i]) | kPresentWritable;
    tables.direct_pdpt.entries[i] = PhysicalOf(layout, tables.direct[i]) | kPresentWritable;
  }
  for (size_t i = kLowGBytes; Has1GBytePages() && i < kEntries; ++i) {
    tables.direct_pdpt.entries[i] = uint64_t{i} << kGByteShift | kPresentWritable | kLarge;
  }
  tables.root.entries[0] = PhysicalOf(layout, tables.low_pdpt) | kPresentWritable;
  tables.root.entries[kDirectMapEntry] = PhysicalOf(layout, tables.direct_pdpt) | kPresentWritable;
}

}  // namespace

std::byte* AtPhysical(uint64_t physical_address) {
  return reinterpret_cast<std::byte*>(kDirectMap + physical_address);
}

AddressRange PieceAround(uint64_t) { return {0, DirectMapEnd()}; }

std::span<const uint64_t> PagingStructures() {
  return {reinterpret_cast<const uint64_t*>(&tables), sizeof tables / sizeof(uint64_t)};
}

uint64_t DirectMapEnd() {
  return uint64_t{Has1GBytePages() ? kEntries : kLowGBytes} << kGByteShift;
}

void MoveImage(const L0Layout& layout) {
  FillTables(layout);
  const char* from = image_begin;
  // Still mapped to itself.
  auto* to = reinterpret_cast<std::byte*>(layout.physical().begin);
  uint64_t bytes = static_cast<uint64_t>(image_end - image_begin);
  const uint64_t root = PhysicalOf(layout, tables.root);
  // Nothing, the stack included, may be written between the copy and the load of CR3.
  asm volatile("rep movsb\n mov %[root], %%cr3"
               : "+S"(from), "+D"(to), "+c"(bytes)
               : [root] "r"(root)
               : "memory");
}

}  // namespace nvmx::metal
