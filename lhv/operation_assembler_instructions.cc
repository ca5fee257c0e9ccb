// SPDX-License-Identifier: Apache-2.0
// Single instructions with operands of their own, how a memory or register operand is encoded, and
// handlers.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "core/x86/general_register.h"
#include "core/x86/segment.h"
#include "lhv/layout.h"
#include "lhv/operand.h"
#include "lhv/operation_assembler.h"
#include "lhv/operation_check.h"
#include "lhv/operation_syntax.h"
#include "lhv/operation_text.h"
#include "lhv/paging_values.h"

namespace nvmx::lhv {
namespace {

constexpr uint64_t kMax32 = 0xFFFF'FFFF;
constexpr uint64_t kControlRegisters[] = {0, 2, 3, 4, 8};
constexpr uint64_t kLastDebugRegister = 7;

bool IsOfControlRegister(OperationKind kind) {
  return kind == OperationKind::kMovToCr || kind == OperationKind::kMovFromCr;
}

// The number of a control or debug register that exists.
std::optional<uint64_t> ReadRegisterNumber(SourceReader& reader, OperationKind kind,
                                           const YAML::Node& node) {
  if (!IsOfControlRegister(kind)) {
    return reader.Number(node, "a debug register", kLastDebugRegister);
  }
  const auto number = reader.Number(node, "a control register");
  if (!number) return std::nullopt;
  if (std::find(std::begin(kControlRegisters), std::end(kControlRegisters), *number) !=
      std::end(kControlRegisters)) {
    return number;
  }
  reader.Fail(node, absl::StrCat("there is no control register ", *number),
              "expected 0, 2, 3, 4 or 8");
  return std::nullopt;
}

// The names of the invalidation types from `first` on. SDM Vol. 3C, 31.3 "VMX Instructions"; Vol.
// 2A, "INVPCID".
struct InvalidationTypes {
  OperationKind kind;
  uint64_t first;
  std::vector<std::string> names;
  const char* tag;      // the key of the low half of the descriptor, or of the EPTP
  const char* address;  // the key of the address, nullptr if the descriptor has none
};

const InvalidationTypes& TypesOf(OperationKind kind) {
  static const auto& all = *new std::vector<InvalidationTypes>{
      {OperationKind::kInvept, 1, {"single_context", "all_contexts"}, "eptp", nullptr},
      {OperationKind::kInvvpid,
       0,
       {"individual_address", "single_context", "all_contexts", "single_context_retaining_globals"},
       "vpid",
       "address"},
      {OperationKind::kInvpcid,
       0,
       {"individual_address", "single_context", "all_contexts", "all_contexts_retaining_globals"},
       "pcid",
       "address"},
  };
  for (const InvalidationTypes& types : all) {
    if (types.kind == kind) return types;
  }
  return all.front();
}

std::optional<uint64_t> ReadInvalidationType(SourceReader& reader, const InvalidationTypes& types,
                                             const YAML::Node& node) {
  if (SourceReader::LooksLikeNumber(node)) return reader.Number(node, "type", kMax32);
  const auto name = reader.Word(node, "type");
  if (!name) return std::nullopt;
  const auto found = std::find(types.names.begin(), types.names.end(), *name);
  if (found == types.names.end()) {
    reader.FailUnknown(node, "type of invalidation", *name, types.names);
    return std::nullopt;
  }
  return types.first + static_cast<uint64_t>(found - types.names.begin());
}

// The position of the name that the node gives among those of `count` enumerators.
template <typename Enumerator>
std::optional<Enumerator> ReadName(SourceReader& reader, const YAML::Node& node, const char* what,
                                   unsigned count) {
  const auto name = reader.Word(node, what);
  if (!name) return std::nullopt;
  std::vector<std::string> names;
  for (unsigned i = 0; i < count; ++i) {
    names.push_back(absl::AsciiStrToLower(Name(static_cast<Enumerator>(i))));
    if (*name == names.back()) return static_cast<Enumerator>(i);
  }
  reader.FailUnknown(node, what, *name, names);
  return std::nullopt;
}

constexpr unsigned kOperandSegments = 6;
constexpr unsigned kShapes = static_cast<unsigned>(Operand::Shape::kRspDisplacement) + 1;

}  // namespace

bool OperationAssembler::ReadOperand(const YAML::Node& map, Operation& operation) {
  if (!Has(map, "operand")) return true;
  const YAML::Node node = map["operand"];
  if (!Has(node, "register")) return ReadMemoryOperand(node, operation);
  if (!reader_.CheckMap(node, "operand", {"register"})) return false;
  if (!CanHaveRegisterOperand(operation.kind)) {
    reader_.Fail(node, "this instruction has no register operand",
                 "expected a memory operand such as {segment: ds, address_of: block}");
    return false;
  }
  const auto general_register = ReadName<GeneralRegister>(
      reader_, node["register"], "general-purpose register", kGeneralRegisterCount);
  if (!general_register) return false;
  operation.flags |= kHasOperand;
  operation.operand =
      PackOperand({.kind = Operand::Kind::kRegister, .general_register = *general_register});
  return true;
}

bool OperationAssembler::ReadMemoryOperand(const YAML::Node& node, Operation& operation) {
  if (!reader_.CheckMap(
          node, "operand",
          {"register", "segment", "shape", "address_size", "address", "address_of", "offset"})) {
    return false;
  }
  Operand operand{.kind = Operand::Kind::kMemory};
  if (Has(node, "segment")) {
    const auto segment =
        ReadName<SegmentRegister>(reader_, node["segment"], "segment register", kOperandSegments);
    if (!segment) return false;
    operand.segment = *segment;
  }
  const auto size = NumberOr(node, "address_size", 64, 64, 32);
  if (!size) return false;
  if (*size != 32 && *size != 64) {
    reader_.Fail(node["address_size"], absl::StrCat("there are no addresses of ", *size, " bits"),
                 "expected 32 or 64");
    return false;
  }
  operand.has_32_bit_address = *size == 32;
  const auto address = Has(node, "address") ? blocks_.Value(node["address"], "address")
                                            : blocks_.AddressOf(node, "operand");
  if (!address) return false;
  if (!IsPackableOffset(address->value)) {
    reader_.Fail(node, absl::StrCat("an operand at 0x", absl::Hex(address->value)),
                 "expected an address whose bits 59:47 are equal to bit 60");
    return false;
  }
  operand.offset = address->value;
  // A displacement has 32 bits, sign-extended.
  const bool is_displacement =
      address->value == static_cast<uint64_t>(static_cast<int32_t>(address->value));
  operand.shape = is_displacement ? Operand::Shape::kDisplacement : Operand::Shape::kBase;
  if (Has(node, "shape")) {
    const auto shape =
        ReadName<Operand::Shape>(reader_, node["shape"], "shape of an address", kShapes);
    if (!shape) return false;
    operand.shape = *shape;
  }
  if (operand.shape == Operand::Shape::kDisplacement && !is_displacement) {
    reader_.Fail(node, absl::StrCat("no displacement is 0x", absl::Hex(address->value)),
                 "expected another shape for an address of more than 32 bits");
    return false;
  }
  const bool in_window = (address->flags & kValueIsWindowOffset) != 0;
  operation.flags |= kHasOperand | (in_window ? kOperandIsWindowOffset : 0);
  operation.operand = PackOperand(operand);
  return true;
}

std::optional<uint64_t> OperationAssembler::NumberOr(const YAML::Node& map, const std::string& key,
                                                     uint64_t otherwise, uint64_t max,
                                                     uint64_t min) {
  if (!Has(map, key)) return otherwise;
  return reader_.Number(map[key], key, max, min);
}

std::optional<AddressOperand> OperationAssembler::ValueOr(const YAML::Node& map,
                                                          const std::string& key,
                                                          uint64_t otherwise) {
  if (!Has(map, key)) return AddressOperand{otherwise, 0};
  return blocks_.Value(map[key], key);
}

void OperationAssembler::AppendWithValue(const Item& item) {
  if (Has(item.argument, "operand") && CanHaveMemoryOperand(item.syntax.kind)) {
    AppendWithAddress(item);
    return;
  }
  const auto value = blocks_.Value(item.argument, item.name());
  if (!value) return;
  const Operation operation{.kind = item.syntax.kind, .flags = value->flags, .value = value->value};
  // Of these operations a fetch alone has values that it cannot have.
  if (!IsValidOperation(operation, 1, kMostCpusOfLayout)) {
    return reader_.Fail(item.argument, "an address where the operations of programs are",
                        "expected one where memory can be fetched");
  }
  Append(item, operation);
}

void OperationAssembler::AppendSelector(const Item& item) {
  constexpr uint64_t kLastVector = 0xFF;
  std::optional<uint64_t> number;
  switch (item.syntax.kind) {
    case OperationKind::kMovFromCr:
    case OperationKind::kMovFromDr:
      number = ReadRegisterNumber(reader_, item.syntax.kind, item.argument);
      break;
    case OperationKind::kInt:
      number = reader_.Number(item.argument, item.name(), kLastVector);
      break;
    default:
      number = reader_.Number(item.argument, item.name(), kMax32);
      break;
  }
  if (!number) return;
  Append(item, {.kind = item.syntax.kind, .selector = static_cast<uint32_t>(*number)});
}

void OperationAssembler::AppendInvalidation(const Item& item) {
  const InvalidationTypes& types = TypesOf(item.syntax.kind);
  const YAML::Node& map = item.argument;
  std::vector<std::string> keys = {"type", types.tag, "reserved", "operand"};
  if (types.address != nullptr) keys.push_back(types.address);
  if (!reader_.CheckMap(map, item.name(), keys)) return;
  const auto type_node = reader_.Required(map, item.name(), "type");
  if (!type_node) return;
  const auto type = ReadInvalidationType(reader_, types, *type_node);
  const auto tag = ValueOr(map, types.tag, 0);
  const auto reserved = NumberOr(map, "reserved", 0, ~uint64_t{0});
  if (!type || !tag || !reserved) return;
  Operation operation{.kind = item.syntax.kind, .selector = static_cast<uint32_t>(*type)};
  if (types.address == nullptr) {
    // INVEPT: the EPTP, then 64 reserved bits.
    operation.flags = tag->flags;
    operation.value = tag->value;
    operation.extra = *reserved;
  } else {
    const auto address = ValueOr(map, types.address, 0);
    if (!address) return;
    operation.flags = address->flags;
    operation.value = address->value;
    operation.extra = tag->value | *reserved;
  }
  if (ReadOperand(map, operation)) Append(item, operation);
}

void OperationAssembler::AppendVmfunc(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"function", "ecx"})) return;
  const auto function = NumberOr(map, "function", 0, kMax32);
  const auto ecx = NumberOr(map, "ecx", 0, kMax32);
  if (!function || !ecx) return;
  Append(item,
         {.kind = item.syntax.kind, .selector = static_cast<uint32_t>(*function), .value = *ecx});
}

void OperationAssembler::AppendMoveToRegister(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"number", "value"})) return;
  const auto number_node = reader_.Required(map, item.name(), "number");
  const auto value_node = reader_.Required(map, item.name(), "value");
  if (!number_node || !value_node) return;
  const auto number = ReadRegisterNumber(reader_, item.syntax.kind, *number_node);
  if (!number) return;
  const auto value = blocks_.Value(*value_node, "value");
  if (!value) return;
  Append(item, {.kind = item.syntax.kind,
                .flags = value->flags,
                .selector = static_cast<uint32_t>(*number),
                .value = value->value});
}

void OperationAssembler::AppendPortAccess(const Item& item) {
  constexpr uint64_t kLastPort = 0xFFFF;
  const YAML::Node& map = item.argument;
  const bool writes = item.syntax.kind == OperationKind::kOut;
  std::vector<std::string> keys = {"port", "width"};
  if (writes) keys.push_back("value");
  if (!reader_.CheckMap(map, item.name(), keys)) return;
  const auto port_node = reader_.Required(map, item.name(), "port");
  if (!port_node) return;
  const auto port = reader_.Number(*port_node, "port", kLastPort);
  const auto width = NumberOr(map, "width", 1, 4, 1);
  if (!port || !width) return;
  if (*width == 3) {
    reader_.Fail(map["width"], "width 3 is not that of an operand", "expected 1, 2 or 4 bytes");
    return;
  }
  const auto value = NumberOr(map, "value", 0, kMax32 >> (32 - 8 * *width));
  if (!value) return;
  Append(item, {.kind = item.syntax.kind,
                .selector = static_cast<uint32_t>(*width),
                .value = *port,
                .extra = *value});
}

void OperationAssembler::AppendXsetbv(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"xcr", "value"})) return;
  const auto xcr = NumberOr(map, "xcr", 0, kMax32);
  const auto value = NumberOr(map, "value", 0, ~uint64_t{0});
  if (!xcr || !value) return;
  Append(item,
         {.kind = item.syntax.kind, .selector = static_cast<uint32_t>(*xcr), .value = *value});
}

void OperationAssembler::AppendSetHandler(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"vector", "level", "bare", "idt"})) return;
  const auto vector_node = reader_.Required(map, item.name(), "vector");
  if (!vector_node) return;
  const auto vector = reader_.Number(*vector_node, "vector", kVectorCount - 1);
  const auto level = NumberOr(map, "level", level_, 2, 1);
  std::optional<bool> bare = false;
  if (Has(map, "bare")) bare = ReadFlag(reader_, map["bare"], "bare");
  if (!vector || !level || !bare) return;
  std::optional<AddressOperand> idt =
      AddressOperand{*level == 1 ? kL1IdtOffset : kL2IdtOffset, kValueIsWindowOffset};
  if (Has(map, "idt")) idt = blocks_.Address(map["idt"], "idt");
  if (!idt) return;
  Append(item, {.kind = item.syntax.kind,
                .flags = idt->flags,
                .selector = static_cast<uint32_t>(*vector),
                .value = idt->value,
                .extra = (*bare ? kHandlerIsBare : 0) | (*level == 2 ? kHandlerIsOfL2 : 0)});
}

std::optional<uint32_t> OperationAssembler::Times(const Item& item) {
  const auto node = reader_.Required(item.argument, item.name(), "times");
  if (!node) return std::nullopt;
  const auto times = reader_.Number(*node, "times", kMostTimes, 1);
  if (!times) return std::nullopt;
  return static_cast<uint32_t>(*times);
}

void OperationAssembler::AppendRepeat(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"times", "operations"})) return;
  const auto times = Times(item);
  const auto list = reader_.Required(map, item.name(), "operations");
  if (!times || !list) return;
  const auto counter = blocks_.Counter(repetitions_++, map);
  const size_t begin = operations_.size();
  AppendList(*list, "operations");
  if (reader_.failed() || !counter) return;
  if (operations_.size() == begin) {
    reader_.Fail(*list, "there is nothing to repeat", "expected operations");
    return;
  }
  Append(item, {.kind = item.syntax.kind,
                .flags = kExtraIsWindowOffset,
                .selector = *times,
                .value = operations_.size() - begin,
                .extra = counter->value});
}

void OperationAssembler::AppendRepeatLast(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"times", "operations", "counter"})) return;
  const auto times = Times(item);
  const auto operations_node = reader_.Required(map, item.name(), "operations");
  const auto counter_node = reader_.Required(map, item.name(), "counter");
  if (!times || !operations_node || !counter_node) return;
  const auto operations = reader_.Number(*operations_node, "operations", kMaxOperations - 1, 1);
  const auto counter = blocks_.Address(*counter_node, "counter");
  if (!operations || !counter) return;
  const bool in_window = (counter->flags & kValueIsWindowOffset) != 0;
  Append(item, {.kind = item.syntax.kind,
                .flags = in_window ? kExtraIsWindowOffset : uint16_t{0},
                .selector = *times,
                .value = *operations,
                .extra = counter->value});
}

}  // namespace nvmx::lhv
