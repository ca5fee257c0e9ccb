// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/acpi.h"

#include <cstring>
#include <optional>
#include <string_view>

namespace nvmx::metal {
namespace {

// Where the RSDP can be on a machine with BIOS: the first KByte of the EBDA, whose segment is at
// 40EH, and E0000H to FFFFFH; at a multiple of 16.
constexpr uint64_t kEbdaBytes = 1024;
constexpr uint64_t kBiosBegin = 0xE0000;
constexpr uint64_t kBiosEnd = 0x100000;
constexpr uint64_t kRsdpAlignment = 16;
constexpr std::string_view kRsdpSignature = "RSD PTR ";
constexpr size_t kRsdpChecked = 20;
constexpr uint64_t kRsdpChecksum = 8;
constexpr uint64_t kRsdpRevision = 15;
constexpr uint64_t kRsdpRsdt = 16;
constexpr uint64_t kRsdpLength = 20;
constexpr uint64_t kRsdpXsdt = 24;
constexpr uint64_t kRsdpExtendedChecksum = 32;

constexpr uint64_t kTableLength = 4;
constexpr uint32_t kTableHeader = 36;

constexpr uint64_t kMadtEntries = 44;
constexpr uint8_t kLocalApic = 0;
constexpr uint8_t kLocalX2apic = 9;
constexpr uint32_t kEnabled = 1;

bool HasText(const PhysicalMemory& memory, uint64_t address, std::string_view text) {
  const std::byte* at = memory.At(address, text.size());
  return at != nullptr && std::memcmp(at, text.data(), text.size()) == 0;
}

bool SumIsZero(const PhysicalMemory& memory, uint64_t address, size_t bytes) {
  const std::byte* at = memory.At(address, bytes);
  if (at == nullptr) return false;
  unsigned sum = 0;
  for (size_t i = 0; i < bytes; ++i) sum += std::to_integer<unsigned>(at[i]);
  return (sum & 0xFF) == 0;
}

std::optional<AcpiRoot> FindAcpiRootIn(const PhysicalMemory& memory, uint64_t begin, uint64_t end) {
  for (uint64_t at = begin; at + kRsdpChecked <= end; at += kRsdpAlignment) {
    if (const auto root = ReadRsdp(memory, at)) return root;
  }
  return std::nullopt;
}

// The length of the table, all of which can be read, or nothing.
std::optional<uint32_t> CheckedLength(const PhysicalMemory& memory, uint64_t table) {
  const auto length = memory.Read<uint32_t>(table + kTableLength);
  if (!length || *length < kTableHeader || !SumIsZero(memory, table, *length)) return std::nullopt;
  return length;
}

// Where a search for the MADT has got to: the MADT, if there is no problem.
struct Search {
  uint64_t table;
  std::string_view problem;
};

template <typename Pointer>
Search FindMadtIn(const PhysicalMemory& memory, uint64_t root) {
  const auto length = CheckedLength(memory, root);
  if (!length) return {root, "the table that names the others is damaged"};
  for (uint64_t at = kTableHeader; at + sizeof(Pointer) <= *length; at += sizeof(Pointer)) {
    const uint64_t table = memory.Read<Pointer>(root + at).value_or(0);
    if (HasText(memory, table, "APIC")) return {table, {}};
  }
  return {root, "the table that names the others names no MADT"};
}

Search FindMadt(const PhysicalMemory& memory, const std::optional<AcpiRoot>& root) {
  if (!root) return {0, "there is no RSDP"};
  if (root->xsdt != 0) {
    const Search search = FindMadtIn<uint64_t>(memory, root->xsdt);
    if (search.problem.empty()) return search;
  }
  return FindMadtIn<uint32_t>(memory, root->rsdt);
}

// The APIC id of an enabled CPU that an entry of the MADT describes.
std::optional<uint32_t> ApicIdOf(const PhysicalMemory& memory, uint64_t entry) {
  const uint8_t type = memory.Read<uint8_t>(entry).value_or(0xFF);
  if (type == kLocalApic && (memory.Read<uint32_t>(entry + 4).value_or(0) & kEnabled) != 0) {
    return memory.Read<uint8_t>(entry + 3);
  }
  if (type == kLocalX2apic && (memory.Read<uint32_t>(entry + 8).value_or(0) & kEnabled) != 0) {
    return memory.Read<uint32_t>(entry + 4);
  }
  return std::nullopt;
}

}  // namespace

std::optional<AcpiRoot> ReadRsdp(const PhysicalMemory& memory, uint64_t address) {
  if (!HasText(memory, address, kRsdpSignature) || !SumIsZero(memory, address, kRsdpChecked)) {
    return std::nullopt;
  }
  AcpiRoot root{.rsdt = memory.Read<uint32_t>(address + kRsdpRsdt).value_or(0)};
  if (memory.Read<uint8_t>(address + kRsdpRevision).value_or(0) >= 2) {
    root.xsdt = memory.Read<uint64_t>(address + kRsdpXsdt).value_or(0);
  }
  return root;
}

std::optional<AcpiRoot> FindAcpiRoot(const PhysicalMemory& memory) {
  const uint64_t ebda = uint64_t{memory.Read<uint16_t>(kEbdaSegmentAddress).value_or(0)} << 4;
  if (ebda != 0) {
    if (const auto root = FindAcpiRootIn(memory, ebda, ebda + kEbdaBytes)) return root;
  }
  return FindAcpiRootIn(memory, kBiosBegin, kBiosEnd);
}

std::array<std::byte, kRsdpBytes> MakeRsdp(const AcpiRoot& root) {
  std::array<std::byte, kRsdpBytes> rsdp = {};
  const auto put = [&rsdp](size_t offset, const void* from, size_t bytes) {
    std::memcpy(rsdp.data() + offset, from, bytes);
  };
  const auto fix_sum = [&rsdp](size_t bytes, size_t checksum) {
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; ++i) sum += std::to_integer<unsigned>(rsdp[i]);
    rsdp[checksum] = static_cast<std::byte>(0x100 - (sum & 0xFF));
  };
  constexpr uint32_t kLength = kRsdpBytes;
  put(0, kRsdpSignature.data(), kRsdpSignature.size());
  rsdp[kRsdpRevision] = std::byte{2};
  put(kRsdpRsdt, &root.rsdt, sizeof root.rsdt);
  put(kRsdpLength, &kLength, sizeof kLength);
  put(kRsdpXsdt, &root.xsdt, sizeof root.xsdt);
  fix_sum(kRsdpChecked, kRsdpChecksum);
  fix_sum(kRsdpBytes, kRsdpExtendedChecksum);
  return rsdp;
}

ApicIds FindApicIds(const PhysicalMemory& memory, const std::optional<AcpiRoot>& root) {
  ApicIds ids;
  const auto [table, problem] = FindMadt(memory, root ? root : FindAcpiRoot(memory));
  ids.table = table;
  ids.problem = problem;
  if (!problem.empty()) return ids;
  const auto length = CheckedLength(memory, table);
  if (!length) {
    ids.problem = "the MADT is damaged";
    return ids;
  }
  for (uint64_t at = kMadtEntries; at + 2 <= *length;) {
    const uint8_t size = memory.Read<uint8_t>(table + at + 1).value_or(0);
    if (size < 2 || at + size > *length) break;
    if (const auto id = ApicIdOf(memory, table + at)) {
      if (ids.found < ApicIds::kMost) ids.kept[ids.found] = *id;
      ++ids.found;
    }
    at += size;
  }
  if (ids.found == 0) ids.problem = "the MADT names no CPU that is enabled";
  return ids;
}

}  // namespace nvmx::metal
