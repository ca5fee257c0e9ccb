// SPDX-License-Identifier: Apache-2.0
//
// L1 is started as a BIOS machine would start it, and looks for the ACPI tables where a BIOS leaves
// them. UEFI firmware leaves nothing there, and L0 has to.
#ifndef NVMX_BACKENDS_VMX_HW_L0_ACPI_FOR_L1_H_
#define NVMX_BACKENDS_VMX_HW_L0_ACPI_FOR_L1_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "backends/vmx-hw/machine/acpi.h"
#include "backends/vmx-hw/machine/memory_map.h"

namespace nvmx::metal {

// A page for an extended BIOS data area that holds nothing but an RSDP: below 640 KBytes, outside
// `taken`, and no RAM of L1's any more. Nothing, and nothing changed, if there is none, or no RAM
// where the area's segment has to be written.
std::optional<uint64_t> TakeEbdaPage(std::span<const AddressRange> taken, MemoryMap& l1_memory);

// What lies in it, and at kEbdaSegmentAddress.
struct Ebda {
  std::array<std::byte, kRsdpBytes> rsdp;
  uint16_t segment;
};
Ebda MakeEbda(uint64_t page, const AcpiRoot& root);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_ACPI_FOR_L1_H_
