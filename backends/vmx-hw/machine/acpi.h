// SPDX-License-Identifier: Apache-2.0
//
// The local APICs of the machine, by the firmware's tables. ACPI Specification 6.5, 5.2.5 "Root
// System Description Pointer (RSDP)", 5.2.12 "Multiple APIC Description Table (MADT)".
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_ACPI_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_ACPI_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "backends/vmx-hw/machine/physical_memory.h"

namespace nvmx::metal {

struct ApicIds {
  static constexpr size_t kMost = 64;
  size_t found = 0;  // may be more than are kept
  std::array<uint32_t, kMost> kept = {};
  // Why none was found, and the physical address of the table at which the search ended, 0 if it
  // got to none.
  std::string_view problem;
  uint64_t table = 0;

  std::span<const uint32_t> view() const { return {kept.data(), found < kMost ? found : kMost}; }
};

// The physical addresses of the tables that name all others; 0 for one that there is not.
struct AcpiRoot {
  uint32_t rsdt = 0;
  uint64_t xsdt = 0;
};

// What the RSDP at the address says; nothing if there is none or its checksum is wrong.
std::optional<AcpiRoot> ReadRsdp(const PhysicalMemory& memory, uint64_t address);
// What the one says that a BIOS leaves in the first MByte. UEFI firmware leaves none there.
std::optional<AcpiRoot> FindAcpiRoot(const PhysicalMemory& memory);

// An RSDP of revision 2.
inline constexpr size_t kRsdpBytes = 36;
std::array<std::byte, kRsdpBytes> MakeRsdp(const AcpiRoot& root);
// Where FindAcpiRoot() looks first: the word there is the segment of the extended BIOS data area.
inline constexpr uint64_t kEbdaSegmentAddress = 0x40E;

// The APIC ids of all enabled CPUs in the order of the MADT; none, and why, if there is no such
// table or a checksum is wrong. Without `root` the tables are those that FindAcpiRoot() finds.
ApicIds FindApicIds(const PhysicalMemory& memory, const std::optional<AcpiRoot>& root);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_ACPI_H_
