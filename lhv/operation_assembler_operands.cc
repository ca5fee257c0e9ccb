// SPDX-License-Identifier: Apache-2.0
// The operations with numbers for operands: VMCALL, CPUID, MSRs, memory, and sending to CPUs.
#include "absl/strings/str_cat.h"
#include "core/x86/exception.h"
#include "lhv/layout.h"
#include "lhv/operation_assembler.h"
#include "lhv/operation_syntax.h"
#include "lhv/read_values.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMax32 = 0xFFFF'FFFF;

}  // namespace

void OperationAssembler::AppendVmcall(const Item& item) {
  const bool has_argument =
      !item.argument.IsNull() && !(item.argument.IsMap() && item.argument.size() == 0);
  const auto value =
      has_argument ? reader_.Number(item.argument, item.name(), ~uint64_t{0}) : uint64_t{0};
  if (value) Append(item, {.kind = item.syntax.kind, .value = *value});
}

void OperationAssembler::AppendCpuid(const Item& item) {
  const YAML::Node& argument = item.argument;
  if (!argument.IsMap()) {
    const auto leaf = reader_.Number(argument, "a leaf", kMax32);
    if (leaf) Append(item, {.kind = item.syntax.kind, .selector = static_cast<uint32_t>(*leaf)});
    return;
  }
  if (!reader_.CheckMap(argument, item.name(), {"leaf", "subleaf"})) return;
  const auto leaf_node = reader_.Required(argument, item.name(), "leaf");
  if (!leaf_node) return;
  const auto leaf = reader_.Number(*leaf_node, "leaf", kMax32);
  const auto subleaf = Has(argument, "subleaf")
                           ? reader_.Number(argument["subleaf"], "subleaf", kMax32)
                           : uint64_t{0};
  if (!leaf || !subleaf) return;
  Append(item,
         {.kind = item.syntax.kind, .selector = static_cast<uint32_t>(*leaf), .value = *subleaf});
}

void OperationAssembler::AppendRdmsr(const Item& item) {
  const auto msr = ReadMsr(reader_, item.argument);
  if (msr) Append(item, {.kind = item.syntax.kind, .selector = *msr});
}

void OperationAssembler::AppendWrmsr(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"msr", "value", "address_of", "offset", "count_of"})) {
    return;
  }
  const auto msr_node = reader_.Required(map, item.name(), "msr");
  if (!msr_node) return;
  const auto msr = ReadMsr(reader_, *msr_node);
  if (!msr) return;
  const auto value = Value(item, ~uint64_t{0});
  if (!value) return;
  Append(
      item,
      {.kind = item.syntax.kind, .flags = value->flags, .selector = *msr, .value = value->value});
}

void OperationAssembler::AppendMemoryAccess(const Item& item) {
  const YAML::Node& map = item.argument;
  const bool writes = item.syntax.kind == OperationKind::kWriteMemory;
  std::vector<std::string> keys = {"address", "address_of", "offset", "width"};
  if (writes) keys.push_back("value");
  if (!reader_.CheckMap(map, item.name(), keys)) return;
  uint64_t width = sizeof(uint64_t);
  if (Has(map, "width")) {
    const auto given = reader_.Number(map["width"], "width");
    if (!given) return;
    width = *given;
  }
  if (width != 1 && width != 2 && width != 4 && width != 8) {
    reader_.Fail(map["width"], absl::StrCat("width ", width, " is not that of an operand"),
                 "expected 1, 2, 4 or 8 bytes");
    return;
  }
  AddressOperand written;
  if (writes) {
    const auto value_node = reader_.Required(map, item.name(), "value");
    if (!value_node) return;
    const auto value = blocks_.Value(*value_node, "value", ~uint64_t{0} >> (64 - 8 * width));
    if (!value) return;
    written = *value;
  }
  const auto address = MemoryAddress(item, width);
  if (!address) return;
  const bool writes_address = (written.flags & kValueIsWindowOffset) != 0;
  Append(item, {.kind = item.syntax.kind,
                .flags = static_cast<uint16_t>(address->flags |
                                               (writes_address ? kExtraIsWindowOffset : 0)),
                .selector = static_cast<uint32_t>(width),
                .value = address->value,
                .extra = written.value});
}

std::optional<AddressOperand> OperationAssembler::MemoryAddress(const Item& item, uint64_t width) {
  const YAML::Node& map = item.argument;
  if (!Has(map, "address")) {
    const auto address = blocks_.AddressOf(map, item.name());
    if (address && address->value > kWindowBytes - width) {
      reader_.Fail(map, absl::StrCat(item.name(), " runs past the end of the window"),
                   "expected an operand that lies in it");
      return std::nullopt;
    }
    return address;
  }
  if (Has(map, "address_of") || Has(map, "offset")) {
    reader_.Fail(map, absl::StrCat(item.name(), " has two addresses"),
                 "expected address, or address_of with an optional offset");
    return std::nullopt;
  }
  return blocks_.Value(map["address"], "address");
}

void OperationAssembler::AppendSend(const Item& item) {
  const auto destination =
      item.argument.IsMap() ? DestinationOf(item, {"to", "cpu"}) : Destination(item, item.argument);
  if (destination) Append(item, {.kind = item.syntax.kind, .selector = *destination});
}

void OperationAssembler::AppendSendWithVector(const Item& item) {
  const YAML::Node& map = item.argument;
  const auto destination = DestinationOf(item, {"to", "cpu", "vector"});
  if (!destination) return;
  const auto vector_node = reader_.Required(map, item.name(), "vector");
  if (!vector_node) return;
  const bool is_interrupt = item.syntax.kind == OperationKind::kSendInterrupt;
  const auto vector =
      reader_.Number(*vector_node, "vector", 0xFF, is_interrupt ? kFirstInterruptVector : 0);
  if (!vector) return;
  Append(item, {.kind = item.syntax.kind, .selector = *destination, .value = *vector});
}

std::optional<uint32_t> OperationAssembler::Destination(const Item& item, const YAML::Node& node) {
  if (node.IsScalar() && node.Scalar() == "others") return kToAllOthers;
  if (node.IsScalar() && node.Scalar() == "self") return kToSelf;
  reader_.Fail(node, absl::StrCat(item.name(), " does not say to whom"),
               "expected others, self, or {cpu: number}");
  return std::nullopt;
}

std::optional<uint32_t> OperationAssembler::DestinationOf(const Item& item,
                                                          const std::vector<std::string>& keys) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), keys)) return std::nullopt;
  if (Has(map, "to") == Has(map, "cpu")) {
    reader_.Fail(map, absl::StrCat(item.name(), " does not say to whom"),
                 "expected one of to: others, to: self, cpu: number");
    return std::nullopt;
  }
  if (Has(map, "to")) return Destination(item, map["to"]);
  const auto cpu = reader_.Number(map["cpu"], "cpu", cpu_count_ - 1);
  if (!cpu) return std::nullopt;
  return static_cast<uint32_t>(*cpu);
}

}  // namespace nvmx::lhv
