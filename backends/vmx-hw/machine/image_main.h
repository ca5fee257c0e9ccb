// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_IMAGE_MAIN_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_IMAGE_MAIN_H_

#include "backends/vmx-hw/machine/multiboot.h"

namespace nvmx::metal {

// Each image defines it. Called on the CPU that booted, with the console started, the descriptor
// tables loaded, interrupts disabled, the first 4 GiB mapped to themselves (64-bit) or paging off
// (32-bit). Ends with PowerOff().
[[noreturn]] void ImageMain(BootInformation& information);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_IMAGE_MAIN_H_
