// SPDX-License-Identifier: Apache-2.0
#include "lhv/read_values.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "lhv/names.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMax32 = 0xFFFF'FFFF;

// Appends one element of the list, as often as it asks for. False after an error.
bool AppendEntry(SourceReader& reader, const YAML::Node& node, uint64_t most,
                 std::vector<MsrListEntry>& entries) {
  const std::string what = "an entry of msr_list";
  if (!reader.CheckMap(node, what, {"msr", "value", "reserved", "repeat"})) return false;
  const auto msr_node = reader.Required(node, what, "msr");
  if (!msr_node) return false;
  const auto msr = ReadMsr(reader, *msr_node);
  if (!msr) return false;
  MsrListEntry entry{.index = *msr};
  if (Has(node, "value")) {
    const auto value = reader.Number(node["value"], "value");
    if (!value) return false;
    entry.data = *value;
  }
  if (Has(node, "reserved")) {
    const auto reserved = reader.Number(node["reserved"], "reserved", kMax32);
    if (!reserved) return false;
    entry.reserved = static_cast<uint32_t>(*reserved);
  }
  uint64_t repeat = 1;
  if (Has(node, "repeat")) {
    const auto count = reader.Number(node["repeat"], "repeat", most, 1);
    if (!count) return false;
    repeat = *count;
  }
  if (entries.size() + repeat > most) {
    reader.Fail(node, absl::StrCat("the msr_list has ", entries.size() + repeat, " entries"),
                absl::StrCat("expected at most ", most, ", which fill the memory of a CPU"));
    return false;
  }
  entries.insert(entries.end(), repeat, entry);
  return true;
}

}  // namespace

std::optional<uint32_t> ReadMsr(SourceReader& reader, const YAML::Node& node) {
  if (SourceReader::LooksLikeNumber(node)) {
    const auto index = reader.Number(node, "an MSR index", kMax32);
    if (!index) return std::nullopt;
    return static_cast<uint32_t>(*index);
  }
  const auto name = reader.Word(node, "an MSR");
  if (!name) return std::nullopt;
  const auto index = MsrByName(*name);
  if (!index) reader.FailUnknown(node, "MSR", *name, MsrNames());
  return index;
}

std::optional<uint32_t> ReadField(SourceReader& reader, const YAML::Node& node) {
  if (SourceReader::LooksLikeNumber(node)) {
    const auto encoding = reader.Number(node, "a field encoding", kMax32);
    if (!encoding) return std::nullopt;
    return static_cast<uint32_t>(*encoding);
  }
  const auto name = reader.Word(node, "a VMCS field");
  if (!name) return std::nullopt;
  const auto encoding = FieldByName(*name);
  if (!encoding) reader.FailUnknown(node, "VMCS field", *name, FieldNames());
  return encoding;
}

std::optional<std::vector<MsrListEntry>> ReadMsrList(SourceReader& reader, const YAML::Node& list,
                                                     uint64_t most) {
  if (!reader.CheckList(list, "msr_list")) return std::nullopt;
  std::vector<MsrListEntry> entries;
  for (const YAML::Node& node : list) {
    if (!AppendEntry(reader, node, most, entries)) return std::nullopt;
  }
  return entries;
}

}  // namespace nvmx::lhv
