// SPDX-License-Identifier: Apache-2.0
#include "lhv/dump.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "lhv/exit_fields.h"
#include "lhv/names.h"

namespace nvmx::lhv {
namespace {

std::string Hex(uint64_t value) { return absl::StrCat("0x", absl::Hex(value)); }

// The operand, by the name of its memory block if it lies in one.
std::string ValueText(const CpuProgram& program, const Operation& operation) {
  if ((operation.flags & kValueIsWindowOffset) == 0) return Hex(operation.value);
  for (const MemoryBlock& block : program.memory) {
    const uint64_t offset = operation.value - block.offset;
    if (operation.value < block.offset || offset >= block.bytes.size()) continue;
    return offset == 0 ? block.name : absl::StrCat(block.name, "+", Hex(offset));
  }
  return absl::StrCat("window+", Hex(operation.value));
}

std::string DestinationText(const Operation& operation) {
  if (operation.selector == kToSelf) return "self";
  if (operation.selector == kToAllOthers) return "others";
  return absl::StrCat("cpu ", operation.selector);
}

std::string ExitFieldsText(uint32_t selector) {
  std::vector<std::string> names;
  for (size_t i = 0; i < kExitFields.size(); ++i) {
    if ((selector & uint32_t{1} << i) != 0) names.push_back(kExitFields[i].name);
  }
  return absl::StrJoin(names, ", ");
}

std::string OperationText(const CpuProgram& program, const Operation& operation) {
  const std::string value = ValueText(program, operation);
  switch (operation.kind) {
    case OperationKind::kInitializeVmxRegion:
      return absl::StrCat("initialize_vmx_region ", value);
    case OperationKind::kVmxon:
      return absl::StrCat("vmxon ", value);
    case OperationKind::kVmxoff:
      return "vmxoff";
    case OperationKind::kVmclear:
      return absl::StrCat("vmclear ", value);
    case OperationKind::kVmptrld:
      return absl::StrCat("vmptrld ", value);
    case OperationKind::kVmptrst:
      return absl::StrCat("vmptrst ", value);
    case OperationKind::kVmread:
      return absl::StrCat("vmread ", FieldText(operation.selector));
    case OperationKind::kVmwrite:
      return absl::StrCat("vmwrite ", FieldText(operation.selector), " = ", value);
    case OperationKind::kVmwriteControl:
      return absl::StrCat("vmwrite_control ", FieldText(operation.selector), " = ",
                          ControlBitsText(operation.selector, operation.value));
    case OperationKind::kVmwriteHostState:
      return "vmwrite_host_state";
    case OperationKind::kSetHostRip:
      return absl::StrCat("set_host_rip #", operation.value);
    case OperationKind::kVmlaunch:
      return "vmlaunch";
    case OperationKind::kVmresume:
      return "vmresume";
    case OperationKind::kObserveExit:
      return absl::StrCat("observe_exit ", ExitFieldsText(operation.selector));
    case OperationKind::kAdvanceGuestRip:
      return "advance_guest_rip";
    case OperationKind::kVmcall:
      return operation.value == 0 ? "vmcall" : absl::StrCat("vmcall ", Hex(operation.value));
    case OperationKind::kCpuid:
      return absl::StrCat("cpuid ", Hex(operation.selector), ".", operation.value);
    case OperationKind::kRdmsr:
      return absl::StrCat("rdmsr ", MsrText(operation.selector));
    case OperationKind::kWrmsr:
      return absl::StrCat("wrmsr ", MsrText(operation.selector), " = ", value);
    case OperationKind::kReadMemory:
      return absl::StrCat("read_memory ", value, ", ", operation.selector, " bytes");
    case OperationKind::kWriteMemory:
      return absl::StrCat("write_memory ", value, ", ", operation.selector,
                          " bytes = ", Hex(operation.extra));
    case OperationKind::kSendNmi:
      return absl::StrCat("send_nmi to ", DestinationText(operation));
    case OperationKind::kSendInterrupt:
      return absl::StrCat("send_interrupt ", Hex(operation.value), " to ",
                          DestinationText(operation));
    case OperationKind::kSendInit:
      return absl::StrCat("send_init to ", DestinationText(operation));
    case OperationKind::kSendSipi:
      return absl::StrCat("send_sipi ", Hex(operation.value), " to ", DestinationText(operation));
    case OperationKind::kIret:
      return "iret";
    case OperationKind::kHlt:
      return "hlt";
    case OperationKind::kSti:
      return "sti";
    case OperationKind::kCli:
      return "cli";
    case OperationKind::kNop:
      return "nop";
    default:
      return "unknown operation";
  }
}

// What a person tells programs apart by; the addresses in qwords differ from CPU to CPU.
bool SameProgram(const CpuProgram& a, const CpuProgram& b) {
  const auto same_block = [](const MemoryBlock& x, const MemoryBlock& y) {
    return x.name == y.name && x.offset == y.offset && x.bytes.size() == y.bytes.size();
  };
  return a.l1 == b.l1 && a.l2 == b.l2 && a.run_begin == b.run_begin && a.l1_lines == b.l1_lines &&
         a.l2_lines == b.l2_lines &&
         std::equal(a.memory.begin(), a.memory.end(), b.memory.begin(), b.memory.end(), same_block);
}

void AppendOperations(const CpuProgram& program, const std::vector<Operation>& operations,
                      const std::vector<int>& lines, size_t begin, size_t end, std::string& text) {
  for (size_t i = begin; i < end; ++i) {
    absl::StrAppendFormat(&text, "    #%-4d line %-4d %s\n", i, lines[i],
                          OperationText(program, operations[i]));
  }
}

void AppendCpu(const CpuProgram& program, std::string& text) {
  if (!program.memory.empty()) absl::StrAppend(&text, "  memory\n");
  for (const MemoryBlock& block : program.memory) {
    absl::StrAppendFormat(&text, "    window+0x%05x %6d bytes %s\n", block.offset,
                          block.bytes.size(), block.name);
  }
  absl::StrAppend(&text, "  setup of L1\n");
  AppendOperations(program, program.l1, program.l1_lines, 0, program.run_begin, text);
  absl::StrAppend(&text, "  run of L1\n");
  AppendOperations(program, program.l1, program.l1_lines, program.run_begin, program.l1.size(),
                   text);
  absl::StrAppend(&text, "  L2\n");
  AppendOperations(program, program.l2, program.l2_lines, 0, program.l2.size(), text);
}

}  // namespace

std::string Dump(const GuestProgram& program) {
  std::string text = absl::StrCat(program.name, "\n");
  for (size_t first = 0; first < program.cpus.size();) {
    size_t end = first + 1;
    while (end < program.cpus.size() && SameProgram(program.cpus[first], program.cpus[end])) ++end;
    absl::StrAppend(&text, "cpu ", first);
    if (end - first > 1) absl::StrAppend(&text, " to ", end - 1);
    absl::StrAppend(&text, "\n");
    AppendCpu(program.cpus[first], text);
    first = end;
  }
  return text;
}

}  // namespace nvmx::lhv
