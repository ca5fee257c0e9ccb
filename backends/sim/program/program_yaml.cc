// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_yaml.h"

#include <bit>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/x86/general_register.h"
#include "core/x86/segment.h"
#include "lhv/exit_fields.h"
#include "lhv/l1_mode.h"
#include "lhv/layout.h"
#include "lhv/names.h"
#include "lhv/narrowing.h"
#include "lhv/operand.h"
#include "lhv/operation_syntax.h"
#include "lhv/operation_text.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

std::string Hex(uint64_t value) { return absl::StrCat("0x", absl::Hex(value)); }

const char* NameOf(OperationKind kind) {
  // The macros are behind the operations that they begin with.
  for (const lhv::OperationSyntax& syntax : lhv::OperationSyntax::All()) {
    if (syntax.kind == kind) return syntax.name;
  }
  return "nop";
}

// The operations of one CPU, whose window the addresses are in.
class Writer {
 public:
  Writer(uint32_t cpu, lhv::L1Mode mode)
      : cpu_(cpu),
        mode_(mode),
        l1_code_(lhv::CodeOf(cpu, lhv::kL1CodeBase)),
        window_(lhv::WindowOf(cpu)) {}

  uint32_t cpu() const { return cpu_; }
  lhv::L1Mode mode() const { return mode_; }

  std::string Line(const Operation& operation) const {
    if (operation.kind == OperationKind::kSetHostRip) {
      // One that stands alone has no name in a text.
      return Line({.kind = OperationKind::kVmwrite,
                   .selector = Encoding(VmcsField::kHostRip),
                   .value = lhv::OperationAddress(l1_code_, operation.value)});
    }
    const std::string argument = Argument(operation);
    return absl::StrCat("      - ", NameOf(operation.kind), argument.empty() ? "" : ": ", argument,
                        "\n");
  }

  // The keys that say how the operand is encoded, or nothing.
  std::string OperandKey(const Operation& operation) const {
    if ((operation.flags & lhv::kHasOperand) == 0) return "";
    const lhv::Operand operand = lhv::UnpackOperand(operation.operand);
    if (operand.kind == lhv::Operand::Kind::kRegister) {
      return absl::StrCat(
          ", operand: {register: ", absl::AsciiStrToLower(Name(operand.general_register)), "}");
    }
    const bool in_window = (operation.flags & lhv::kOperandIsWindowOffset) != 0;
    return absl::StrCat(", operand: {segment: ", absl::AsciiStrToLower(Name(operand.segment)),
                        ", shape: ", lhv::Name(operand.shape),
                        ", address_size: ", operand.has_32_bit_address ? 32 : 64,
                        ", address: ", Hex(operand.offset + (in_window ? window_ : 0)), "}");
  }

 private:
  static bool HasMemoryOperand(const Operation& operation) {
    return (operation.flags & lhv::kHasOperand) != 0 &&
           lhv::UnpackOperand(operation.operand).kind == lhv::Operand::Kind::kMemory;
  }

  std::string Value(const Operation& operation) const {
    const bool in_window = (operation.flags & lhv::kValueIsWindowOffset) != 0;
    return Hex(operation.value + (in_window ? window_ : 0));
  }

  uint64_t Extra(const Operation& operation) const {
    const bool in_window = (operation.flags & lhv::kExtraIsWindowOffset) != 0;
    return operation.extra + (in_window ? window_ : 0);
  }

  static std::string Destination(const Operation& operation) {
    if (operation.selector == lhv::kToSelf) return "self";
    if (operation.selector == lhv::kToAllOthers) return "others";
    return absl::StrCat("{cpu: ", operation.selector, "}");
  }

  static std::string DestinationAndVector(const Operation& operation) {
    const std::string to = operation.selector == lhv::kToSelf ? "to: self"
                           : operation.selector == lhv::kToAllOthers
                               ? "to: others"
                               : absl::StrCat("cpu: ", operation.selector);
    return absl::StrCat("{", to, ", vector: ", operation.value, "}");
  }

  static std::string ExitFields(uint32_t selector) {
    std::vector<std::string> names;
    for (size_t i = 0; i < lhv::kExitFields.size(); ++i) {
      if ((selector & uint32_t{1} << i) != 0) names.push_back(lhv::kExitFields[i].name);
    }
    return absl::StrCat("[", absl::StrJoin(names, ", "), "]");
  }

  std::string Invalidation(const Operation& o) const {
    if (o.kind == OperationKind::kInvept) {
      return absl::StrCat("{type: ", o.selector, ", eptp: ", Value(o), ", reserved: ", Hex(o.extra),
                          OperandKey(o), "}");
    }
    // The whole low half of the descriptor as its reserved bits.
    return absl::StrCat("{type: ", o.selector, ", address: ", Value(o),
                        ", reserved: ", Hex(o.extra), OperandKey(o), "}");
  }

  std::string Argument(const Operation& o) const {
    const std::string value = Value(o);
    const std::string operand = OperandKey(o);
    switch (o.kind) {
      case OperationKind::kVmread:
        return absl::StrCat("{field: ", Hex(o.selector), operand, "}");
      case OperationKind::kVmwrite:
        return absl::StrCat("{field: ", lhv::FieldText(o.selector),
                            HasMemoryOperand(o) ? "" : absl::StrCat(", value: ", value), operand,
                            "}");
      case OperationKind::kVmwriteControl:
        return absl::StrCat("{field: ", lhv::FieldText(o.selector), ", value: ", value, "}");
      case OperationKind::kObserveExit:
        return ExitFields(o.selector);
      case OperationKind::kVmcall:
        return o.value == 0 ? "" : value;
      case OperationKind::kCpuid:
        return absl::StrCat("{leaf: ", Hex(o.selector), ", subleaf: ", o.value, "}");
      case OperationKind::kRdmsr:
        return lhv::MsrText(o.selector);
      case OperationKind::kWrmsr:
        return absl::StrCat("{msr: ", lhv::MsrText(o.selector), ", value: ", value, "}");
      case OperationKind::kReadMemory:
        return absl::StrCat("{address: ", value, ", width: ", o.selector, "}");
      case OperationKind::kWriteMemory:
        return absl::StrCat("{address: ", value, ", width: ", o.selector,
                            ", value: ", Hex(Truncated(Extra(o), o.selector)), "}");
      case OperationKind::kIn:
        return absl::StrCat("{port: ", value, ", width: ", o.selector, "}");
      case OperationKind::kOut:
        return absl::StrCat("{port: ", value, ", width: ", o.selector,
                            ", value: ", Hex(Truncated(o.extra, o.selector)), "}");
      case OperationKind::kSendNmi:
      case OperationKind::kSendInit:
        return Destination(o);
      case OperationKind::kSendInterrupt:
      case OperationKind::kSendSipi:
        return DestinationAndVector(o);
      case OperationKind::kInvept:
      case OperationKind::kInvvpid:
      case OperationKind::kInvpcid:
        return Invalidation(o);
      case OperationKind::kVmfunc:
        return absl::StrCat("{function: ", Hex(o.selector), ", ecx: ", value, "}");
      case OperationKind::kMovToCr:
      case OperationKind::kMovToDr:
        return absl::StrCat("{number: ", o.selector, ", value: ", value, "}");
      case OperationKind::kXsetbv:
        return absl::StrCat("{xcr: ", o.selector, ", value: ", value, "}");
      case OperationKind::kMovFromCr:
      case OperationKind::kMovFromDr:
      case OperationKind::kRdpmc:
      case OperationKind::kXgetbv:
      case OperationKind::kInt:
        return Hex(o.selector);
      case OperationKind::kSetHandler:
        return absl::StrCat("{vector: ", o.selector,
                            ", bare: ", (o.extra & lhv::kHandlerIsBare) != 0 ? "true" : "false",
                            ", level: ", (o.extra & lhv::kHandlerIsOfL2) != 0 ? 2 : 1,
                            ", idt: ", value, "}");
      case OperationKind::kRepeat:
        return absl::StrCat("{operations: ", o.value, ", times: ", o.selector,
                            ", counter: ", Hex(Extra(o)), "}");
      case OperationKind::kInitializeVmxRegion:
        return value;
      case OperationKind::kVmxon:
      case OperationKind::kVmclear:
      case OperationKind::kVmptrld:
      case OperationKind::kVmptrst:
        return operand.empty() ? value : absl::StrCat("{", operand.substr(2), "}");
      case OperationKind::kInvlpg:
      case OperationKind::kMonitor:
      case OperationKind::kSgdt:
      case OperationKind::kSidt:
      case OperationKind::kLgdt:
      case OperationKind::kLidt:
      case OperationKind::kLmsw:
      case OperationKind::kPopf:
      case OperationKind::kLldt:
      case OperationKind::kLtr:
      case OperationKind::kFetch:
        return value;
      default:
        return "";
    }
  }

  static uint64_t Truncated(uint64_t value, uint32_t width) {
    return width >= sizeof value ? value : value & ((uint64_t{1} << width * 8) - 1);
  }

  const uint32_t cpu_;
  const lhv::L1Mode mode_;
  const uint64_t l1_code_;
  const uint64_t window_;
};

// A block of whole qwords, without the zeros at its end: memory is zero where no block lies.
std::string Qwords(const std::string& name, uint64_t offset, std::span<const std::byte> bytes) {
  std::vector<std::string> words;
  size_t used = 0;
  for (size_t at = 0; at + sizeof(uint64_t) <= bytes.size(); at += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    words.push_back(word < 10 ? absl::StrCat(word) : Hex(word));
    if (word != 0) used = words.size();
  }
  if (used == 0) {
    return absl::StrCat("      ", name, ": {at: ", Hex(offset), ", bytes: ", bytes.size(), "}\n");
  }
  words.resize(used);
  return absl::StrCat("      ", name, ": {at: ", Hex(offset), ", qwords: [",
                      absl::StrJoin(words, ", "), "]}\n");
}

std::string Block(const lhv::MemoryBlock& block) {
  const std::span<const std::byte> bytes = block.bytes;
  const size_t whole = bytes.size() - bytes.size() % sizeof(uint64_t);
  std::string text;
  if (whole != 0) text = Qwords(block.name, block.offset, bytes.first(whole));
  if (whole == bytes.size()) return text;
  const absl::string_view rest(reinterpret_cast<const char*>(bytes.data()) + whole,
                               bytes.size() - whole);
  return absl::StrCat(text, "      ", block.name, whole != 0 ? "_rest" : "",
                      ": {at: ", Hex(block.offset + whole), ", hex: \"",
                      absl::BytesToHexString(rest), "\"}\n");
}

// Puts a block behind others: of what they share, its bytes count.
void PutBlock(const lhv::MemoryBlock& block, std::vector<lhv::MemoryBlock>& blocks) {
  std::vector<lhv::MemoryBlock> before;
  before.swap(blocks);
  const uint64_t begin = block.offset, end = block.offset + block.bytes.size();
  for (lhv::MemoryBlock& other : before) {
    const uint64_t other_end = other.offset + other.bytes.size();
    if (other_end <= begin || other.offset >= end) {
      blocks.push_back(std::move(other));
      continue;
    }
    if (other.offset < begin) {
      const auto length = static_cast<ptrdiff_t>(begin - other.offset);
      blocks.push_back(
          {other.name, other.offset, {other.bytes.begin(), other.bytes.begin() + length}});
    }
    if (other_end > end) {
      const auto skipped = static_cast<ptrdiff_t>(end - other.offset);
      blocks.push_back({other.name, end, {other.bytes.begin() + skipped, other.bytes.end()}});
    }
  }
  if (!block.bytes.empty()) blocks.push_back(block);
}

// Blocks that share no byte, as a file has them, with the same memory.
std::vector<lhv::MemoryBlock> SeparateBlocks(const std::vector<lhv::MemoryBlock>& memory) {
  std::vector<lhv::MemoryBlock> blocks;
  for (const lhv::MemoryBlock& block : memory) PutBlock(block, blocks);
  return blocks;
}

bool IsVmEntry(const Operation& operation) {
  return operation.kind == OperationKind::kVmlaunch || operation.kind == OperationKind::kVmresume;
}

// Whether the assembler puts this operation there by itself, before a VM entry.
bool IsOfTheNextVmEntry(const std::vector<Operation>& operations, size_t at) {
  return operations[at].kind == OperationKind::kSetHostRip && operations[at].value == at + 2 &&
         at + 1 < operations.size() && IsVmEntry(operations[at + 1]);
}

// Whether L1's operation, outside IA-32e mode, becomes two when its text is assembled.
bool IsHalvedByText(const Operation& operation, uint32_t cpu) {
  return operation.kind == OperationKind::kVmwrite && lhv::Narrowed(operation, 1, cpu).size() > 1;
}

// The VMWRITE that these two are the halves of; nothing if they are not.
std::optional<Operation> WholeVmwrite(const Operation& low, const Operation& high, uint32_t cpu) {
  constexpr unsigned kHalf = 32;
  Operation whole = low;
  whole.value |= high.value << kHalf;
  if (lhv::Narrowed(whole, 1, cpu) != std::vector<Operation>{low, high}) return std::nullopt;
  return whole;
}

// With an operand that is named it stays one.
Operation WithNamedOperand(Operation operation) {
  operation.flags |= lhv::kHasOperand;
  operation.operand = lhv::PackOperand(
      {.kind = lhv::Operand::Kind::kRegister, .general_register = GeneralRegister::kRax});
  return operation;
}

std::string Section(const char* name, const Writer& writer,
                    const std::vector<Operation>& operations, size_t begin, size_t end) {
  if (begin == end) return "";
  const bool of_l1 = std::string_view(name) != "l2";
  std::string text = absl::StrCat("    ", name, ":\n");
  for (size_t at = begin; at < end; ++at) {
    const Operation& operation = operations[at];
    if (IsOfTheNextVmEntry(operations, at)) continue;
    if (of_l1 && IsVmEntry(operation) && (at == 0 || !IsOfTheNextVmEntry(operations, at - 1))) {
      absl::StrAppend(&text, "      - ", NameOf(operation.kind), ": {keep_host_rip: true}\n");
    } else if (of_l1 && writer.mode() == lhv::L1Mode::k32Bit &&
               IsHalvedByText(operation, writer.cpu())) {
      const std::optional<Operation> whole =
          at + 1 < end ? WholeVmwrite(operation, operations[at + 1], writer.cpu()) : std::nullopt;
      absl::StrAppend(&text, writer.Line(whole ? *whole : WithNamedOperand(operation)));
      if (whole) ++at;
    } else {
      absl::StrAppend(&text, writer.Line(operation));
    }
  }
  return text;
}

// Names of blocks that two topics have both used, and of the parts of one, are made different.
void MakeNamesUnique(std::vector<lhv::MemoryBlock>& blocks) {
  for (size_t i = 0; i < blocks.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (blocks[j].name != blocks[i].name) continue;
      absl::StrAppend(&blocks[i].name, "_", i);
      break;
    }
  }
}

}  // namespace

std::string ProgramYaml(const lhv::GuestProgram& program) {
  std::string text = absl::StrCat("name: \"", program.name, "\"\n");
  if (program.says_l1_mode || program.l1_mode == lhv::L1Mode::k32Bit) {
    absl::StrAppend(&text, "arch: ", lhv::ArchOf(program.l1_mode), "\n");
  }
  absl::StrAppend(&text, "cpus:\n");
  for (uint32_t index = 0; index < program.cpus.size(); ++index) {
    const lhv::CpuProgram& cpu = program.cpus[index];
    const Writer writer(index, program.l1_mode);
    // The entry may be empty but for this.
    absl::StrAppend(&text, "  - repeat: 1\n");
    std::vector<lhv::MemoryBlock> blocks = SeparateBlocks(cpu.memory);
    MakeNamesUnique(blocks);
    if (!blocks.empty()) absl::StrAppend(&text, "    memory:\n");
    for (const lhv::MemoryBlock& block : blocks) absl::StrAppend(&text, Block(block));
    // A run that begins with a VM entry has the operation before it in the setup.
    absl::StrAppend(&text, Section("setup", writer, cpu.l1, 0, cpu.run_begin),
                    Section("run", writer, cpu.l1, cpu.run_begin, cpu.l1.size()),
                    Section("l2", writer, cpu.l2, 0, cpu.l2.size()));
  }
  return text;
}

}  // namespace nvmx::sim
