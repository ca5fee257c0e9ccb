// SPDX-License-Identifier: Apache-2.0
// Lists and their elements, and the operations that are a name with at most an address.
#include "lhv/operation_assembler.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "lhv/layout.h"
#include "lhv/narrowing.h"
#include "lhv/operation_syntax.h"

namespace nvmx::lhv {
namespace {

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

}  // namespace

OperationAssembler::OperationAssembler(SourceReader& reader, MemoryBlocks& blocks, Labels& labels,
                                       const Target& target)
    : reader_(reader),
      blocks_(blocks),
      labels_(labels),
      level_(target.level),
      cpu_count_(target.cpu_count),
      mode_(target.mode) {}

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
  if (operation.kind == OperationKind::kVmwriteControl) {
    wanted_controls_[operation.selector] = operation.value;
  }
  const std::vector<Operation> performed = mode_ == L1Mode::k64Bit
                                               ? std::vector<Operation>{operation}
                                               : Narrowed(operation, level_, blocks_.cpu());
  for (const Operation& one : performed) {
    operations_.push_back(one);
    lines_.push_back(SourceReader::Line(item.at));
  }
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
  if (Has(item.argument, "operand")) {
    // The operand says where the address is, or goes.
    Operation operation{.kind = item.syntax.kind};
    if (!reader_.CheckMap(item.argument, item.name(), {"operand"})) return;
    if (ReadOperand(item.argument, operation)) Append(item, operation);
    return;
  }
  const auto address = blocks_.Address(item.argument, item.name());
  if (!address) return;
  Append(item, {.kind = item.syntax.kind, .flags = address->flags, .value = address->value});
}

void OperationAssembler::AppendLabel(const Item& item) {
  const auto name = reader_.Word(item.argument, "a label");
  if (!name) return;
  auto& labels = labels_.Of(level_);
  if (std::find(own_labels_.begin(), own_labels_.end(), *name) != own_labels_.end()) {
    reader_.Fail(item.argument, absl::StrCat("label ", *name, " is given again"),
                 "expected each label once");
    return;
  }
  own_labels_.push_back(*name);
  labels[*name] = operations_.size();
}

}  // namespace nvmx::lhv
