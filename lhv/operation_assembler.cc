// SPDX-License-Identifier: Apache-2.0
#include "lhv/operation_assembler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/exit_fields.h"
#include "lhv/layout.h"
#include "lhv/names.h"
#include "lhv/operation_syntax.h"
#include "lhv/read_values.h"

namespace nvmx::lhv {

const std::vector<OperationSyntax>& OperationSyntax::All() {
  using Assembler = OperationAssembler;
  static constexpr char kAddressForm[] =
      "a number, the name of a memory block, or {address_of: ..., offset: ...}";
  static const auto& all = *new std::vector<OperationSyntax>{
      {"initialize_vmx_region", OperationKind::kInitializeVmxRegion, &Assembler::AppendWithAddress,
       kAddressForm, false},
      {"vmxon", OperationKind::kVmxon, &Assembler::AppendWithAddress, kAddressForm, true},
      {"vmxoff", OperationKind::kVmxoff, &Assembler::AppendPlain, nullptr, true},
      {"vmclear", OperationKind::kVmclear, &Assembler::AppendWithAddress, kAddressForm, true},
      {"vmptrld", OperationKind::kVmptrld, &Assembler::AppendWithAddress, kAddressForm, true},
      {"vmptrst", OperationKind::kVmptrst, &Assembler::AppendWithAddress, kAddressForm, true},
      {"vmread", OperationKind::kVmread, &Assembler::AppendVmread,
       "the name or the encoding of a field", true},
      {"vmwrite", OperationKind::kVmwrite, &Assembler::AppendVmwrite, "{field: ..., value: ...}",
       true},
      {"vmwrite_control", OperationKind::kVmwriteControl, &Assembler::AppendVmwriteControl,
       "{field: ..., bits: [...]}", false},
      {"vmwrite_host_state", OperationKind::kVmwriteHostState, &Assembler::AppendPlain, nullptr,
       false},
      {"vmlaunch", OperationKind::kVmlaunch, &Assembler::AppendVmEntry, nullptr, true},
      {"vmresume", OperationKind::kVmresume, &Assembler::AppendVmEntry, nullptr, true},
      {"observe_exit", OperationKind::kObserveExit, &Assembler::AppendObserveExit, nullptr, false},
      {"advance_guest_rip", OperationKind::kAdvanceGuestRip, &Assembler::AppendPlain, nullptr,
       false},
      {"vmcall", OperationKind::kVmcall, &Assembler::AppendVmcall, nullptr, true},
      {"cpuid", OperationKind::kCpuid, &Assembler::AppendCpuid,
       "a leaf, or {leaf: ..., subleaf: ...}", true},
      {"rdmsr", OperationKind::kRdmsr, &Assembler::AppendRdmsr, "the name or the index of an MSR",
       true},
      {"wrmsr", OperationKind::kWrmsr, &Assembler::AppendWrmsr, "{msr: ..., value: ...}", true},
      {"read_memory", OperationKind::kReadMemory, &Assembler::AppendMemoryAccess,
       "{address_of: ...}", true},
      {"write_memory", OperationKind::kWriteMemory, &Assembler::AppendMemoryAccess,
       "{address_of: ..., value: ...}", true},
      {"send_nmi", OperationKind::kSendNmi, &Assembler::AppendSend, "others, self or {cpu: ...}",
       true},
      {"send_interrupt", OperationKind::kSendInterrupt, &Assembler::AppendSendWithVector,
       "{cpu: ..., vector: ...}", true},
      {"send_init", OperationKind::kSendInit, &Assembler::AppendSend, "others, self or {cpu: ...}",
       true},
      {"send_sipi", OperationKind::kSendSipi, &Assembler::AppendSendWithVector,
       "{cpu: ..., vector: ...}", true},
      {"iret", OperationKind::kIret, &Assembler::AppendPlain, nullptr, true},
      {"hlt", OperationKind::kHlt, &Assembler::AppendPlain, nullptr, true},
      {"sti", OperationKind::kSti, &Assembler::AppendPlain, nullptr, true},
      {"cli", OperationKind::kCli, &Assembler::AppendPlain, nullptr, true},
      {"nop", OperationKind::kNop, &Assembler::AppendPlain, nullptr, true},
      {"enter_vmx", OperationKind::kInitializeVmxRegion, &Assembler::AppendEnterVmx, kAddressForm,
       false},
      {"baseline_vmcs", OperationKind::kInitializeVmxRegion, &Assembler::AppendBaselineVmcs,
       kAddressForm, false},
      {"use_msr_list", OperationKind::kVmwrite, &Assembler::AppendUseMsrList,
       "{entry_load: ..., exit_store: ..., exit_load: ...}", false},
  };
  return all;
}

namespace {

constexpr uint64_t kMax32 = 0xFFFF'FFFF;

const OperationSyntax* FindSyntax(const std::string& name) {
  const auto& all = OperationSyntax::All();
  const auto found = std::find_if(
      all.begin(), all.end(), [&](const OperationSyntax& syntax) { return syntax.name == name; });
  return found == all.end() ? nullptr : &*found;
}

std::vector<std::string> OperationNames() {
  std::vector<std::string> names;
  for (const OperationSyntax& syntax : OperationSyntax::All()) names.push_back(syntax.name);
  return names;
}

// The fields that name an MSR list, and its key in use_msr_list.
struct MsrListFields {
  const char* key;
  VmcsField address;
  VmcsField count;
};
constexpr MsrListFields kMsrListFields[] = {
    {"entry_load", VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount},
    {"exit_store", VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount},
    {"exit_load", VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount},
};

}  // namespace

OperationAssembler::OperationAssembler(SourceReader& reader, MemoryBlocks& blocks, uint32_t level,
                                       uint32_t cpu_count)
    : reader_(reader), blocks_(blocks), level_(level), cpu_count_(cpu_count) {}

std::string OperationAssembler::Item::name() const { return syntax.name; }

void OperationAssembler::AppendList(const YAML::Node& list, const std::string& what) {
  if (!list.IsDefined() || list.IsNull()) return;
  if (!reader_.CheckList(list, what)) return;
  for (const YAML::Node& element : list) {
    if (reader_.failed()) return;
    AppendItem(element);
  }
}

void OperationAssembler::AppendItem(const YAML::Node& element) {
  const std::string form = "expected an operation such as vmcall or rdmsr: IA32_PAT";
  if (!element.IsScalar() && !(element.IsMap() && element.size() == 1)) {
    reader_.Fail(element,
                 element.IsMap() ? "an operation has more than one key (is what follows it "
                                   "indented too little?)"
                                 : "this is not an operation",
                 form);
    return;
  }
  const YAML::Node name_node = element.IsScalar() ? element : element.begin()->first;
  const YAML::Node argument = element.IsScalar() ? YAML::Node() : element.begin()->second;
  const auto name = reader_.Word(name_node, "an operation");
  if (!name) return;
  const OperationSyntax* const syntax = FindSyntax(*name);
  if (syntax == nullptr) {
    reader_.FailUnknown(name_node, "operation", *name, OperationNames());
    return;
  }
  if (level_ == 2 && !syntax->in_l2) {
    reader_.Fail(name_node, absl::StrCat("L2 cannot perform ", *name, ", a sequence of L1's"),
                 "expected an operation that is one instruction");
    return;
  }
  if (syntax->argument != nullptr && argument.IsNull()) {
    reader_.Fail(name_node, absl::StrCat(*name, " has no argument"),
                 absl::StrCat("expected ", *name, ": ", syntax->argument));
    return;
  }
  (this->*syntax->append)({*syntax, element, argument});
  if (operations_.size() >= kMaxOperations) {
    reader_.Fail(name_node, "there are too many operations",
                 absl::StrCat("expected less than ", kMaxOperations));
  }
}

void OperationAssembler::Append(const Item& item, const Operation& operation) {
  operations_.push_back(operation);
  lines_.push_back(SourceReader::Line(item.at));
}

void OperationAssembler::AppendAll(const Item& item, const std::vector<Operation>& operations) {
  for (const Operation& operation : operations) Append(item, operation);
}

bool OperationAssembler::CheckNoArgument(const Item& item) {
  if (item.argument.IsNull() || (item.argument.IsMap() && item.argument.size() == 0)) return true;
  reader_.Fail(item.argument, absl::StrCat(item.name(), " has an argument"),
               absl::StrCat("expected ", item.name(), " alone"));
  return false;
}

void OperationAssembler::AppendPlain(const Item& item) {
  if (CheckNoArgument(item)) Append(item, {.kind = item.syntax.kind});
}

void OperationAssembler::AppendWithAddress(const Item& item) {
  const auto address = blocks_.Address(item.argument, item.name());
  if (!address) return;
  Append(item, {.kind = item.syntax.kind, .flags = address->flags, .value = address->value});
}

void OperationAssembler::AppendVmread(const Item& item) {
  const auto field = ReadField(reader_, item.argument);
  if (!field) return;
  Append(item, {.kind = item.syntax.kind, .selector = *field});
}

void OperationAssembler::AppendVmwrite(const Item& item) {
  const YAML::Node& map = item.argument;
  if (!reader_.CheckMap(map, item.name(), {"field", "value", "address_of", "offset", "count_of"})) {
    return;
  }
  const auto field_node = reader_.Required(map, item.name(), "field");
  if (!field_node) return;
  const auto field = ReadField(reader_, *field_node);
  if (!field) return;
  // The high half of a 64-bit field is 32 bits.
  const auto value = Value(item, IsHigh(*field) ? kMax32 : ValueMask(Width(*field)));
  if (!value) return;
  Append(
      item,
      {.kind = item.syntax.kind, .flags = value->flags, .selector = *field, .value = value->value});
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
  const auto number = Has(map, "value") ? reader_.Number(map["value"], "value", max)
                                        : blocks_.EntryCount(map["count_of"]);
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
  if (has_argument && !reader_.CheckMap(item.argument, item.name(), {"observe"})) return;
  std::optional<uint32_t> observed = 0;
  if (Has(item.argument, "observe")) observed = ExitFields(item.argument["observe"]);
  if (!observed) return;
  if (level_ == 1) {
    // The VM exit continues after the VM entry, which is after this operation.
    Append(item, {.kind = OperationKind::kSetHostRip, .value = operations_.size() + 2});
  } else if (*observed != 0) {
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

void OperationAssembler::AppendEnterVmx(const Item& item) {
  const auto region = blocks_.Address(item.argument, item.name());
  if (region) AppendAll(item, EnterVmx(*region));
}

void OperationAssembler::AppendBaselineVmcs(const Item& item) {
  const auto region = blocks_.Address(item.argument, item.name());
  if (region) AppendAll(item, BaselineVmcs(*region));
}

void OperationAssembler::AppendUseMsrList(const Item& item) {
  const YAML::Node& map = item.argument;
  std::vector<std::string> keys;
  for (const MsrListFields& row : kMsrListFields) keys.push_back(row.key);
  if (!reader_.CheckMap(map, item.name(), keys)) return;
  for (const MsrListFields& row : kMsrListFields) {
    if (!Has(map, row.key)) continue;
    const auto count = blocks_.EntryCount(map[row.key]);
    if (!count) return;
    const auto address = blocks_.Address(map[row.key], row.key);
    if (!address) return;
    Append(item, Vmwrite(row.address, address->value, address->flags));
    Append(item, Vmwrite(row.count, *count));
  }
}

}  // namespace nvmx::lhv
