// SPDX-License-Identifier: Apache-2.0
#include "lhv/memory_blocks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/x86/address.h"
#include "lhv/layout.h"
#include "lhv/memory_block_contents.h"

namespace nvmx::lhv {
namespace {

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

MemoryBlocks::MemoryBlocks(SourceReader& reader, const YAML::Node& memory, uint32_t cpu,
                           const Labels& labels)
    : reader_(reader), cpu_(cpu), labels_(labels) {
  if (!memory.IsDefined() || memory.IsNull()) return;
  if (!memory.IsMap()) {
    reader_.Fail(memory, "memory is not a map",
                 "expected named blocks, such as vmcs: {bytes: 4096}");
    return;
  }
  for (const auto& entry : memory) {
    if (!reader_.failed()) Declare(entry.first, entry.second);
  }
  // Tables can name any block.
  for (Block& block : blocks_) {
    if (!reader_.failed())
      (this->*block.contents->declare)(block, block.source[block.contents->key]);
  }
  if (!reader_.failed()) PlaceAll();
}

std::vector<MemoryBlock> MemoryBlocks::Take() {
  // A block can hold the address of a later one, so the contents come after all the places.
  for (Block& block : blocks_) {
    if (reader_.failed()) break;
    if (block.contents == nullptr) continue;
    (this->*block.contents->fill)(block, block.source[block.contents->key]);
  }
  std::vector<MemoryBlock> taken;
  for (Block& block : blocks_) {
    taken.push_back({std::move(block.name), block.offset.value_or(0), std::move(block.bytes)});
  }
  return taken;
}

std::optional<AddressOperand> MemoryBlocks::Counter(size_t number, const YAML::Node& at) {
  // The code is assembled twice; the second time it is there.
  if (number == counters_.size()) {
    Block block;
    block.name = absl::StrCat("counter ", number);
    block.source = at;
    block.size = sizeof(uint64_t);
    block.bytes.resize(sizeof(uint64_t));
    PlaceWhereThereIsRoom(block);
    if (reader_.failed()) return std::nullopt;
    counters_.push_back(*block.offset);
    blocks_.push_back(std::move(block));
  }
  return AddressOperand{counters_[number], kValueIsWindowOffset};
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
  const Contents* const contents = ContentsOf(description, what);
  if (contents == nullptr) return;
  if (!by_name_.emplace(*text, blocks_.size()).second) {
    reader_.Fail(name, absl::StrCat(what, " is given again"), "expected each name once");
    return;
  }
  Block block;
  block.name = *text;
  block.source = description;
  block.contents = contents;
  if (Has(description, "at")) {
    block.offset = reader_.Number(description["at"], "at");
    if (!block.offset) return;
  }
  if (Has(description, "fill") && !Has(description, "bytes")) {
    reader_.Fail(description["fill"], absl::StrCat(what, " has a fill without bytes"),
                 "expected bytes: number with it");
    return;
  }
  blocks_.push_back(std::move(block));
}

const MemoryBlocks::Contents* MemoryBlocks::ContentsOf(const YAML::Node& description,
                                                       const std::string& what) {
  std::vector<std::string> kinds;
  for (const Contents& contents : AllContents()) kinds.push_back(contents.key);
  std::vector<std::string> keys = {"at", "fill"};
  keys.insert(keys.end(), kinds.begin(), kinds.end());
  if (!reader_.CheckMap(description, what, keys)) return nullptr;
  const Contents* found = nullptr;
  for (const Contents& contents : AllContents()) {
    if (!Has(description, contents.key)) continue;
    if (found != nullptr) {
      reader_.Fail(description, absl::StrCat(what, " has more than one kind of contents"),
                   absl::StrCat("expected one of ", absl::StrJoin(kinds, ", ")));
      return nullptr;
    }
    found = &contents;
  }
  if (found == nullptr) {
    reader_.Fail(description, absl::StrCat(what, " has no contents"),
                 absl::StrCat("expected one of ", absl::StrJoin(kinds, ", ")));
  }
  return found;
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

uint64_t MemoryBlocks::Absolute(const AddressOperand& address) const {
  return (address.flags & kValueIsWindowOffset) != 0 ? WindowOf(cpu_) + address.value
                                                     : address.value;
}

}  // namespace nvmx::lhv
