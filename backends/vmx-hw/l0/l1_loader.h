// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_L1_LOADER_H_
#define NVMX_BACKENDS_VMX_HW_L0_L1_LOADER_H_

#include "backends/vmx-hw/l0/l0_cpu.h"
#include "backends/vmx-hw/machine/memory_map.h"
#include "backends/vmx-hw/machine/multiboot.h"

namespace nvmx::metal {

// Loads the first boot module, a multiboot 1 ELF file, as L1, with the others as its modules and
// what is behind its own name as its command line. `memory` is L1's. The modules are moved to the
// top of L1's memory first, so that L1 may want to lie where they were. Stops with a message if it
// cannot be. After MoveImage().
L1Start LoadL1(BootInformation& information, const MemoryMap& memory);

// The same of a first boot module that is a Linux kernel; the second, if there is one, is its
// initrd.
L1Start LoadLinuxL1(BootInformation& information, const MemoryMap& memory);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_L1_LOADER_H_
