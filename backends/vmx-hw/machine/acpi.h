// SPDX-License-Identifier: Apache-2.0
//
// The local APICs of the machine, by the firmware's tables. ACPI Specification 6.5, 5.2.5 "Root
// System Description Pointer (RSDP)", 5.2.12 "Multiple APIC Description Table (MADT)".
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_ACPI_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_ACPI_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "backends/vmx-hw/machine/physical_memory.h"

namespace nvmx::metal {

struct ApicIds {
  static constexpr size_t kMost = 64;
  size_t found = 0;  // may be more than are kept
  std::array<uint32_t, kMost> kept = {};

  std::span<const uint32_t> view() const { return {kept.data(), found < kMost ? found : kMost}; }
};

// The APIC ids of all enabled CPUs in the order of the MADT; none if there is no such table or a
// checksum is wrong.
ApicIds FindApicIds(const PhysicalMemory& memory);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_ACPI_H_
