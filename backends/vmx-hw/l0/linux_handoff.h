// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_LINUX_HANDOFF_H_
#define NVMX_BACKENDS_VMX_HW_L0_LINUX_HANDOFF_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backends/vmx-hw/l0/linux_image.h"
#include "backends/vmx-hw/machine/memory_map.h"

namespace nvmx::metal {

// What a Linux kernel finds at its 32-bit entry: bytes that are to lie at one physical address.
// boot_params come first, then a GDT, then the command line. Documentation of Linux, "The Linux/x86
// Boot Protocol", "32-bit Boot Protocol"; "Zero Page".
struct LinuxHandoff {
  static constexpr uint32_t kBootParamsBytes = 4096;
  static constexpr size_t kBytes = 2 * kBootParamsBytes;
  static constexpr uint32_t kGdtOffset = kBootParamsBytes;
  static constexpr uint16_t kCodeSelector = 0x10;
  static constexpr uint16_t kDataSelector = 0x18;
  static constexpr uint16_t kGdtLimit = kDataSelector + 7;

  alignas(16) std::array<std::byte, kBytes> bytes = {};
};

// What it is made of.
struct LinuxStart {
  std::span<const std::byte> file;  // that ReadLinuxImage() has made `image` of
  const LinuxImage& image;
  std::string_view command_line;
  AddressRange initrd;  // empty if there is none
  const MemoryMap& memory;
};

// Fills `handoff` for bytes that will lie at `address`. What is wrong, for a person, or empty.
std::string_view MakeLinuxHandoff(uint32_t address, const LinuxStart& start, LinuxHandoff& handoff);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_LINUX_HANDOFF_H_
