// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/l1_loader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "backends/vmx-hw/l0/direct_map.h"
#include "backends/vmx-hw/l0/elf_image.h"
#include "backends/vmx-hw/l0/handoff.h"
#include "backends/vmx-hw/l0/linux_handoff.h"
#include "backends/vmx-hw/l0/linux_image.h"
#include "backends/vmx-hw/l0/pieces.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/power.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t k4GBytes = uint64_t{1} << 32;

constinit Handoff handoff;
constinit LinuxHandoff linux_handoff;

// Ranges that nothing may be moved to.
struct Taken {
  std::array<AddressRange, 2 * BootInformation::kMostModules + ElfImage::kMostSegments> ranges;
  size_t count = 0;

  void Add(const AddressRange& range) { ranges[count++] = range; }
  std::span<const AddressRange> view() const { return {ranges.data(), count}; }
};

// The highest place for so many bytes that ends at or below `below`.
uint32_t FindPlace(const MemoryMap& memory, uint64_t bytes, uint64_t below, const Taken& taken) {
  const auto place = memory.FindHighest(bytes, kPageSize, below, taken.view());
  if (!place) Stop("there is too little memory for L1's modules");
  return static_cast<uint32_t>(place->begin);
}

std::span<const std::byte> BytesOf(const BootModule& module) {
  return {AtPhysical(module.begin), module.end - module.begin};
}

// Neither need be in one piece for L0 (direct_map_i386.cc), if L1 is larger than it.
void CopyPhysical(uint64_t to, uint64_t from, uint64_t bytes) {
  ForEachPiece(to, bytes, [to, from](uint64_t offset, uint64_t size) {
    ForEachPiece(from + offset, size, [to, from, offset](uint64_t more, uint64_t part) {
      const uint64_t at = offset + more;
      std::memcpy(AtPhysical(to + at), AtPhysical(from + at), static_cast<size_t>(part));
    });
  });
}
void ClearPhysical(uint64_t to, uint64_t bytes) {
  ForEachPiece(to, bytes, [to](uint64_t offset, uint64_t size) {
    std::memset(AtPhysical(to + offset), 0, static_cast<size_t>(size));
  });
}

// `taken` is where L1 itself will lie; `below` is 4 GBytes at most.
void MoveModules(BootInformation& information, const MemoryMap& memory, uint64_t below,
                 Taken& taken) {
  for (const BootModule& module : information.Modules()) taken.Add({module.begin, module.end});
  for (size_t i = 0; i < information.module_count; ++i) {
    BootModule& module = information.modules[i];
    const uint32_t bytes = module.end - module.begin;
    const uint32_t place = FindPlace(memory, bytes == 0 ? 1 : bytes, below, taken);
    CopyPhysical(place, module.begin, bytes);
    module.begin = place;
    module.end = place + bytes;
    taken.Add({module.begin, module.end});
  }
}

[[noreturn]] void Refuse(std::string_view why) {
  Write(Text() << "nvmx: the first boot module, L1: " << why << "\n");
  Stop("L1 cannot be loaded");
}

}  // namespace

L1Start LoadL1(BootInformation& information, const MemoryMap& memory) {
  const BootModule& l1 = information.modules[0];
  ElfImage image;
  if (const auto why = ReadElfImage(BytesOf(l1), memory, image); !why.empty()) Refuse(why);
  Taken taken;
  for (const LoadSegment& segment : image.Segments()) taken.Add(segment.memory);
  MoveModules(information, memory, k4GBytes, taken);
  for (const LoadSegment& segment : image.Segments()) {
    ClearPhysical(segment.memory.begin, segment.memory.size());
    CopyPhysical(segment.memory.begin, l1.begin + segment.file_offset, segment.file_bytes);
  }
  const uint32_t place = FindPlace(memory, Handoff::kBytes, k4GBytes, taken);
  if (!MakeHandoff(place, l1.command_line.view(), memory, information.Modules().subspan(1),
                   handoff)) {
    Stop("L1's boot information is too long");
  }
  std::memcpy(AtPhysical(place), handoff.bytes.data(), handoff.bytes.size());
  // Multiboot Specification 0.6.96, 3.2 "Machine state".
  return {.entry = image.entry,
          .code_selector = kCodeSelector,
          .data_selector = kDataSelector,
          .rax = kMultibootLoaderMagic,
          .rbx = place};
}

L1Start LoadLinuxL1(BootInformation& information, const MemoryMap& memory) {
  constexpr size_t kKernelAndInitrd = 2;
  if (information.module_count > kKernelAndInitrd) {
    Stop("l1=linux takes two boot modules at most, a kernel and its initrd");
  }
  const BootModule& kernel = information.modules[0];
  LinuxImage image;
  if (const auto why = ReadLinuxImage(BytesOf(kernel), memory, image); !why.empty()) Refuse(why);
  Taken taken;
  taken.Add(image.memory);
  MoveModules(information, memory, std::min(image.initrd_end, k4GBytes), taken);
  AddressRange initrd{0, 0};
  if (information.module_count == kKernelAndInitrd) {
    initrd = {information.modules[1].begin, information.modules[1].end};
  }
  const uint32_t place = FindPlace(memory, LinuxHandoff::kBytes, k4GBytes, taken);
  if (const auto why = MakeLinuxHandoff(
          place, {BytesOf(kernel), image, kernel.command_line.view(), initrd, memory},
          linux_handoff);
      !why.empty()) {
    Refuse(why);
  }
  std::memcpy(AtPhysical(place), linux_handoff.bytes.data(), linux_handoff.bytes.size());
  CopyPhysical(image.memory.begin, kernel.begin + image.kernel_offset, image.kernel_bytes);
  return {.entry = static_cast<uint32_t>(image.memory.begin),
          .code_selector = LinuxHandoff::kCodeSelector,
          .data_selector = LinuxHandoff::kDataSelector,
          .rsi = place,
          .gdt = place + LinuxHandoff::kGdtOffset,
          .gdt_limit = LinuxHandoff::kGdtLimit};
}

}  // namespace nvmx::metal
