// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/multiboot2.h"

#include <algorithm>

#include "backends/vmx-hw/machine/acpi.h"

namespace nvmx::metal {
namespace {

struct Header {
  uint32_t total_size;
  uint32_t reserved;
};

// `size` counts all of the tag; the next one begins at a multiple of 8.
struct Tag {
  uint32_t type;
  uint32_t size;
};
constexpr uint64_t kTagAlignment = 8;

enum TagType : uint32_t {
  kEnd = 0,
  kCommandLine = 1,
  kModule = 3,
  kMemoryMap = 6,
  kAcpiOldRsdp = 14,
  kAcpiNewRsdp = 15,
};

struct ModuleTag {
  Tag tag;
  uint32_t begin;
  uint32_t end;
};

struct MemoryMapTag {
  Tag tag;
  uint32_t row_size;
  uint32_t row_version;
};
struct MemoryRow {
  uint64_t base;
  uint64_t length;
  uint32_t kind;
  uint32_t reserved;
};

BootInformationError ReadMemoryMap(const PhysicalMemory& memory, uint64_t address, MemoryMap& map) {
  const auto tag = memory.Read<MemoryMapTag>(address);
  if (!tag || tag->row_size < sizeof(MemoryRow)) return BootInformationError::kDamagedMemoryMap;
  for (uint64_t at = sizeof(MemoryMapTag); at + tag->row_size <= tag->tag.size;
       at += tag->row_size) {
    const auto row = memory.Read<MemoryRow>(address + at);
    if (!row) return BootInformationError::kDamagedMemoryMap;
    const uint64_t end = row->base + std::min(row->length, ~uint64_t{0} - row->base);
    if (!map.Add({{row->base, end}, static_cast<MemoryKind>(row->kind)})) {
      return BootInformationError::kTooManyMemoryRanges;
    }
  }
  return BootInformationError::kNone;
}

BootInformationError ReadModule(const PhysicalMemory& memory, uint64_t address,
                                BootInformation& information) {
  const auto tag = memory.Read<ModuleTag>(address);
  if (!tag || tag->begin > tag->end || memory.At(tag->begin, tag->end - tag->begin) == nullptr) {
    return BootInformationError::kDamagedModules;
  }
  if (information.module_count == BootInformation::kMostModules) {
    return BootInformationError::kTooManyModules;
  }
  BootModule& module = information.modules[information.module_count++];
  module.begin = tag->begin;
  module.end = tag->end;
  return module.command_line.CopyFrom(memory, address + sizeof(ModuleTag))
             ? BootInformationError::kNone
             : BootInformationError::kCommandLineTooLong;
}

BootInformationError ReadTag(const PhysicalMemory& memory, uint64_t address, uint32_t type,
                             BootInformation& information) {
  switch (type) {
    case kCommandLine:
      return information.command_line.CopyFrom(memory, address + sizeof(Tag))
                 ? BootInformationError::kNone
                 : BootInformationError::kCommandLineTooLong;
    case kModule:
      return ReadModule(memory, address, information);
    case kMemoryMap:
      return ReadMemoryMap(memory, address, information.memory);
    case kAcpiOldRsdp:
    case kAcpiNewRsdp:
      // The newer one tells more.
      if (!information.acpi || type == kAcpiNewRsdp) {
        information.acpi = ReadRsdp(memory, address + sizeof(Tag));
      }
      return BootInformationError::kNone;
    default:
      return BootInformationError::kNone;
  }
}

}  // namespace

BootInformationError ReadMultiboot2Information(const PhysicalMemory& memory, uint64_t address,
                                               BootInformation& information) {
  const auto header = memory.Read<Header>(address);
  if (!header || memory.At(address, header->total_size) == nullptr) {
    return BootInformationError::kDamagedTags;
  }
  for (uint64_t at = sizeof(Header);;) {
    const auto tag = memory.Read<Tag>(address + at);
    if (!tag || tag->size < sizeof(Tag) || at + tag->size > header->total_size) {
      return BootInformationError::kDamagedTags;
    }
    if (tag->type == kEnd) break;
    if (const auto error = ReadTag(memory, address + at, tag->type, information);
        error != BootInformationError::kNone) {
      return error;
    }
    at += (tag->size + kTagAlignment - 1) & ~(kTagAlignment - 1);
  }
  return information.memory.Ranges().empty() ? BootInformationError::kNoMemoryMap
                                             : BootInformationError::kNone;
}

}  // namespace nvmx::metal
