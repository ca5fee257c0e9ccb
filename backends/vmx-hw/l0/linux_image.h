// SPDX-License-Identifier: Apache-2.0
//
// A Linux kernel as its build leaves it (bzImage), as far as loading it needs. Documentation of
// Linux, "The Linux/x86 Boot Protocol": "The Real-Mode Kernel Header", "32-bit Boot Protocol".
#ifndef NVMX_BACKENDS_VMX_HW_L0_LINUX_IMAGE_H_
#define NVMX_BACKENDS_VMX_HW_L0_LINUX_IMAGE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backends/vmx-hw/machine/memory_map.h"

namespace nvmx::metal {

// Where the setup header begins, in the file and in boot_params alike.
inline constexpr size_t kLinuxHeader = 0x1F1;

struct LinuxImage {
  size_t header_bytes = 0;  // of the setup header
  // The part of the file that runs in protected mode.
  size_t kernel_offset = 0;
  size_t kernel_bytes = 0;
  // That part is loaded to the beginning, which is its entry too; up to the end the kernel uses
  // what it finds before it reads its memory map.
  AddressRange memory{0, 0};
  // The initrd ends here at the latest.
  uint64_t initrd_end = 0;
  size_t longest_command_line = 0;
};

// What is wrong with the file, for a person; empty if `image` describes it. `image.memory` is RAM
// of the map, below 4 GBytes: where the kernel prefers to lie, or, if it can be moved, somewhere
// else.
std::string_view ReadLinuxImage(std::span<const std::byte> file, const MemoryMap& memory,
                                LinuxImage& image);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_LINUX_IMAGE_H_
