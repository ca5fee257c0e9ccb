// SPDX-License-Identifier: Apache-2.0
#include "lhv/memory_blocks.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/vmx/msr_list.h"
#include "core/x86/address.h"
#include "lhv/layout.h"
#include "lhv/read_values.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMostListEntries = kBlocksEnd / sizeof(MsrListEntry);
constexpr uint64_t kMostQwords = kBlocksEnd / sizeof(uint64_t);

std::string HexText(uint64_t value) { return absl::StrCat("0x", absl::Hex(value)); }

std::string RoomText() {
  return absl::StrCat(
      "expected it to lie in [0, ", HexText(kBlocksEnd),
      ") of the CPU's window, above which are the stacks and tables of the machine");
}

constexpr uint64_t RoundUpToPage(uint64_t offset) {
  return (offset + kPageSize - 1) & ~(kPageSize - 1);
}

}  // namespace

MemoryBlocks::MemoryBlocks(SourceReader& reader, const YAML::Node& memory, uint32_t cpu)
    : reader_(reader), cpu_(cpu) {
  if (!memory.IsDefined() || memory.IsNull()) return;
  if (!memory.IsMap()) {
    reader_.Fail(memory, "memory is not a map",
                 "expected named blocks, such as vmcs: {bytes: 4096}");
    return;
  }
  for (const auto& entry : memory) Declare(entry.first, entry.second);
  if (reader_.failed()) return;
  PlaceAll();
  // A block can hold the address of a later one, so the contents come after all the places.
  for (Block& block : blocks_) {
    if (!reader_.failed()) Fill(block);
  }
}

std::vector<MemoryBlock> MemoryBlocks::Take() {
  std::vector<MemoryBlock> taken;
  for (Block& block : blocks_) {
    taken.push_back({std::move(block.name), block.offset.value_or(0), std::move(block.bytes)});
  }
  return taken;
}

void MemoryBlocks::Declare(const YAML::Node& name, const YAML::Node& description) {
  const auto text = reader_.Word(name, "the name of a memory block");
  if (!text) return;
  if (SourceReader::LooksLikeNumber(name)) {
    reader_.Fail(name, absl::StrCat("memory block ", *text, " has a number for a name"),
                 "expected a name that does not begin with a digit");
    return;
  }
  const std::string what = absl::StrCat("memory block ", *text);
  if (!reader_.CheckMap(description, what, {"at", "bytes", "fill", "qwords", "msr_list"})) return;
  if (!by_name_.emplace(*text, blocks_.size()).second) {
    reader_.Fail(name, absl::StrCat(what, " is given again"), "expected each name once");
    return;
  }
  Block block;
  block.name = *text;
  block.source = description;
  if (Has(description, "at")) {
    block.offset = reader_.Number(description["at"], "at");
    if (!block.offset) return;
  }
  const int contents =
      Has(description, "bytes") + Has(description, "qwords") + Has(description, "msr_list");
  if (contents != 1) {
    reader_.Fail(description,
                 absl::StrCat(what, contents == 0 ? " has no contents"
                                                  : " has more than one kind of contents"),
                 "expected one of bytes, qwords, msr_list");
    return;
  }
  if (Has(description, "fill") && !Has(description, "bytes")) {
    reader_.Fail(description["fill"], absl::StrCat(what, " has a fill without bytes"),
                 "expected bytes: number with it");
    return;
  }
  DeclareSize(block, description);
  blocks_.push_back(std::move(block));
}

void MemoryBlocks::DeclareSize(Block& block, const YAML::Node& description) {
  if (Has(description, "bytes")) {
    block.size = reader_.Number(description["bytes"], "bytes", kBlocksEnd, 1).value_or(0);
  } else if (Has(description, "qwords")) {
    const YAML::Node list = description["qwords"];
    if (!reader_.CheckList(list, "qwords")) return;
    block.size = std::min<uint64_t>(list.size(), kMostQwords + 1) * sizeof(uint64_t);
  } else {
    const auto entries = ReadMsrList(reader_, description["msr_list"], kMostListEntries);
    if (!entries) return;
    block.msr_entries = entries->size();
    block.size = entries->size() * sizeof(MsrListEntry);
  }
}

void MemoryBlocks::PlaceAll() {
  for (const Block& block : blocks_) {
    if (!block.offset) continue;
    if (*block.offset > kBlocksEnd || block.size > kBlocksEnd - *block.offset) {
      reader_.Fail(block.source,
                   absl::StrCat("memory block ", block.name, " is at ", HexText(*block.offset),
                                " with ", block.size, " bytes, outside the window"),
                   RoomText());
      return;
    }
    if (const Block* other = Overlapping(block, *block.offset)) {
      reader_.Fail(block.source,
                   absl::StrCat("memory block ", block.name, " overlaps ", other->name, " of line ",
                                SourceReader::Line(other->source)),
                   "expected blocks that share no byte");
      return;
    }
  }
  for (Block& block : blocks_) {
    if (!block.offset) PlaceWhereThereIsRoom(block);
    if (reader_.failed()) return;
  }
}

void MemoryBlocks::PlaceWhereThereIsRoom(Block& block) {
  uint64_t offset = kFirstBlock;
  while (const Block* other = Overlapping(block, offset)) offset = RoundUpToPage(other->end());
  if (offset > kBlocksEnd || block.size > kBlocksEnd - offset) {
    reader_.Fail(block.source,
                 absl::StrCat("there is no room left for the ", block.size,
                              " bytes of memory block ", block.name),
                 RoomText());
    return;
  }
  block.offset = offset;
}

const MemoryBlocks::Block* MemoryBlocks::Overlapping(const Block& block, uint64_t offset) const {
  for (const Block& other : blocks_) {
    if (&other == &block || !other.offset) continue;
    if (offset < other.end() && *other.offset < offset + block.size) return &other;
  }
  return nullptr;
}

void MemoryBlocks::Fill(Block& block) {
  if (Has(block.source, "bytes")) {
    uint64_t fill = 0;
    if (Has(block.source, "fill")) {
      fill = reader_.Number(block.source["fill"], "fill", 0xFF).value_or(0);
    }
    block.bytes.assign(block.size, static_cast<std::byte>(fill));
  } else if (Has(block.source, "qwords")) {
    FillQwords(block, block.source["qwords"]);
  } else {
    FillMsrList(block, block.source["msr_list"]);
  }
}

void MemoryBlocks::FillMsrList(Block& block, const YAML::Node& list) {
  const auto entries = ReadMsrList(reader_, list, kMostListEntries);
  if (!entries) return;
  block.bytes.resize(block.size);
  if (!entries->empty()) std::memcpy(block.bytes.data(), entries->data(), block.size);
}

void MemoryBlocks::FillQwords(Block& block, const YAML::Node& list) {
  for (const YAML::Node& node : list) {
    uint64_t value = 0;
    if (SourceReader::LooksLikeNumber(node)) {
      const auto number = reader_.Number(node, "an element of qwords");
      if (!number) return;
      value = *number;
    } else {
      // The bytes are those of one CPU, so its window is known.
      const auto address = Address(node, "an element of qwords");
      if (!address) return;
      value = WindowOf(cpu_) + address->value;
    }
    const auto* const bytes = reinterpret_cast<const std::byte*>(&value);
    block.bytes.insert(block.bytes.end(), bytes, bytes + sizeof(value));
  }
}

std::optional<size_t> MemoryBlocks::Find(const YAML::Node& name) {
  const auto text = reader_.Word(name, "a memory block");
  if (!text) return std::nullopt;
  const auto found = by_name_.find(*text);
  if (found != by_name_.end()) return found->second;
  std::vector<std::string> names;
  for (const Block& block : blocks_) names.push_back(block.name);
  reader_.FailUnknown(name, "memory block", *text, names);
  return std::nullopt;
}

std::optional<AddressOperand> MemoryBlocks::Address(const YAML::Node& node,
                                                    const std::string& what) {
  if (SourceReader::LooksLikeNumber(node)) {
    const auto number = reader_.Number(node, what);
    if (!number) return std::nullopt;
    return AddressOperand{*number, 0};
  }
  if (node.IsScalar()) {
    const auto index = Find(node);
    if (!index) return std::nullopt;
    return AddressOperand{*blocks_[*index].offset, kValueIsWindowOffset};
  }
  if (!node.IsMap()) {
    reader_.Fail(
        node, absl::StrCat(what, " is not given an address"),
        "expected a number, the name of a memory block, or {address_of: block, offset: n}");
    return std::nullopt;
  }
  if (!reader_.CheckMap(node, what, {"address_of", "offset"})) return std::nullopt;
  return AddressOf(node, what);
}

std::optional<AddressOperand> MemoryBlocks::AddressOf(const YAML::Node& map,
                                                      const std::string& what) {
  const auto name = reader_.Required(map, what, "address_of");
  if (!name) return std::nullopt;
  const auto index = Find(*name);
  if (!index) return std::nullopt;
  uint64_t offset = *blocks_[*index].offset;
  if (Has(map, "offset")) {
    const auto more = reader_.Number(map["offset"], "offset");
    if (!more) return std::nullopt;
    if (*more >= kWindowBytes - offset) {
      reader_.Fail(map["offset"],
                   absl::StrCat("offset ", HexText(*more), " from ", blocks_[*index].name,
                                " is an address outside the window"),
                   absl::StrCat("expected less than ", HexText(kWindowBytes - offset)));
      return std::nullopt;
    }
    offset += *more;
  }
  return AddressOperand{offset, kValueIsWindowOffset};
}

std::optional<uint64_t> MemoryBlocks::EntryCount(const YAML::Node& node) {
  const auto index = Find(node);
  if (!index) return std::nullopt;
  const Block& block = blocks_[*index];
  if (!block.msr_entries) {
    reader_.Fail(node, absl::StrCat("memory block ", block.name, " has no count of entries"),
                 "expected the name of a block with msr_list");
    return std::nullopt;
  }
  return block.msr_entries;
}

}  // namespace nvmx::lhv
