// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/acpi_for_l1.h"

#include "core/x86/address.h"

namespace nvmx::metal {
namespace {

// Where a BIOS has interrupt vectors and its own data, and where the screen begins.
constexpr AddressRange kBiosData{0, 0x500};
constexpr uint64_t kScreen = 0xA0000;

}  // namespace

std::optional<uint64_t> TakeEbdaPage(std::span<const AddressRange> taken, MemoryMap& l1_memory) {
  if (!l1_memory.IsRam({kEbdaSegmentAddress, kEbdaSegmentAddress + sizeof(uint16_t)})) {
    return std::nullopt;
  }
  const auto page = l1_memory.FindHighest(kPageSize, kPageSize, kScreen, taken);
  if (!page || page->Overlaps(kBiosData) || !l1_memory.Reserve(*page)) return std::nullopt;
  return page->begin;
}

Ebda MakeEbda(uint64_t page, const AcpiRoot& root) {
  return {MakeRsdp(root), static_cast<uint16_t>(page >> 4)};
}

}  // namespace nvmx::metal
