// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_HANDOFF_H_
#define NVMX_BACKENDS_VMX_HW_L0_HANDOFF_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backends/vmx-hw/machine/multiboot.h"

namespace nvmx::metal {

// L1's boot information, as a boot loader gives it: bytes that are to lie at one physical address.
struct Handoff {
  static constexpr size_t kBytes = 16384;
  alignas(16) std::array<std::byte, kBytes> bytes = {};
};

// Fills `handoff` for bytes that will lie at `address`, with L1's command line, memory map and
// modules. False if they do not fit.
bool MakeHandoff(uint32_t address, std::string_view command_line, const MemoryMap& memory,
                 std::span<const BootModule> modules, Handoff& handoff);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_HANDOFF_H_
