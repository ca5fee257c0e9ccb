// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/linux_handoff.h"

#include <cstring>

namespace nvmx::metal {
namespace {

// Offsets in boot_params.
constexpr size_t kMemoryRowCount = 0x1E8;
constexpr size_t kLoader = 0x210;
constexpr size_t kInitrd = 0x218;
constexpr size_t kInitrdBytes = 0x21C;
constexpr size_t kCommandLine = 0x228;
constexpr size_t kSetupData = 0x250;
constexpr size_t kMemoryRows = 0x2D0;
constexpr uint8_t kUnregisteredLoader = 0xFF;

struct [[gnu::packed]] MemoryRow {
  uint64_t base, length;
  uint32_t kind;
};
static_assert(MemoryMap::kMostRanges <= 128 && sizeof(MemoryRow) == 20);

constexpr uint64_t kFlatCode = 0x00CF'9B00'0000'FFFF;
constexpr uint64_t kFlatData = 0x00CF'9300'0000'FFFF;
constexpr size_t kTextOffset = LinuxHandoff::kGdtOffset + LinuxHandoff::kGdtLimit + 1;

template <typename T>
void Put(LinuxHandoff& handoff, size_t offset, const T& value) {
  std::memcpy(handoff.bytes.data() + offset, &value, sizeof value);
}

void PutMemoryMap(const MemoryMap& memory, LinuxHandoff& handoff) {
  size_t at = kMemoryRows;
  for (const MemoryRange& r : memory.Ranges()) {
    Put(handoff, at, MemoryRow{r.range.begin, r.range.size(), static_cast<uint32_t>(r.kind)});
    at += sizeof(MemoryRow);
  }
  Put(handoff, kMemoryRowCount, static_cast<uint8_t>(memory.Ranges().size()));
}

}  // namespace

std::string_view MakeLinuxHandoff(uint32_t address, const LinuxStart& start,
                                  LinuxHandoff& handoff) {
  const std::string_view text = start.command_line;
  if (text.size() > start.image.longest_command_line ||
      text.size() >= LinuxHandoff::kBytes - kTextOffset) {
    return "its command line is longer than it can take";
  }
  if (start.initrd.end > start.image.initrd_end) return "its initrd lies too high for it";
  handoff = {};
  std::memcpy(handoff.bytes.data() + kLinuxHeader, start.file.data() + kLinuxHeader,
              start.image.header_bytes);
  Put(handoff, kLoader, kUnregisteredLoader);
  Put(handoff, kInitrd, static_cast<uint32_t>(start.initrd.begin));
  Put(handoff, kInitrdBytes, static_cast<uint32_t>(start.initrd.size()));
  Put(handoff, kCommandLine, static_cast<uint32_t>(address + kTextOffset));
  Put(handoff, kSetupData, uint64_t{0});
  PutMemoryMap(start.memory, handoff);
  Put(handoff, LinuxHandoff::kGdtOffset + LinuxHandoff::kCodeSelector, kFlatCode);
  Put(handoff, LinuxHandoff::kGdtOffset + LinuxHandoff::kDataSelector, kFlatData);
  std::memcpy(handoff.bytes.data() + kTextOffset, text.data(), text.size());
  return {};
}

}  // namespace nvmx::metal
