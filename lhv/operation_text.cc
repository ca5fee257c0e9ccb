// SPDX-License-Identifier: Apache-2.0
#include "lhv/operation_text.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "lhv/exit_fields.h"
#include "lhv/names.h"
#include "lhv/operand.h"

namespace nvmx::lhv {
namespace {

// What follows the name.
enum class Form : uint8_t {
  kNothing,
  kValue,
  kValueUnlessZero,
  kField,
  kFieldAndValue,
  kControl,
  kOperationIndex,
  kExitFields,
  kCpuidLeaf,
  kMsr,
  kMsrAndValue,
  kReadAccess,
  kWriteAccess,
  kDestination,
  kVectorAndDestination,
  kSelector,
  kSelectorAndValue,
  kSelectorValueAndExtra,
  kHandler,
  kRepetition,
};

struct OperationForm {
  OperationKind kind;
  const char* name;
  Form form = Form::kNothing;
};

constexpr OperationForm kForms[] = {
    {OperationKind::kInitializeVmxRegion, "initialize_vmx_region", Form::kValue},
    {OperationKind::kVmxon, "vmxon", Form::kValue},
    {OperationKind::kVmxoff, "vmxoff"},
    {OperationKind::kVmclear, "vmclear", Form::kValue},
    {OperationKind::kVmptrld, "vmptrld", Form::kValue},
    {OperationKind::kVmptrst, "vmptrst", Form::kValue},
    {OperationKind::kVmread, "vmread", Form::kField},
    {OperationKind::kVmwrite, "vmwrite", Form::kFieldAndValue},
    {OperationKind::kVmwriteControl, "vmwrite_control", Form::kControl},
    {OperationKind::kVmwriteHostState, "vmwrite_host_state"},
    {OperationKind::kSetHostRip, "set_host_rip", Form::kOperationIndex},
    {OperationKind::kVmlaunch, "vmlaunch"},
    {OperationKind::kVmresume, "vmresume"},
    {OperationKind::kObserveExit, "observe_exit", Form::kExitFields},
    {OperationKind::kAdvanceGuestRip, "advance_guest_rip"},
    {OperationKind::kVmcall, "vmcall", Form::kValueUnlessZero},
    {OperationKind::kCpuid, "cpuid", Form::kCpuidLeaf},
    {OperationKind::kRdmsr, "rdmsr", Form::kMsr},
    {OperationKind::kWrmsr, "wrmsr", Form::kMsrAndValue},
    {OperationKind::kReadMemory, "read_memory", Form::kReadAccess},
    {OperationKind::kWriteMemory, "write_memory", Form::kWriteAccess},
    {OperationKind::kSendNmi, "send_nmi", Form::kDestination},
    {OperationKind::kSendInterrupt, "send_interrupt", Form::kVectorAndDestination},
    {OperationKind::kSendInit, "send_init", Form::kDestination},
    {OperationKind::kSendSipi, "send_sipi", Form::kVectorAndDestination},
    {OperationKind::kIret, "iret"},
    {OperationKind::kHlt, "hlt"},
    {OperationKind::kSti, "sti"},
    {OperationKind::kCli, "cli"},
    {OperationKind::kNop, "nop"},
    {OperationKind::kInvept, "invept", Form::kSelectorValueAndExtra},
    {OperationKind::kInvvpid, "invvpid", Form::kSelectorValueAndExtra},
    {OperationKind::kInvpcid, "invpcid", Form::kSelectorValueAndExtra},
    {OperationKind::kVmfunc, "vmfunc", Form::kSelectorAndValue},
    {OperationKind::kMovToCr, "mov_to_cr", Form::kSelectorAndValue},
    {OperationKind::kMovFromCr, "mov_from_cr", Form::kSelector},
    {OperationKind::kClts, "clts"},
    {OperationKind::kLmsw, "lmsw", Form::kValue},
    {OperationKind::kSmsw, "smsw"},
    {OperationKind::kMovToDr, "mov_to_dr", Form::kSelectorAndValue},
    {OperationKind::kMovFromDr, "mov_from_dr", Form::kSelector},
    {OperationKind::kRdtsc, "rdtsc"},
    {OperationKind::kRdtscp, "rdtscp"},
    {OperationKind::kRdpmc, "rdpmc", Form::kSelector},
    {OperationKind::kIn, "in", Form::kReadAccess},
    {OperationKind::kOut, "out", Form::kWriteAccess},
    {OperationKind::kInvlpg, "invlpg", Form::kValue},
    {OperationKind::kPause, "pause"},
    {OperationKind::kMonitor, "monitor", Form::kValue},
    {OperationKind::kMwait, "mwait"},
    {OperationKind::kWbinvd, "wbinvd"},
    {OperationKind::kInvd, "invd"},
    {OperationKind::kXgetbv, "xgetbv", Form::kSelector},
    {OperationKind::kXsetbv, "xsetbv", Form::kSelectorAndValue},
    {OperationKind::kRdrand, "rdrand"},
    {OperationKind::kRdseed, "rdseed"},
    {OperationKind::kSgdt, "sgdt", Form::kValue},
    {OperationKind::kSidt, "sidt", Form::kValue},
    {OperationKind::kLgdt, "lgdt", Form::kValue},
    {OperationKind::kLidt, "lidt", Form::kValue},
    {OperationKind::kSldt, "sldt"},
    {OperationKind::kStr, "str"},
    {OperationKind::kLldt, "lldt", Form::kValue},
    {OperationKind::kLtr, "ltr", Form::kValue},
    {OperationKind::kUd2, "ud2"},
    {OperationKind::kInt, "int", Form::kSelector},
    {OperationKind::kInt3, "int3"},
    {OperationKind::kInt1, "int1"},
    {OperationKind::kDivideByZero, "divide_by_zero"},
    {OperationKind::kMovSs, "mov_ss"},
    {OperationKind::kPopf, "popf", Form::kValue},
    {OperationKind::kFetch, "fetch", Form::kValue},
    {OperationKind::kHandlerReturn, "handler_return"},
    {OperationKind::kGetsec, "getsec"},
    {OperationKind::kRsm, "rsm"},
    {OperationKind::kSetHandler, "set_handler", Form::kHandler},
    {OperationKind::kRepeat, "repeat_last", Form::kRepetition},
};

std::string Hex(uint64_t value) { return absl::StrCat("0x", absl::Hex(value)); }

// An offset in the window, by the name of the memory block if it lies in one.
std::string WindowText(const CpuProgram& program, uint64_t window_offset) {
  for (const MemoryBlock& block : program.memory) {
    const uint64_t offset = window_offset - block.offset;
    if (window_offset < block.offset || offset >= block.bytes.size()) continue;
    return offset == 0 ? block.name : absl::StrCat(block.name, "+", Hex(offset));
  }
  return absl::StrCat("window+", Hex(window_offset));
}

std::string ValueText(const CpuProgram& program, uint64_t value, bool is_window_offset) {
  return is_window_offset ? WindowText(program, value) : Hex(value);
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

std::string HandlerText(const Operation& operation, const std::string& idt) {
  return absl::StrCat(operation.selector, " in ", idt, " = ",
                      (operation.extra & kHandlerIsBare) != 0 ? "bare " : "", "handler of L",
                      (operation.extra & kHandlerIsOfL2) != 0 ? 2 : 1);
}

std::string RestText(Form form, const CpuProgram& program, const Operation& operation) {
  const std::string value =
      ValueText(program, operation.value, (operation.flags & kValueIsWindowOffset) != 0);
  const std::string extra =
      ValueText(program, operation.extra, (operation.flags & kExtraIsWindowOffset) != 0);
  const uint32_t selector = operation.selector;
  switch (form) {
    case Form::kNothing:
      return "";
    case Form::kValue:
      return value;
    case Form::kValueUnlessZero:
      return operation.value == 0 ? "" : value;
    case Form::kField:
      return FieldText(selector);
    case Form::kFieldAndValue:
      return absl::StrCat(FieldText(selector), " = ", value);
    case Form::kControl:
      return absl::StrCat(FieldText(selector), " = ", ControlBitsText(selector, operation.value));
    case Form::kOperationIndex:
      return absl::StrCat("#", operation.value);
    case Form::kExitFields:
      return ExitFieldsText(selector);
    case Form::kCpuidLeaf:
      return absl::StrCat(Hex(selector), ".", operation.value);
    case Form::kMsr:
      return MsrText(selector);
    case Form::kMsrAndValue:
      return absl::StrCat(MsrText(selector), " = ", value);
    case Form::kReadAccess:
      return absl::StrCat(value, ", ", selector, " bytes");
    case Form::kWriteAccess:
      return absl::StrCat(value, ", ", selector, " bytes = ", extra);
    case Form::kDestination:
      return absl::StrCat("to ", DestinationText(operation));
    case Form::kVectorAndDestination:
      return absl::StrCat(Hex(operation.value), " to ", DestinationText(operation));
    case Form::kSelector:
      return absl::StrCat(selector);
    case Form::kSelectorAndValue:
      return absl::StrCat(selector, ", ", value);
    case Form::kSelectorValueAndExtra:
      return absl::StrCat("type ", selector, ", ", value, ", ", extra);
    case Form::kHandler:
      return HandlerText(operation, value);
    case Form::kRepetition:
      return absl::StrCat(operation.value, " operations, ", selector, " times in all, counted in ",
                          extra);
  }
  return "";
}

std::string OperandText(const CpuProgram& program, const Operation& operation) {
  const Operand operand = UnpackOperand(operation.operand);
  switch (operand.kind) {
    case Operand::Kind::kDefault:
      return "";
    case Operand::Kind::kRegister:
      return absl::StrCat(", register ", absl::AsciiStrToLower(Name(operand.general_register)));
    case Operand::Kind::kMemory:
      return absl::StrCat(
          ", operand ", absl::AsciiStrToLower(Name(operand.segment)), ":",
          ValueText(program, operand.offset, (operation.flags & kOperandIsWindowOffset) != 0),
          " by ", Name(operand.shape), operand.has_32_bit_address ? ", 32-bit address" : "");
  }
  return "";
}

}  // namespace

std::string OperationText(const CpuProgram& program, const Operation& operation) {
  for (const OperationForm& row : kForms) {
    if (row.kind != operation.kind) continue;
    const std::string rest = RestText(row.form, program, operation);
    return absl::StrCat(
        row.name, rest.empty() ? "" : " ", rest,
        (operation.flags & kHasOperand) != 0 ? OperandText(program, operation) : "");
  }
  return "no operation";
}

const char* Name(Operand::Shape shape) {
  switch (shape) {
    case Operand::Shape::kDisplacement:
      return "displacement";
    case Operand::Shape::kBase:
      return "base";
    case Operand::Shape::kBaseDisplacement:
      return "base_displacement";
    case Operand::Shape::kIndexDisplacement:
      return "index_displacement";
    case Operand::Shape::kBaseIndexDisplacement:
      return "base_index_displacement";
    case Operand::Shape::kRspDisplacement:
      return "rsp_displacement";
  }
  return "no shape";
}

}  // namespace nvmx::lhv
