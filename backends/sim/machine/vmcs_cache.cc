// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/vmcs_cache.h"

#include <span>

#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

// The format of the data in a region: this processor's own. What is before it belongs to software
// and to VMX aborts.
struct RegionData {
  uint64_t launched;
  VmcsImage fields;
};
constexpr uint64_t kDataOffset = 8;
static_assert(kDataOffset + sizeof(RegionData) <= kPageSize);

void StoreRegion(const ActiveVmcs& vmcs, Memory& memory) {
  const RegionData data{vmcs.launched, vmcs.fields};
  memory.Write(vmcs.address + kDataOffset, std::as_bytes(std::span(&data, 1)));
}

ActiveVmcs LoadRegion(const Memory& memory, uint64_t address) {
  uint32_t header = 0;
  memory.Read(address, std::as_writable_bytes(std::span(&header, 1)));
  RegionData data{};
  memory.Read(address + kDataOffset, std::as_writable_bytes(std::span(&data, 1)));
  ActiveVmcs vmcs{};
  vmcs.in_use = 1;
  vmcs.address = address;
  vmcs.launched = data.launched & 1;
  vmcs.shadow = (header & VmcsHeader::kShadow) != 0;
  // Software may have written anything there; every field stays within its width.
  for (const VmcsFieldInformation& row : kVmcsFields) {
    vmcs.fields.Write(row.field, data.fields.Read(row.field));
  }
  return vmcs;
}

size_t FreeSlot(VmcsSlots& slots, Memory& memory, size_t keep, size_t first) {
  for (size_t slot = first; slot < slots.size(); ++slot) {
    if (slots[slot].in_use == 0) return slot;
  }
  const size_t victim = first == keep ? first + 1 : first;
  StoreRegion(slots[victim], memory);
  return victim;
}

}  // namespace

std::optional<size_t> FindVmcs(const VmcsSlots& slots, uint64_t address) {
  for (size_t slot = 0; slot < slots.size(); ++slot) {
    if (slots[slot].in_use != 0 && slots[slot].address == address) return slot;
  }
  return std::nullopt;
}

size_t ActivateVmcs(VmcsSlots& slots, Memory& memory, uint64_t address, size_t keep, size_t first) {
  if (const std::optional<size_t> slot = FindVmcs(slots, address)) return *slot;
  const size_t slot = FreeSlot(slots, memory, keep, first);
  slots[slot] = LoadRegion(memory, address);
  if (LeftOpenWatch* watch = memory.watch()) watch->VmcsActivated(address);
  return slot;
}

void ClearVmcs(VmcsSlots& slots, Memory& memory, uint64_t address) {
  if (LeftOpenWatch* watch = memory.watch()) watch->VmcsCleared(address);
  if (const std::optional<size_t> slot = FindVmcs(slots, address)) {
    slots[*slot].launched = 0;
    StoreRegion(slots[*slot], memory);
    slots[*slot] = ActiveVmcs{};
    return;
  }
  const uint64_t clear = 0;
  memory.Write(address + kDataOffset + offsetof(RegionData, launched),
               std::as_bytes(std::span(&clear, 1)));
}

}  // namespace nvmx::sim
