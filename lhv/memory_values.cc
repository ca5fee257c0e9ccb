// SPDX-License-Identifier: Apache-2.0
// The values that refer to blocks, to places in the code, or to bits by their names.
#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/vmx/ept.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/address.h"
#include "core/x86/memory_type.h"
#include "lhv/bit_names.h"
#include "lhv/layout.h"
#include "lhv/memory_blocks.h"
#include "lhv/paging_values.h"

namespace nvmx::lhv {
namespace {

constexpr unsigned kMostLevels = 8;  // EPTP bits 5:3 hold the number minus 1

std::string HexText(uint64_t value) { return absl::StrCat("0x", absl::Hex(value)); }

std::vector<std::string> Concatenated(std::vector<std::string> a,
                                      const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::optional<InterruptionType> ReadInterruptionType(SourceReader& reader, const YAML::Node& node) {
  static const std::vector<std::string> kNames = {
      "external_interrupt", "reserved",           "nmi",
      "hardware_exception", "software_interrupt", "privileged_software_exception",
      "software_exception", "other_event"};
  if (SourceReader::LooksLikeNumber(node)) {
    const auto number = reader.Number(node, "type", kNames.size() - 1);
    if (!number) return std::nullopt;
    return static_cast<InterruptionType>(*number);
  }
  const auto name = reader.Word(node, "type");
  if (!name) return std::nullopt;
  const auto found = std::find(kNames.begin(), kNames.end(), *name);
  if (found == kNames.end()) {
    reader.FailUnknown(node, "interruption type", *name, kNames);
    return std::nullopt;
  }
  return static_cast<InterruptionType>(found - kNames.begin());
}

}  // namespace

// A map that is a value has one key that says which form it has, and others that go with it.
struct MemoryBlocks::ValueForm {
  const char* key;
  std::vector<std::string> more_keys;
  std::optional<AddressOperand> (MemoryBlocks::*read)(const YAML::Node& map);
};

const std::vector<MemoryBlocks::ValueForm>& MemoryBlocks::AllValueForms() {
  static const auto& all = *new std::vector<ValueForm>{
      {"count_of", {}, &MemoryBlocks::CountOf},
      {"eptp_of", {"memory_type", "walk_length", "accessed_dirty"}, &MemoryBlocks::Eptp},
      {"entry_of", {"address", "level"}, &MemoryBlocks::EntryOf},
      {"ept_entry",
       {"access", "memory_type", "bits", "level", "table"},
       &MemoryBlocks::EptEntryValue},
      {"page_entry", {"access", "bits", "level", "table"}, &MemoryBlocks::PageEntryValue},
      {"operation", {"level"}, &MemoryBlocks::OperationOf},
      {"interruption", {}, &MemoryBlocks::Interruption},
  };
  return all;
}

std::vector<std::string> MemoryBlocks::ValueKeys() {
  std::vector<std::string> keys = {"address_of", "offset"};
  for (const ValueForm& form : AllValueForms()) keys.push_back(form.key);
  return Concatenated(keys, BitValueNames());
}

std::optional<AddressOperand> MemoryBlocks::Address(const YAML::Node& node,
                                                    const std::string& what) {
  return Value(node, what);
}

std::optional<AddressOperand> MemoryBlocks::Value(const YAML::Node& node, const std::string& what,
                                                  uint64_t max) {
  if (SourceReader::LooksLikeNumber(node)) {
    const auto number = reader_.Number(node, what, max);
    if (!number) return std::nullopt;
    return AddressOperand{*number, 0};
  }
  std::optional<AddressOperand> value;
  if (node.IsScalar()) {
    const auto index = Find(node);
    if (!index) return std::nullopt;
    value = AddressOperand{blocks_[*index].offset.value_or(0), kValueIsWindowOffset};
  } else if (node.IsMap()) {
    value = ValueOfMap(node, what);
  } else {
    reader_.Fail(
        node, absl::StrCat(what, " is not given an address"),
        "expected a number, the name of a memory block, or {address_of: block, offset: n}");
  }
  if (!value) return std::nullopt;
  const bool is_address = (value->flags & kValueIsWindowOffset) != 0;
  if ((is_address ? kWindowBase + value->value : value->value) > max) {
    reader_.Fail(node,
                 absl::StrCat(is_address ? "an address" : "the value", " is too large for ", what),
                 absl::StrCat("expected at most ", HexText(max)));
    return std::nullopt;
  }
  return value;
}

std::optional<AddressOperand> MemoryBlocks::ValueOfMap(const YAML::Node& map,
                                                       const std::string& what) {
  for (const ValueForm& form : AllValueForms()) {
    if (!Has(map, form.key)) continue;
    if (!reader_.CheckMap(map, what, Concatenated({form.key}, form.more_keys))) {
      return std::nullopt;
    }
    return (this->*form.read)(map);
  }
  for (const std::string& kind : BitValueNames()) {
    if (!Has(map, kind)) continue;
    if (!reader_.CheckMap(map, what, {kind})) return std::nullopt;
    const auto bits = ReadBits(reader_, kind, map[kind]);
    if (!bits) return std::nullopt;
    return AddressOperand{*bits, 0};
  }
  if (!Has(map, "address_of") && !reader_.CheckMap(map, what, ValueKeys())) return std::nullopt;
  if (Has(map, "address_of") && !reader_.CheckMap(map, what, {"address_of", "offset"})) {
    return std::nullopt;
  }
  return AddressOf(map, what);
}

std::optional<AddressOperand> MemoryBlocks::AddressOf(const YAML::Node& map,
                                                      const std::string& what) {
  const auto name = reader_.Required(map, what, "address_of");
  if (!name) return std::nullopt;
  const auto index = Find(*name);
  if (!index) return std::nullopt;
  uint64_t offset = blocks_[*index].offset.value_or(0);
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

std::optional<AddressOperand> MemoryBlocks::CountOf(const YAML::Node& map) {
  const auto count = EntryCount(map["count_of"]);
  if (!count) return std::nullopt;
  return AddressOperand{*count, 0};
}

std::optional<AddressOperand> MemoryBlocks::Eptp(const YAML::Node& map) {
  const auto address = Address(map["eptp_of"], "eptp_of");
  if (!address) return std::nullopt;
  std::optional<uint64_t> levels = 4;
  if (map["eptp_of"].IsScalar() && !SourceReader::LooksLikeNumber(map["eptp_of"])) {
    const auto index = Find(map["eptp_of"]);
    if (index && blocks_[*index].tables) levels = blocks_[*index].tables->format().levels;
  }
  if (Has(map, "walk_length")) {
    levels = reader_.Number(map["walk_length"], "walk_length", kMostLevels, 1);
  }
  std::optional<uint64_t> type = static_cast<uint64_t>(MemoryType::kWriteBack);
  if (Has(map, "memory_type")) type = ReadMemoryType(reader_, map["memory_type"]);
  std::optional<bool> accessed_dirty = false;
  if (Has(map, "accessed_dirty")) {
    accessed_dirty = ReadFlag(reader_, map["accessed_dirty"], "accessed_dirty");
  }
  if (!levels || !type || !accessed_dirty) return std::nullopt;
  // The address is a multiple of the page size where it makes sense.
  return AddressOperand{address->value + (*type | (*levels - 1) << nvmx::Eptp::kWalkLengthShift |
                                          (*accessed_dirty ? nvmx::Eptp::kAccessedAndDirty : 0)),
                        address->flags};
}

std::optional<AddressOperand> MemoryBlocks::EntryOf(const YAML::Node& map) {
  const auto index = Find(map["entry_of"]);
  if (!index) return std::nullopt;
  const Block& block = blocks_[*index];
  if (!block.tables) {
    reader_.Fail(map, absl::StrCat("memory block ", block.name, " holds no tables"),
                 "expected the name of a block with ept or page_tables");
    return std::nullopt;
  }
  const auto address_node = reader_.Required(map, "entry_of", "address");
  if (!address_node) return std::nullopt;
  const auto address = Address(*address_node, "address");
  if (!address) return std::nullopt;
  std::optional<uint64_t> level = 1;
  if (Has(map, "level")) {
    level = reader_.Number(map["level"], "level", block.tables->format().levels, 1);
  }
  if (!level) return std::nullopt;
  const auto offset = block.tables->EntryOffset(Absolute(*address), static_cast<unsigned>(*level));
  if (!offset) {
    reader_.Fail(map,
                 absl::StrCat("memory block ", block.name, " has no table of level ", *level,
                              " for address ", HexText(Absolute(*address))),
                 "expected a level that the translation gets to");
    return std::nullopt;
  }
  return AddressOperand{block.offset.value_or(0) + *offset, kValueIsWindowOffset};
}

std::optional<AddressOperand> MemoryBlocks::EptEntryValue(const YAML::Node& map) {
  return EntryValue(map, "ept_entry", true);
}

std::optional<AddressOperand> MemoryBlocks::PageEntryValue(const YAML::Node& map) {
  return EntryValue(map, "page_entry", false);
}

std::optional<AddressOperand> MemoryBlocks::EntryValue(const YAML::Node& map,
                                                       const std::string& key, bool is_ept) {
  const auto address = Address(map[key], key);
  if (!address) return std::nullopt;
  std::optional<uint64_t> level = 1;
  if (Has(map, "level")) level = reader_.Number(map["level"], "level", kMostLevels, 1);
  std::optional<bool> is_table = false;
  if (Has(map, "table")) is_table = ReadFlag(reader_, map["table"], "table");
  if (!level || !is_table) return std::nullopt;
  const auto bits = ReadEntryBits(reader_, map, is_ept, !*is_table);
  if (!bits) return std::nullopt;
  const uint64_t large = *level > 1 && !*is_table ? EptEntry::kLarge : 0;
  return AddressOperand{address->value + (*bits | large), address->flags};
}

std::optional<AddressOperand> MemoryBlocks::OperationOf(const YAML::Node& map) {
  constexpr uint64_t kMostLevel = 2;
  const auto name = reader_.Word(map["operation"], "operation");
  if (!name) return std::nullopt;
  std::optional<uint64_t> level = 1;
  if (Has(map, "level")) level = reader_.Number(map["level"], "level", kMostLevel, 1);
  if (!level) return std::nullopt;
  const auto& labels = labels_.Of(static_cast<uint32_t>(*level));
  const auto found = labels.find(*name);
  if (found == labels.end() && labels_.complete) {
    std::vector<std::string> names;
    for (const auto& label : labels) names.push_back(label.first);
    reader_.FailUnknown(map["operation"], absl::StrCat("label of L", *level), *name, names);
    return std::nullopt;
  }
  const uint64_t index = found == labels.end() ? 0 : found->second;
  const uint64_t code = CodeOf(cpu_, *level == 1 ? kL1CodeBase : kL2CodeBase);
  return AddressOperand{OperationAddress(code, index), 0};
}

std::optional<AddressOperand> MemoryBlocks::Interruption(const YAML::Node& map) {
  const YAML::Node& description = map["interruption"];
  const std::string what = "interruption";
  if (!reader_.CheckMap(description, what, {"vector", "type", "error_code", "valid", "bits"})) {
    return std::nullopt;
  }
  const auto vector_node = reader_.Required(description, what, "vector");
  const auto type_node = reader_.Required(description, what, "type");
  if (!vector_node || !type_node) return std::nullopt;
  const auto vector = reader_.Number(*vector_node, "vector", InterruptionInformation::kVectorMask);
  if (!vector) return std::nullopt;
  const auto type = ReadInterruptionType(reader_, *type_node);
  if (!type) return std::nullopt;
  std::optional<bool> error_code = false;
  std::optional<bool> valid = true;
  std::optional<uint64_t> bits = 0;
  if (Has(description, "error_code")) {
    error_code = ReadFlag(reader_, description["error_code"], "error_code");
  }
  if (Has(description, "valid")) valid = ReadFlag(reader_, description["valid"], "valid");
  if (Has(description, "bits")) bits = reader_.Number(description["bits"], "bits", 0xFFFF'FFFF);
  if (!error_code || !valid || !bits) return std::nullopt;
  uint64_t value =
      InterruptionInformation::Make(*type, static_cast<uint8_t>(*vector), *error_code).value();
  if (!*valid) value &= ~uint64_t{InterruptionInformation::kValid};
  return AddressOperand{value | *bits, 0};
}

}  // namespace nvmx::lhv
