// SPDX-License-Identifier: Apache-2.0
#include "lhv/paging_values.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/vmx/ept.h"
#include "core/x86/memory_type.h"
#include "lhv/bit_names.h"

namespace nvmx::lhv {
namespace {

struct AccessBits {
  uint64_t read = 0;
  uint64_t write = 0;
  uint64_t execute = 0;
  uint64_t user = 0;
  uint64_t not_execute = 0;
};

constexpr AccessBits kEptAccess = {
    .read = EptEntry::kRead, .write = EptEntry::kWrite, .execute = EptEntry::kExecute};
constexpr AccessBits kPageAccess = {.read = PageEntry::kPresent,
                                    .write = PageEntry::kWritable,
                                    .user = PageEntry::kUser,
                                    .not_execute = PageEntry::kNoExecute};

std::optional<uint64_t> ReadAccess(SourceReader& reader, const YAML::Node& node, bool is_ept) {
  const auto text = reader.Word(node, "access");
  if (!text) return std::nullopt;
  const AccessBits& bits = is_ept ? kEptAccess : kPageAccess;
  if (*text == "none") return 0;
  uint64_t access = bits.not_execute;
  for (const char letter : *text) {
    if (letter == 'r') {
      access |= bits.read;
    } else if (letter == 'w') {
      access |= bits.write;
    } else if (letter == 'x') {
      access = (access | bits.execute) & ~bits.not_execute;
    } else if (letter == 'u' && !is_ept) {
      access |= bits.user;
    } else {
      reader.Fail(node, absl::StrCat("access ", *text, " is not one"),
                  is_ept ? "expected none, or letters of r, w, x"
                         : "expected none, or letters of r, w, x, u");
      return std::nullopt;
    }
  }
  return access;
}

}  // namespace

std::optional<uint64_t> ReadEntryBits(SourceReader& reader, const YAML::Node& map, bool is_ept,
                                      bool maps_page) {
  std::optional<uint64_t> access =
      is_ept ? EptEntry::kPermissions : PageEntry::kPresent | PageEntry::kWritable;
  if (Has(map, "access")) access = ReadAccess(reader, map["access"], is_ept);
  if (!access) return std::nullopt;
  std::optional<uint64_t> type = 0;
  if (is_ept && maps_page) type = static_cast<uint64_t>(MemoryType::kWriteBack);
  if (Has(map, "memory_type")) type = ReadMemoryType(reader, map["memory_type"]);
  if (!type) return std::nullopt;
  std::optional<uint64_t> bits = 0;
  if (!is_ept) bits = PageEntry::kAccessed | (maps_page ? PageEntry::kDirty : 0);
  if (Has(map, "bits")) bits = ReadBits(reader, is_ept ? "ept_entry" : "page_entry", map["bits"]);
  if (!bits) return std::nullopt;
  return *access | *type << EptEntry::kMemoryTypeShift | *bits;
}

std::optional<uint64_t> ReadMemoryType(SourceReader& reader, const YAML::Node& node) {
  constexpr MemoryType kTypes[] = {MemoryType::kUncacheable, MemoryType::kWriteCombining,
                                   MemoryType::kWriteThrough, MemoryType::kWriteProtected,
                                   MemoryType::kWriteBack};
  constexpr uint64_t kMostType = 7;
  if (SourceReader::LooksLikeNumber(node)) return reader.Number(node, "memory_type", kMostType);
  const auto name = reader.Word(node, "memory_type");
  if (!name) return std::nullopt;
  std::vector<std::string> names;
  for (const MemoryType type : kTypes) {
    names.push_back(Name(type));
    if (*name == names.back()) return static_cast<uint64_t>(type);
  }
  reader.FailUnknown(node, "memory type", *name, names);
  return std::nullopt;
}

std::optional<unsigned> ReadPageSize(SourceReader& reader, const YAML::Node& node) {
  const auto text = reader.Word(node, "a page size");
  if (!text) return std::nullopt;
  if (*text == "4K") return 1;
  if (*text == "2M" || *text == "4M") return 2;
  if (*text == "1G") return 3;
  reader.Fail(node, absl::StrCat("there are no pages of ", *text), "expected 4K, 2M, 4M or 1G");
  return std::nullopt;
}

std::optional<bool> ReadFlag(SourceReader& reader, const YAML::Node& node,
                             const std::string& what) {
  if (node.IsScalar() && node.Scalar() == "true") return true;
  if (node.IsScalar() && node.Scalar() == "false") return false;
  reader.Fail(node, absl::StrCat(what, " is neither true nor false"), "expected true or false");
  return std::nullopt;
}

}  // namespace nvmx::lhv
