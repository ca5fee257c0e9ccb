// SPDX-License-Identifier: Apache-2.0
//
// What a boot loader says by the Multiboot2 Specification 2.0, chapter 3.6 "Boot information". With
// UEFI firmware it is what tells where the ACPI tables are.
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_MULTIBOOT2_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_MULTIBOOT2_H_

#include <cstdint>

#include "backends/vmx-hw/machine/multiboot.h"
#include "backends/vmx-hw/machine/physical_memory.h"

namespace nvmx::metal {

// What EAX holds when a loader that follows the specification starts an image.
inline constexpr uint32_t kMultiboot2LoaderMagic = 0x36D76289;

// The structure at the address, into `information`. Command lines are copied as
// ReadBootInformation() does.
BootInformationError ReadMultiboot2Information(const PhysicalMemory& memory, uint64_t address,
                                               BootInformation& information);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_MULTIBOOT2_H_
