// SPDX-License-Identifier: Apache-2.0
// The operations on a VMCS and its fields, and VM entry.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/exit_fields.h"
#include "lhv/layout.h"
#include "lhv/names.h"
#include "lhv/operand.h"
#include "lhv/operation_assembler.h"
#include "lhv/operation_syntax.h"
#include "lhv/paging_values.h"
#include "lhv/read_values.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMax32 = 0xFFFF'FFFF;

}  // namespace

void OperationAssembler::AppendVmread(const Item& item) {
  Operation operation{.kind = item.syntax.kind};
  YAML::Node field_node = item.argument;
  if (item.argument.IsMap()) {
    if (!reader_.CheckMap(item.argument, item.name(), {"field", "operand"})) return;
    const auto given = reader_.Required(item.argument, item.name(), "field");
    if (!given || !ReadOperand(item.argument, operation)) return;
    field_node.reset(*given);
  }
  const auto field = ReadField(reader_, field_node);
  if (!field) return;
  operation.selector = *field;
  Append(item, operation);
}

void OperationAssembler::AppendVmwrite(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(),
                        {"field", "value", "address_of", "offset", "count_of", "operand"})) {
    return;
  }
  const auto field_node = reader_.Required(map, item.name(), "field");
  if (!field_node) return;
  const auto field = ReadField(reader_, *field_node);
  if (!field) return;
  Operation operation{.kind = item.syntax.kind, .selector = *field};
  if (!ReadOperand(map, operation)) return;
  const bool is_in_memory = (operation.flags & kHasOperand) != 0 &&
                            UnpackOperand(operation.operand).kind == Operand::Kind::kMemory;
  if (!is_in_memory) {
    // The high half of a 64-bit field is 32 bits.
    const auto value = Value(item, IsHigh(*field) ? kMax32 : ValueMask(Width(*field)));
    if (!value) return;
    operation.flags |= value->flags;
    operation.value = value->value;
  }
  Append(item, operation);
}

std::optional<AddressOperand> OperationAssembler::Value(const Item& item, uint64_t max) {
  const YAML::Node& map = item.argument;
  const int given = Has(map, "value") + Has(map, "address_of") + Has(map, "count_of");
  if (given != 1) {
    reader_.Fail(
        map, absl::StrCat(item.name(), given == 0 ? " has no value" : " has more than one value"),
        "expected one of value, address_of, count_of");
    return std::nullopt;
  }
  if (Has(map, "offset") && !Has(map, "address_of")) {
    reader_.Fail(map["offset"], absl::StrCat(item.name(), " has an offset without address_of"),
                 "expected address_of: block with it");
    return std::nullopt;
  }
  if (Has(map, "address_of")) {
    const auto address = blocks_.AddressOf(map, item.name());
    if (address && kWindowBase + address->value > max) {
      reader_.Fail(map["address_of"], "an address is too large for this field",
                   absl::StrCat("expected a field of more than 16 bits"));
      return std::nullopt;
    }
    return address;
  }
  if (Has(map, "value")) return blocks_.Value(map["value"], "value", max);
  const auto number = blocks_.EntryCount(map["count_of"]);
  if (!number) return std::nullopt;
  return AddressOperand{*number, 0};
}

void OperationAssembler::AppendVmwriteControl(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"field", "bits", "value"})) {
    return;
  }
  const auto field_node = reader_.Required(map, item.name(), "field");
  if (!field_node) return;
  const auto field = ReadField(reader_, *field_node);
  if (!field) return;
  if (!IsControlField(*field)) {
    reader_.Fail(*field_node, absl::StrCat(FieldText(*field), " has no capability MSR"),
                 absl::StrCat("expected one of ", absl::StrJoin(ControlFieldNames(), ", ")));
    return;
  }
  if (Has(map, "bits") == Has(map, "value")) {
    reader_.Fail(map,
                 absl::StrCat(item.name(), Has(map, "bits") ? " has bits and value"
                                                            : " has neither bits nor value"),
                 "expected bits: [names] or value: number");
    return;
  }
  const auto wanted = Has(map, "bits")
                          ? ControlBits(*field, map["bits"])
                          : reader_.Number(map["value"], "value", ValueMask(Width(*field)));
  if (!wanted) return;
  Append(item, {.kind = item.syntax.kind, .selector = *field, .value = *wanted});
}

std::optional<uint64_t> OperationAssembler::ControlBits(uint32_t encoding, const YAML::Node& list) {
  if (!reader_.CheckList(list, "bits")) return std::nullopt;
  uint64_t bits = 0;
  for (const YAML::Node& node : list) {
    const auto name = reader_.Word(node, "a bit");
    if (!name) return std::nullopt;
    const auto bit = ControlBitByName(encoding, *name);
    if (!bit) {
      reader_.FailUnknown(node, "bit", *name, ControlBitNames(encoding),
                          absl::StrCat(" of ", FieldText(encoding)));
      return std::nullopt;
    }
    bits |= *bit;
  }
  return bits;
}

void OperationAssembler::AppendVmEntry(const Item& item) {
  const bool has_argument = !item.argument.IsNull();
  if (has_argument && !reader_.CheckMap(item.argument, item.name(), {"observe", "keep_host_rip"})) {
    return;
  }
  std::optional<bool> keep_host_rip = false;
  if (Has(item.argument, "keep_host_rip")) {
    keep_host_rip = ReadFlag(reader_, item.argument["keep_host_rip"], "keep_host_rip");
  }
  std::optional<uint32_t> observed = 0;
  if (Has(item.argument, "observe")) observed = ExitFields(item.argument["observe"]);
  if (!observed || !keep_host_rip) return;
  if (level_ == 1 && !*keep_host_rip) {
    // The VM exit continues after the VM entry, which is after this operation.
    Append(item, {.kind = OperationKind::kSetHostRip, .value = operations_.size() + 2});
  }
  if (level_ == 2 && *observed != 0) {
    reader_.Fail(item.argument, absl::StrCat(item.name(), " of L2 cannot observe an exit"),
                 absl::StrCat("expected ", item.name(), " alone"));
    return;
  }
  Append(item, {.kind = item.syntax.kind});
  if (*observed != 0) {
    Append(item, {.kind = OperationKind::kObserveExit, .selector = *observed});
  }
}

void OperationAssembler::AppendObserveExit(const Item& item) {
  const auto fields = item.argument.IsNull() ? kDefaultExitFields : ExitFields(item.argument);
  if (!fields) return;
  Append(item, {.kind = item.syntax.kind, .selector = *fields});
}

std::optional<uint32_t> OperationAssembler::ExitFields(const YAML::Node& list) {
  if (!reader_.CheckList(list, "what to observe")) return std::nullopt;
  std::vector<std::string> names;
  for (const ExitField& row : kExitFields) names.push_back(row.name);
  uint32_t selected = 0;
  for (const YAML::Node& node : list) {
    const auto name = reader_.Word(node, "what to observe");
    if (!name) return std::nullopt;
    const auto found = std::find(names.begin(), names.end(), *name);
    if (found == names.end()) {
      reader_.FailUnknown(node, "field of a VM exit", *name, names);
      return std::nullopt;
    }
    selected |= uint32_t{1} << (found - names.begin());
  }
  return selected;
}

}  // namespace nvmx::lhv
