// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/l1_loader.h"

#include <array>
#include <cstring>
#include <span>

#include "backends/vmx-hw/l0/direct_map.h"
#include "backends/vmx-hw/l0/elf_image.h"
#include "backends/vmx-hw/l0/handoff.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/power.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t k4GBytes = uint64_t{1} << 32;

constinit Handoff handoff;

// Ranges that nothing may be moved to.
struct Taken {
  std::array<AddressRange, 2 * BootInformation::kMostModules + ElfImage::kMostSegments> ranges;
  size_t count = 0;

  void Add(const AddressRange& range) { ranges[count++] = range; }
  std::span<const AddressRange> view() const { return {ranges.data(), count}; }
};

// The highest place for so many bytes.
uint32_t FindPlace(const MemoryMap& memory, uint64_t bytes, const Taken& taken) {
  const auto place = memory.FindHighest(bytes, kPageSize, k4GBytes, taken.view());
  if (!place) Stop("there is too little memory for L1's modules");
  return static_cast<uint32_t>(place->begin);
}

std::span<const std::byte> BytesOf(const BootModule& module) {
  return {AtPhysical(module.begin), module.end - module.begin};
}

void MoveModules(BootInformation& information, const MemoryMap& memory, Taken& taken) {
  for (size_t i = 0; i < information.module_count; ++i) {
    BootModule& module = information.modules[i];
    const uint32_t bytes = module.end - module.begin;
    const uint32_t place = FindPlace(memory, bytes == 0 ? 1 : bytes, taken);
    std::memcpy(AtPhysical(place), AtPhysical(module.begin), bytes);
    module.begin = place;
    module.end = place + bytes;
    taken.Add({module.begin, module.end});
  }
}

}  // namespace

L1Start LoadL1(BootInformation& information, const MemoryMap& memory) {
  const BootModule& l1 = information.modules[0];
  ElfImage image;
  if (const auto why = ReadElfImage(BytesOf(l1), memory, image); !why.empty()) {
    Write(Text() << "nvmx: the first boot module, L1: " << why << "\n");
    Stop("L1 cannot be loaded");
  }
  Taken taken;
  for (const BootModule& module : information.Modules()) taken.Add({module.begin, module.end});
  for (const LoadSegment& segment : image.Segments()) taken.Add(segment.memory);
  MoveModules(information, memory, taken);
  for (const LoadSegment& segment : image.Segments()) {
    std::byte* const to = AtPhysical(segment.memory.begin);
    std::memset(to, 0, segment.memory.size());
    std::memcpy(to, BytesOf(l1).data() + segment.file_offset, segment.file_bytes);
  }
  const uint32_t place = FindPlace(memory, Handoff::kBytes, taken);
  if (!MakeHandoff(place, l1.command_line.view(), memory, information.Modules().subspan(1),
                   handoff)) {
    Stop("L1's boot information is too long");
  }
  std::memcpy(AtPhysical(place), handoff.bytes.data(), handoff.bytes.size());
  return {image.entry, place};
}

}  // namespace nvmx::metal
