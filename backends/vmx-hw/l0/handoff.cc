// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/handoff.h"

#include <algorithm>
#include <cstring>

namespace nvmx::metal {
namespace {

// Multiboot Specification 0.6.96, 3.3 "Boot information format".
struct Header {
  uint32_t flags, memory_lower, memory_upper, boot_device, command_line, module_count, modules;
  uint32_t symbols[4];
  uint32_t memory_map_length, memory_map;
};
static_assert(sizeof(Header) == 52);
constexpr size_t kHeaderRoom = 128;
constexpr uint32_t kHasMemory = 1 << 0;
constexpr uint32_t kHasCommandLine = 1 << 2;
constexpr uint32_t kHasModules = 1 << 3;
constexpr uint32_t kHasMemoryMap = 1 << 6;
constexpr uint64_t kMByte = uint64_t{1} << 20;

struct [[gnu::packed]] MemoryRow {
  uint32_t size;
  uint64_t base, length;
  uint32_t kind;
};
struct ModuleRow {
  uint32_t begin, end, command_line, reserved;
};

class Writer {
 public:
  Writer(uint32_t address, Handoff& handoff) : address_(address), handoff_(handoff) {}

  bool fits() const { return fits_; }
  // Where the next byte will lie.
  uint32_t next() const { return address_ + static_cast<uint32_t>(used_); }
  void Align() { used_ = (used_ + 7) & ~size_t{7}; }
  template <typename T>
  void Put(const T& value) {
    PutBytes(&value, sizeof value);
  }
  uint32_t PutText(std::string_view text) {
    const uint32_t at = next();
    PutBytes(text.data(), text.size());
    Put(char{0});
    return at;
  }

 private:
  void PutBytes(const void* from, size_t bytes) {
    fits_ &= used_ <= Handoff::kBytes && bytes <= Handoff::kBytes - used_;
    if (!fits_) return;
    std::memcpy(handoff_.bytes.data() + used_, from, bytes);
    used_ += bytes;
  }

  uint32_t address_;
  Handoff& handoff_;
  size_t used_ = kHeaderRoom;
  bool fits_ = true;
};

// KBytes of RAM from `begin` on without a gap.
uint32_t KBytesFrom(const MemoryMap& memory, uint64_t begin) {
  for (const MemoryRange& r : memory.Ranges()) {
    if (r.kind == MemoryKind::kRam && r.range.Contains(begin)) {
      return static_cast<uint32_t>((r.range.end - begin) / 1024);
    }
  }
  return 0;
}

}  // namespace

bool MakeHandoff(uint32_t address, std::string_view command_line, const MemoryMap& memory,
                 std::span<const BootModule> modules, Handoff& handoff) {
  handoff = {};
  Writer writer(address, handoff);
  Header header{};
  header.flags = kHasMemory | kHasCommandLine | kHasModules | kHasMemoryMap;
  header.memory_lower = std::min<uint32_t>(KBytesFrom(memory, 0), 640);
  header.memory_upper = KBytesFrom(memory, kMByte);
  header.command_line = writer.PutText(command_line);

  std::array<ModuleRow, BootInformation::kMostModules> rows{};
  for (size_t i = 0; i < modules.size(); ++i) {
    rows[i] = {modules[i].begin, modules[i].end, writer.PutText(modules[i].command_line.view()), 0};
  }
  writer.Align();
  header.module_count = static_cast<uint32_t>(modules.size());
  header.modules = writer.next();
  for (size_t i = 0; i < modules.size(); ++i) writer.Put(rows[i]);

  writer.Align();
  header.memory_map = writer.next();
  for (const MemoryRange& r : memory.Ranges()) {
    writer.Put(MemoryRow{sizeof(MemoryRow) - sizeof(uint32_t), r.range.begin, r.range.size(),
                         static_cast<uint32_t>(r.kind)});
  }
  header.memory_map_length = writer.next() - header.memory_map;
  std::memcpy(handoff.bytes.data(), &header, sizeof header);
  return writer.fits();
}

}  // namespace nvmx::metal
