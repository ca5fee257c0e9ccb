// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/elf_image.h"

#include <cstring>
#include <optional>

namespace nvmx::metal {
namespace {

constexpr uint32_t kMultibootMagic = 0x1BADB002;
constexpr size_t kMultibootSearched = 8192;
// Bits 15:0 of the flags are demands. This loader meets: modules on page boundaries, and a memory
// map. Bit 16: load addresses stand in the header instead of in the ELF file.
constexpr uint32_t kUnmetDemands = 0xFFFC;
constexpr uint32_t kAddressesInHeader = 1 << 16;

struct ElfHeader {
  uint8_t identification[16];
  uint16_t type, machine;
  uint32_t version, entry, program_headers, section_headers, flags;
  uint16_t header_size, program_header_size, program_header_count;
  uint16_t section_header_size, section_header_count, section_names;
};
static_assert(sizeof(ElfHeader) == 52);
constexpr uint8_t kElf32LittleEndian[] = {0x7F, 'E', 'L', 'F', 1, 1, 1};
constexpr uint16_t kExecutable = 2;
constexpr uint16_t kI386 = 3;

struct ProgramHeader {
  uint32_t type, offset, virtual_address, physical_address, file_size, memory_size, flags,
      alignment;
};
static_assert(sizeof(ProgramHeader) == 32);
constexpr uint32_t kLoad = 1;

template <typename T>
std::optional<T> ReadAt(std::span<const std::byte> file, uint64_t offset) {
  if (offset > file.size() || sizeof(T) > file.size() - offset) return std::nullopt;
  T value;
  std::memcpy(&value, file.data() + offset, sizeof value);
  return value;
}

std::string_view CheckMultibootHeader(std::span<const std::byte> file) {
  for (size_t at = 0; at + 12 <= file.size() && at + 12 <= kMultibootSearched; at += 4) {
    const auto flags = ReadAt<uint32_t>(file, at + 4);
    if (ReadAt<uint32_t>(file, at) != kMultibootMagic) continue;
    if (kMultibootMagic + *flags + *ReadAt<uint32_t>(file, at + 8) != 0) continue;
    if ((*flags & kAddressesInHeader) != 0) return "its multiboot header has load addresses";
    if ((*flags & kUnmetDemands) != 0) return "its multiboot header demands what L0 does not give";
    return {};
  }
  return "it has no multiboot 1 header";
}

std::string_view AddSegment(const ProgramHeader& header, std::span<const std::byte> file,
                            const MemoryMap& memory, ElfImage& image) {
  if (header.type != kLoad || header.memory_size == 0) return {};
  if (image.segment_count == ElfImage::kMostSegments) return "it has more than 8 segments";
  if (header.file_size > header.memory_size || header.offset > file.size() ||
      header.file_size > file.size() - header.offset) {
    return "a segment is not wholly in the file";
  }
  const uint64_t begin = header.physical_address;
  const LoadSegment segment{header.offset, header.file_size, {begin, begin + header.memory_size}};
  if (!memory.IsRam(segment.memory)) return "a segment wants addresses that are not L1's RAM";
  for (const LoadSegment& other : image.Segments()) {
    if (other.memory.Overlaps(segment.memory)) return "two of its segments overlap";
  }
  image.segments[image.segment_count++] = segment;
  return {};
}

}  // namespace

std::string_view ReadElfImage(std::span<const std::byte> file, const MemoryMap& memory,
                              ElfImage& image) {
  const auto header = ReadAt<ElfHeader>(file, 0);
  if (!header ||
      std::memcmp(header->identification, kElf32LittleEndian, sizeof kElf32LittleEndian) != 0) {
    return "it is not a 32-bit ELF file";
  }
  if (header->type != kExecutable || header->machine != kI386) {
    return "it is not an executable for 32-bit x86";
  }
  if (const std::string_view why = CheckMultibootHeader(file); !why.empty()) return why;
  image = {};
  image.entry = header->entry;
  for (uint32_t i = 0; i < header->program_header_count; ++i) {
    const auto program_header = ReadAt<ProgramHeader>(
        file, header->program_headers + uint64_t{i} * header->program_header_size);
    if (!program_header) return "its program headers are not in the file";
    const std::string_view why = AddSegment(*program_header, file, memory, image);
    if (!why.empty()) return why;
  }
  if (image.segment_count == 0) return "it has nothing to load";
  return {};
}

}  // namespace nvmx::metal
