// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/multiboot.h"

namespace nvmx::metal {
namespace {

// Chapter 3.3. Offsets in the structure, and the bits of `flags` that say what is there.
constexpr uint32_t kHasCommandLine = 1 << 2;
constexpr uint32_t kHasModules = 1 << 3;
constexpr uint32_t kHasMemoryMap = 1 << 6;
constexpr uint64_t kCommandLineOffset = 16;
constexpr uint64_t kModuleCountOffset = 20;
constexpr uint64_t kModulesOffset = 24;
constexpr uint64_t kMemoryMapLengthOffset = 44;
constexpr uint64_t kMemoryMapOffset = 48;

struct ModuleRow {
  uint32_t begin;
  uint32_t end;
  uint32_t command_line;
  uint32_t reserved;
};

// `size` counts the bytes behind itself.
struct [[gnu::packed]] MemoryRow {
  uint32_t size;
  uint64_t base;
  uint64_t length;
  uint32_t kind;
};
constexpr uint32_t kSmallestMemoryRow = sizeof(MemoryRow) - sizeof(uint32_t);

BootInformationError ReadMemoryMap(const PhysicalMemory& memory, uint64_t information,
                                   MemoryMap& map) {
  const auto length = memory.Read<uint32_t>(information + kMemoryMapLengthOffset);
  const auto address = memory.Read<uint32_t>(information + kMemoryMapOffset);
  if (!length || !address) return BootInformationError::kDamagedMemoryMap;
  for (uint64_t offset = 0; offset < *length;) {
    const auto row = memory.Read<MemoryRow>(*address + offset);
    if (!row || row->size < kSmallestMemoryRow) return BootInformationError::kDamagedMemoryMap;
    const uint64_t base = row->base;
    const uint64_t room = ~uint64_t{0} - base;
    const uint64_t end = base + (row->length < room ? row->length : room);
    if (!map.Add({{base, end}, static_cast<MemoryKind>(row->kind)})) {
      return BootInformationError::kTooManyMemoryRanges;
    }
    offset += uint64_t{row->size} + sizeof(uint32_t);
  }
  return BootInformationError::kNone;
}

BootInformationError ReadModules(const PhysicalMemory& memory, uint64_t address,
                                 BootInformation& information) {
  const auto count = memory.Read<uint32_t>(address + kModuleCountOffset);
  const auto rows = memory.Read<uint32_t>(address + kModulesOffset);
  if (!count || !rows) return BootInformationError::kDamagedModules;
  if (*count > BootInformation::kMostModules) return BootInformationError::kTooManyModules;
  for (uint32_t i = 0; i < *count; ++i) {
    const auto row = memory.Read<ModuleRow>(*rows + uint64_t{i} * sizeof(ModuleRow));
    if (!row || row->begin > row->end || memory.At(row->begin, row->end - row->begin) == nullptr) {
      return BootInformationError::kDamagedModules;
    }
    BootModule& module = information.modules[i];
    module.begin = row->begin;
    module.end = row->end;
    if (row->command_line != 0 && !module.command_line.CopyFrom(memory, row->command_line)) {
      return BootInformationError::kCommandLineTooLong;
    }
  }
  information.module_count = *count;
  return BootInformationError::kNone;
}

}  // namespace

bool CommandLineText::CopyFrom(const PhysicalMemory& memory, uint64_t address) {
  for (size_ = 0;; ++size_) {
    const auto character = memory.Read<char>(address + size_);
    if (!character) return false;
    if (*character == 0) return true;
    if (size_ == kLongestCommandLine) return false;
    characters_[size_] = *character;
  }
}

BootInformationError ReadBootInformation(const PhysicalMemory& memory, uint64_t address,
                                         BootInformation& information) {
  const auto flags = memory.Read<uint32_t>(address);
  if (!flags || (*flags & kHasMemoryMap) == 0) return BootInformationError::kNoMemoryMap;
  if (const auto error = ReadMemoryMap(memory, address, information.memory);
      error != BootInformationError::kNone) {
    return error;
  }
  if ((*flags & kHasCommandLine) != 0) {
    const auto text = memory.Read<uint32_t>(address + kCommandLineOffset);
    if (!text || !information.command_line.CopyFrom(memory, *text)) {
      return BootInformationError::kCommandLineTooLong;
    }
  }
  if ((*flags & kHasModules) != 0) return ReadModules(memory, address, information);
  return BootInformationError::kNone;
}

std::string_view Describe(BootInformationError error) {
  switch (error) {
    case BootInformationError::kNone:
      return "no error";
    case BootInformationError::kNoMemoryMap:
      return "the boot loader gives no memory map";
    case BootInformationError::kDamagedMemoryMap:
      return "the boot loader's memory map cannot be read";
    case BootInformationError::kTooManyMemoryRanges:
      return "the boot loader's memory map has more than 128 ranges";
    case BootInformationError::kTooManyModules:
      return "there are more than 8 boot modules";
    case BootInformationError::kDamagedModules:
      return "the boot loader's list of modules cannot be read";
    case BootInformationError::kDamagedTags:
      return "the boot loader's tags cannot be read";
    case BootInformationError::kCommandLineTooLong:
      return "a command line is longer than 1023 characters, or cannot be read";
  }
  return "an error without a name";
}

}  // namespace nvmx::metal
