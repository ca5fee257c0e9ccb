// SPDX-License-Identifier: Apache-2.0
// Blocks that hold paging structures.
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/vmx/ept.h"
#include "core/x86/address.h"
#include "lhv/layout.h"
#include "lhv/memory_block_contents.h"
#include "lhv/paging_values.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kIdentityBytes = uint64_t{4} << 30;
constexpr uint64_t kMostEntries = uint64_t{1} << 16;

std::optional<PagingFormat> ReadFormat(SourceReader& reader, bool is_ept, const YAML::Node& node) {
  if (is_ept) {
    if (!reader.CheckMap(node, "ept", {"levels", "identity", "map"})) return std::nullopt;
    if (!Has(node, "levels")) return PagingFormat::Ept(4);
    const auto levels = reader.Number(node["levels"], "levels", 5, 4);
    if (!levels) return std::nullopt;
    return PagingFormat::Ept(static_cast<unsigned>(*levels));
  }
  if (!reader.CheckMap(node, "page_tables", {"mode", "identity", "map"})) return std::nullopt;
  const auto mode_node = reader.Required(node, "page_tables", "mode");
  if (!mode_node) return std::nullopt;
  const auto mode = reader.Word(*mode_node, "mode");
  if (!mode) return std::nullopt;
  if (*mode == "4-level") return PagingFormat::FourLevel();
  if (*mode == "5-level") return PagingFormat::FiveLevel();
  if (*mode == "PAE") return PagingFormat::Pae();
  if (*mode == "32-bit") return PagingFormat::ThirtyTwoBit();
  reader.FailUnknown(*mode_node, "paging mode", *mode, {"4-level", "5-level", "PAE", "32-bit"});
  return std::nullopt;
}

// One element of `map`: what to write into which entries.
struct Mapping {
  YAML::Node node;
  YAML::Node source;  // where it is in the file
  unsigned level = 1;
  uint64_t at = 0;
  uint64_t to = 0;
  uint64_t count = 1;
  uint64_t bits = 0;
  bool is_table = false;  // changes the bits of entries that refer to tables
  bool is_raw = false;    // `bits` is the entry
};

// Reads the description of tables, and writes their entries.
class TableReader {
 public:
  // The absolute address or value that a node stands for.
  using Resolve = std::function<std::optional<uint64_t>(const YAML::Node& node)>;

  TableReader(SourceReader& reader, const PagingFormat& format, uint64_t base,
              const Resolve& resolve)
      : reader_(reader), format_(format), resolve_(resolve), tables_(format, base) {}

  // All of it; nothing after an error.
  std::optional<PagingTables> Read(const YAML::Node& node) {
    if (Has(node, "identity") && !AddIdentity(node["identity"])) return std::nullopt;
    if (!Has(node, "map")) return tables_;
    if (!reader_.CheckList(node["map"], "map")) return std::nullopt;
    for (const YAML::Node& entry : node["map"]) {
      if (!reader_.CheckMap(entry, "a mapping", kKeys)) return std::nullopt;
      if (!reader_.Required(entry, "a mapping", "at") || !Add(entry, entry, std::nullopt)) {
        return std::nullopt;
      }
    }
    return tables_;
  }

 private:
  inline static const std::vector<std::string> kKeys = {"at",    "to",    "page",   "level",
                                                        "bytes", "count", "access", "memory_type",
                                                        "bits",  "table", "raw"};

  bool AddIdentity(const YAML::Node& node) {
    if (!node.IsScalar()) {
      return reader_.CheckMap(node, "identity", kKeys) && Add(node, node, kIdentityBytes);
    }
    YAML::Node map;
    map["page"] = node;
    return Add(map, node, kIdentityBytes);
  }

  bool Add(const YAML::Node& node, const YAML::Node& source,
           std::optional<uint64_t> default_bytes) {
    Mapping mapping{.node = node, .source = source};
    return ReadLevel(mapping) && ReadPlace(mapping) && ReadCount(mapping, default_bytes) &&
           ReadContent(mapping) && Apply(mapping);
  }

  bool ReadLevel(Mapping& mapping) {
    const YAML::Node& node = mapping.node;
    std::optional<uint64_t> level = 1;
    if (Has(node, "page") && Has(node, "level")) {
      reader_.Fail(node, "a mapping has page and level", "expected one of them");
      return false;
    }
    if (Has(node, "page")) level = ReadPageSize(reader_, node["page"]);
    if (Has(node, "level")) level = reader_.Number(node["level"], "level", format_.levels, 1);
    mapping.level = static_cast<unsigned>(level.value_or(1));
    return level.has_value();
  }

  bool ReadPlace(Mapping& mapping) {
    std::optional<uint64_t> at = 0;
    if (Has(mapping.node, "at")) at = resolve_(mapping.node["at"]);
    std::optional<uint64_t> to = at;
    if (Has(mapping.node, "to")) to = resolve_(mapping.node["to"]);
    mapping.at = at.value_or(0);
    mapping.to = to.value_or(0);
    return at && to;
  }

  bool ReadCount(Mapping& mapping, std::optional<uint64_t> default_bytes) {
    const YAML::Node& node = mapping.node;
    const uint64_t page = format_.PageBytes(mapping.level);
    std::optional<uint64_t> bytes = default_bytes.value_or(page);
    if (Has(node, "count")) {
      const auto count = reader_.Number(node["count"], "count", kMostEntries, 1);
      bytes = count ? std::optional(*count * page) : std::nullopt;
    } else if (Has(node, "bytes")) {
      bytes = reader_.Number(node["bytes"], "bytes", kMostEntries * page, 1);
    }
    mapping.count = (bytes.value_or(0) + page - 1) / page;
    return bytes.has_value();
  }

  bool ReadContent(Mapping& mapping) {
    const YAML::Node& node = mapping.node;
    std::optional<uint64_t> bits;
    if (Has(node, "raw")) {
      mapping.is_raw = true;
      bits = resolve_(node["raw"]);
      mapping.bits = bits.value_or(0);
      return bits.has_value();
    }
    if (Has(node, "table")) {
      const auto flag = ReadFlag(reader_, node["table"], "table");
      if (!flag) return false;
      mapping.is_table = *flag;
    }
    bits = ReadEntryBits(reader_, node, format_.is_ept, !mapping.is_table);
    if (!bits) return false;
    mapping.bits = *bits | (mapping.level > 1 && !mapping.is_table ? EptEntry::kLarge : 0);
    return mapping.is_table || CheckPage(mapping);
  }

  bool CheckPage(const Mapping& mapping) {
    const uint64_t page = format_.PageBytes(mapping.level);
    if (mapping.level > format_.largest_page) {
      reader_.Fail(mapping.source, "these tables have no pages of that size",
                   absl::StrCat("expected a level up to ", format_.largest_page));
      return false;
    }
    if (mapping.at % page == 0 && mapping.to % page == 0) return true;
    reader_.Fail(
        mapping.source,
        absl::StrCat("a page maps 0x", absl::Hex(mapping.at), " to 0x", absl::Hex(mapping.to)),
        absl::StrCat("expected multiples of its size, 0x", absl::Hex(page)));
    return false;
  }

  bool Apply(const Mapping& mapping) {
    const uint64_t page = format_.PageBytes(mapping.level);
    for (uint64_t i = 0; i < mapping.count; ++i) {
      const uint64_t at = mapping.at + i * page;
      const uint64_t to = mapping.is_raw ? 0 : mapping.to + i * page;
      const bool done = mapping.is_table ? tables_.SetTableBits(at, mapping.level, mapping.bits)
                                         : tables_.Set(at, mapping.level, to | mapping.bits);
      if (!done) {
        FailEntry(mapping, at);
        return false;
      }
      if (tables_.bytes().size() > kBlocksEnd) {
        reader_.Fail(mapping.source, "the tables need more room than a window has",
                     "expected larger pages, or fewer");
        return false;
      }
    }
    return true;
  }

  void FailEntry(const Mapping& mapping, uint64_t at) {
    reader_.Fail(mapping.source,
                 absl::StrCat("there is no ", mapping.is_table ? "reference to a table" : "entry",
                              " of level ", mapping.level, " for address 0x", absl::Hex(at)),
                 mapping.is_table ? "expected one with tables below that level"
                                  : "expected an address that the tables translate");
  }

  SourceReader& reader_;
  const PagingFormat format_;
  const Resolve& resolve_;
  PagingTables tables_;
};

}  // namespace

void MemoryBlocks::DeclareTables(Block& block, const YAML::Node& node) {
  if (block.offset.value_or(0) % kPageSize != 0) {
    reader_.Fail(block.source, absl::StrCat("memory block ", block.name, " begins within a page"),
                 "expected a multiple of 4096, where tables can be");
    return;
  }
  block.tables = BuildTables(block, node);
  if (block.tables) block.size = block.tables->bytes().size();
}

void MemoryBlocks::FillTables(Block& block, const YAML::Node& node) {
  block.tables = BuildTables(block, node);
  if (!block.tables) return;
  block.bytes = block.tables->bytes();
  if (block.bytes.size() == block.size) return;
  reader_.Fail(node, absl::StrCat("memory block ", block.name, " needs more tables in its place"),
               "expected addresses of blocks in the same 2 MBytes");
}

std::optional<PagingTables> MemoryBlocks::BuildTables(const Block& block, const YAML::Node& node) {
  const auto format = ReadFormat(reader_, std::string(block.contents->key) == "ept", node);
  if (!format) return std::nullopt;
  // Before blocks have places, an address in the window stands for the window's first: it is in the
  // same tables, since a window is part of what one table of level 1 translates.
  const TableReader::Resolve resolve = [this](const YAML::Node& at) -> std::optional<uint64_t> {
    const auto address = Value(at, "a part of a mapping");
    if (!address) return std::nullopt;
    return Absolute(*address);
  };
  const uint64_t base = WindowOf(cpu_) + block.offset.value_or(0);
  return TableReader(reader_, *format, base, resolve).Read(node);
}

}  // namespace nvmx::lhv
