// SPDX-License-Identifier: Apache-2.0
//
// A multiboot 1 image in a 32-bit ELF file, as far as loading it needs. System V ABI, chapters 4
// and 5; Multiboot Specification 0.6.96, 3.1 "OS image format".
#ifndef NVMX_BACKENDS_VMX_HW_L0_ELF_IMAGE_H_
#define NVMX_BACKENDS_VMX_HW_L0_ELF_IMAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backends/vmx-hw/machine/memory_map.h"

namespace nvmx::metal {

// Bytes of the file that go to physical memory, and zeros behind them up to the end of the range.
struct LoadSegment {
  size_t file_offset;
  size_t file_bytes;
  AddressRange memory;
};

struct ElfImage {
  static constexpr size_t kMostSegments = 8;
  uint32_t entry = 0;
  size_t segment_count = 0;
  std::array<LoadSegment, kMostSegments> segments = {};

  std::span<const LoadSegment> Segments() const { return {segments.data(), segment_count}; }
};

// What is wrong with the file, for a person; empty if `image` describes it. Each segment lies in
// RAM of the map, and none overlaps another.
std::string_view ReadElfImage(std::span<const std::byte> file, const MemoryMap& memory,
                              ElfImage& image);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_ELF_IMAGE_H_
