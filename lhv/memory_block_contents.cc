// SPDX-License-Identifier: Apache-2.0
// Bytes, qwords, MSR lists and bitmaps.
#include "lhv/memory_block_contents.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/vmx/msr_list.h"
#include "core/x86/address.h"
#include "lhv/layout.h"
#include "lhv/read_values.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMostListEntries = kBlocksEnd / sizeof(MsrListEntry);
constexpr uint64_t kMostQwords = kBlocksEnd / sizeof(uint64_t);
constexpr uint64_t kEptpListEntries = kPageSize / sizeof(uint64_t);
constexpr uint64_t kIoBitmapBytes = 2 * kPageSize;

void AppendQword(std::vector<std::byte>& bytes, uint64_t value) {
  const auto* const begin = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), begin, begin + sizeof(value));
}

void SetBit(std::vector<std::byte>& bytes, uint64_t bit, bool value) {
  const auto mask = static_cast<std::byte>(1 << bit % 8);
  if (value) {
    bytes[bit / 8] |= mask;
  } else {
    bytes[bit / 8] &= ~mask;
  }
}

// The bits of a bitmap that one element of a list names: from `first` to `last`.
struct BitRange {
  uint64_t first = 0;
  uint64_t last = 0;
};

// The bit of the MSR in the read bitmap. SDM Vol. 3C, 25.6.9 "MSR-Bitmap Address".
std::optional<BitRange> ReadMsrBit(SourceReader& reader, const YAML::Node& node) {
  constexpr uint32_t kHalf = 0x2000;
  constexpr uint32_t kHighBase = 0xC000'0000;
  const auto msr = ReadMsr(reader, node);
  if (!msr) return std::nullopt;
  if (*msr < kHalf) return BitRange{*msr, *msr};
  if (*msr - kHighBase < kHalf) return BitRange{*msr - kHighBase + kHalf, *msr - kHighBase + kHalf};
  reader.Fail(node, absl::StrCat("MSR 0x", absl::Hex(*msr), " has no bit in the bitmaps"),
              "expected an index up to 0x1FFF, or from 0xC0000000 to 0xC0001FFF");
  return std::nullopt;
}

// A port, or {from, to}. SDM Vol. 3C, 25.6.4 "I/O-Bitmap Addresses".
std::optional<BitRange> ReadPorts(SourceReader& reader, const YAML::Node& node) {
  constexpr uint64_t kLastPort = 0xFFFF;
  if (!node.IsMap()) {
    const auto port = reader.Number(node, "a port", kLastPort);
    if (!port) return std::nullopt;
    return BitRange{*port, *port};
  }
  if (!reader.CheckMap(node, "a range of ports", {"from", "to"})) return std::nullopt;
  const auto from_node = reader.Required(node, "a range of ports", "from");
  const auto to_node = reader.Required(node, "a range of ports", "to");
  if (!from_node || !to_node) return std::nullopt;
  const auto from = reader.Number(*from_node, "from", kLastPort);
  if (!from) return std::nullopt;
  const auto to = reader.Number(*to_node, "to", kLastPort, *from);
  if (!to) return std::nullopt;
  return BitRange{*from, *to};
}

// The bit of a field: bits 14:0 of its encoding.
// SDM Vol. 3C, 25.6.15 "VMCS Shadowing Bitmap Addresses".
std::optional<BitRange> ReadFieldBit(SourceReader& reader, const YAML::Node& node) {
  constexpr uint32_t kLastEncoding = 0x7FFF;
  const auto field = ReadField(reader, node);
  if (!field) return std::nullopt;
  if (*field <= kLastEncoding) return BitRange{*field, *field};
  reader.Fail(node, absl::StrCat("encoding 0x", absl::Hex(*field), " has no bit in the bitmaps"),
              "expected one up to 0x7FFF");
  return std::nullopt;
}

// A list in the description of a bitmap, and what it does to the bits that it names.
struct BitmapList {
  const char* contents;
  const char* key;
  std::optional<BitRange> (*read)(SourceReader& reader, const YAML::Node& node);
  uint64_t first_bit;
  bool value;
};

constexpr uint64_t kWriteBitmap = 2048 * 8;  // the write bitmaps follow both read bitmaps
constexpr BitmapList kBitmapLists[] = {
    {"msr_bitmap", "exit_on_read", ReadMsrBit, 0, true},
    {"msr_bitmap", "exit_on_write", ReadMsrBit, kWriteBitmap, true},
    {"msr_bitmap", "pass_on_read", ReadMsrBit, 0, false},
    {"msr_bitmap", "pass_on_write", ReadMsrBit, kWriteBitmap, false},
    {"io_bitmap", "exit", ReadPorts, 0, true},
    {"io_bitmap", "pass", ReadPorts, 0, false},
    {"vmcs_bitmap", "exit", ReadFieldBit, 0, true},
    {"vmcs_bitmap", "pass", ReadFieldBit, 0, false},
};

bool CheckBitmap(SourceReader& reader, const std::string& contents, const YAML::Node& node) {
  std::vector<std::string> keys = {"fill"};
  for (const BitmapList& row : kBitmapLists) {
    if (row.contents == contents) keys.push_back(row.key);
  }
  return reader.CheckMap(node, contents, keys);
}

}  // namespace

const std::vector<MemoryBlocks::Contents>& MemoryBlocks::AllContents() {
  static const auto& all = *new std::vector<Contents>{
      {"bytes", &MemoryBlocks::DeclareBytes, &MemoryBlocks::FillBytes},
      {"qwords", &MemoryBlocks::DeclareQwords, &MemoryBlocks::FillQwords},
      {"hex", &MemoryBlocks::DeclareHex, &MemoryBlocks::FillHex},
      {"msr_list", &MemoryBlocks::DeclareMsrList, &MemoryBlocks::FillMsrList},
      {"ept", &MemoryBlocks::DeclareTables, &MemoryBlocks::FillTables},
      {"page_tables", &MemoryBlocks::DeclareTables, &MemoryBlocks::FillTables},
      {"msr_bitmap", &MemoryBlocks::DeclareMsrBitmap, &MemoryBlocks::FillBitmap},
      {"io_bitmap", &MemoryBlocks::DeclareIoBitmap, &MemoryBlocks::FillBitmap},
      {"vmcs_bitmap", &MemoryBlocks::DeclareVmcsBitmap, &MemoryBlocks::FillBitmap},
      {"eptp_list", &MemoryBlocks::DeclareEptpList, &MemoryBlocks::FillEptpList},
  };
  return all;
}

void MemoryBlocks::DeclareBytes(Block& block, const YAML::Node& node) {
  block.size = reader_.Number(node, "bytes", kBlocksEnd, 1).value_or(0);
}

void MemoryBlocks::DeclareQwords(Block& block, const YAML::Node& node) {
  if (!reader_.CheckList(node, "qwords")) return;
  block.size = std::min<uint64_t>(node.size(), kMostQwords + 1) * sizeof(uint64_t);
}

void MemoryBlocks::DeclareHex(Block& block, const YAML::Node& node) {
  const std::optional<std::string> digits = reader_.Word(node, "hex");
  if (!digits) return;
  if (digits->empty() || digits->size() % 2 != 0 ||
      !std::all_of(digits->begin(), digits->end(), absl::ascii_isxdigit)) {
    reader_.Fail(node, absl::StrCat("hex is \"", *digits, "\""),
                 "expected two hexadecimal digits for each byte");
    return;
  }
  block.size = digits->size() / 2;
}

void MemoryBlocks::DeclareMsrList(Block& block, const YAML::Node& node) {
  const auto entries = ReadMsrList(reader_, node, kMostListEntries);
  if (!entries) return;
  block.msr_entries = entries->size();
  block.size = entries->size() * sizeof(MsrListEntry);
}

void MemoryBlocks::DeclareMsrBitmap(Block& block, const YAML::Node& node) {
  if (CheckBitmap(reader_, "msr_bitmap", node)) block.size = kPageSize;
}

void MemoryBlocks::DeclareIoBitmap(Block& block, const YAML::Node& node) {
  if (CheckBitmap(reader_, "io_bitmap", node)) block.size = kIoBitmapBytes;
}

void MemoryBlocks::DeclareVmcsBitmap(Block& block, const YAML::Node& node) {
  if (CheckBitmap(reader_, "vmcs_bitmap", node)) block.size = kPageSize;
}

void MemoryBlocks::DeclareEptpList(Block& block, const YAML::Node& node) {
  if (!reader_.CheckList(node, "eptp_list")) return;
  if (node.size() > kEptpListEntries) {
    reader_.Fail(node, absl::StrCat("the eptp_list has ", node.size(), " entries"),
                 absl::StrCat("expected at most ", kEptpListEntries));
    return;
  }
  block.size = kPageSize;
}

void MemoryBlocks::FillBytes(Block& block, const YAML::Node& node) {
  uint64_t fill = 0;
  if (Has(block.source, "fill")) {
    fill = reader_.Number(block.source["fill"], "fill", 0xFF).value_or(0);
  }
  block.bytes.assign(block.size, static_cast<std::byte>(fill));
}

void MemoryBlocks::FillQwords(Block& block, const YAML::Node& node) {
  for (const YAML::Node& element : node) {
    // The bytes are those of one CPU, so its window is known.
    const auto value = Value(element, "an element of qwords");
    if (!value) return;
    AppendQword(block.bytes, Absolute(*value));
  }
}

void MemoryBlocks::FillHex(Block& block, const YAML::Node& node) {
  const std::string bytes = absl::HexStringToBytes(node.Scalar());
  const auto all = std::as_bytes(std::span(bytes));
  block.bytes.assign(all.begin(), all.end());
}

void MemoryBlocks::FillMsrList(Block& block, const YAML::Node& node) {
  const auto entries = ReadMsrList(reader_, node, kMostListEntries);
  if (!entries) return;
  block.bytes.resize(block.size);
  if (!entries->empty()) std::memcpy(block.bytes.data(), entries->data(), block.size);
}

void MemoryBlocks::FillBitmap(Block& block, const YAML::Node& node) {
  uint64_t fill = 0;
  if (Has(node, "fill")) fill = reader_.Number(node["fill"], "fill", 0xFF).value_or(0);
  block.bytes.assign(block.size, static_cast<std::byte>(fill));
  for (const BitmapList& row : kBitmapLists) {
    if (std::string(row.contents) != block.contents->key || !Has(node, row.key)) continue;
    if (!reader_.CheckList(node[row.key], row.key)) return;
    for (const YAML::Node& element : node[row.key]) {
      const auto range = row.read(reader_, element);
      if (!range) return;
      for (uint64_t bit = range->first; bit <= range->last; ++bit) {
        SetBit(block.bytes, row.first_bit + bit, row.value);
      }
    }
  }
}

void MemoryBlocks::FillEptpList(Block& block, const YAML::Node& node) {
  for (const YAML::Node& element : node) {
    // A block stands for the EPTP of its tables, not for its address.
    YAML::Node map;
    if (element.IsScalar() && !SourceReader::LooksLikeNumber(element)) map["eptp_of"] = element;
    const auto value = map.IsMap() ? Eptp(map) : Value(element, "an element of eptp_list");
    if (!value) return;
    AppendQword(block.bytes, Absolute(*value));
  }
  block.bytes.resize(block.size);
}

}  // namespace nvmx::lhv
