// SPDX-License-Identifier: Apache-2.0
//
// For i386 there is no room for a map beside the first: linear addresses are physical addresses,
// but those that the image is linked for and those of the place that it has moved to are exchanged.
#include <algorithm>
#include <array>

#include "backends/vmx-hw/l0/direct_map.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/power.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"

extern "C" {
extern const char image_begin[];
extern const char image_end[];
}

namespace nvmx::metal {
namespace {

constexpr uint64_t kPresent = 1;
constexpr uint64_t kPresentWritableLarge = 0x83;
constexpr size_t kEntries = 512;
constexpr size_t kGBytes = 4;

struct alignas(kPageSize) PageDirectory {
  std::array<uint64_t, kEntries> entries;
};

struct PageTables {
  std::array<PageDirectory, kGBytes> directories;
  alignas(32) std::array<uint64_t, kGBytes> pdpt;  // of PAE paging
};
constinit PageTables tables{};
constinit AddressRange linked_for{};
constinit AddressRange moved_to{};

// Both ways: where the byte of a physical address is, and what a linear address leads to.
uint64_t Exchange(uint64_t address) {
  if (linked_for.Contains(address)) return address - linked_for.begin + moved_to.begin;
  if (moved_to.Contains(address)) return address - moved_to.begin + linked_for.begin;
  return address;
}

void FillTables() {
  for (size_t i = 0; i < kGBytes; ++i) {
    PageDirectory& directory = tables.directories[i];
    for (size_t entry = 0; entry < kEntries; ++entry) {
      const uint64_t address = (i * uint64_t{kEntries} + entry) * L0Layout::kLargePage;
      directory.entries[entry] = Exchange(address) | kPresentWritableLarge;
    }
    tables.pdpt[i] = Exchange(reinterpret_cast<uintptr_t>(&directory)) | kPresent;
  }
}

}  // namespace

std::byte* AtPhysical(uint64_t physical_address) {
  return reinterpret_cast<std::byte*>(static_cast<uintptr_t>(Exchange(physical_address)));
}

AddressRange PieceAround(uint64_t physical_address) {
  AddressRange piece{0, DirectMapEnd()};
  for (const AddressRange& exchanged : {linked_for, moved_to}) {
    if (exchanged.Contains(physical_address)) return exchanged;
    if (exchanged.begin > physical_address) {
      piece.end = std::min(piece.end, exchanged.begin);
    } else {
      piece.begin = std::max(piece.begin, exchanged.end);
    }
  }
  return piece;
}

std::span<const uint64_t> PagingStructures() {
  return {reinterpret_cast<const uint64_t*>(&tables), sizeof tables / sizeof(uint64_t)};
}

uint64_t DirectMapEnd() { return uint64_t{1} << 32; }

void MoveImage(const L0Layout& layout) {
  linked_for = {layout.linear_begin(), layout.linear_begin() + layout.size()};
  moved_to = layout.physical();
  if (linked_for.Overlaps(moved_to)) Stop("there is too little memory to move L0");
  FillTables();
  const char* from = image_begin;
  auto* to = reinterpret_cast<std::byte*>(static_cast<uintptr_t>(moved_to.begin));
  auto bytes = static_cast<uintptr_t>(image_end - image_begin);
  const auto root = static_cast<uintptr_t>(Exchange(reinterpret_cast<uintptr_t>(&tables.pdpt)));
  const uintptr_t cr4 = ReadCr4() | static_cast<uintptr_t>(Cr4::kPae);
  uintptr_t cr0 = ReadCr0() | static_cast<uintptr_t>(Cr0::kPg);
  // Nothing, the stack included, may be written between the copy and the load of CR0, which holds
  // no operand in memory.
  asm volatile(
      "mov %[root], %%cr3\n"
      "mov %[cr4], %%cr4\n"
      "rep movsb\n"
      "mov %[cr0], %%cr0"
      : "+S"(from), "+D"(to), "+c"(bytes)
      : [root] "r"(root), [cr4] "r"(cr4), [cr0] "r"(cr0)
      : "memory");
}

}  // namespace nvmx::metal
