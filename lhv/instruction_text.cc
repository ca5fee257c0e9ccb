// SPDX-License-Identifier: Apache-2.0
#include "lhv/instruction_text.h"

#include "absl/strings/str_cat.h"
#include "lhv/names.h"

namespace nvmx::lhv {
namespace {

// What is said of the instruction besides its name.
enum class Form : uint8_t { kNameOnly, kFirst, kField, kMsr, kRegisterNumber, kInvalidation };

struct InstructionForm {
  InstructionKind kind;
  const char* name;
  Form form = Form::kNameOnly;
};

constexpr InstructionForm kForms[] = {
    {InstructionKind::kVmxon, "VMXON", Form::kFirst},
    {InstructionKind::kVmxoff, "VMXOFF"},
    {InstructionKind::kVmclear, "VMCLEAR", Form::kFirst},
    {InstructionKind::kVmptrld, "VMPTRLD", Form::kFirst},
    {InstructionKind::kVmptrst, "VMPTRST", Form::kFirst},
    {InstructionKind::kVmread, "VMREAD", Form::kField},
    {InstructionKind::kVmwrite, "VMWRITE", Form::kField},
    {InstructionKind::kVmlaunch, "VMLAUNCH"},
    {InstructionKind::kVmresume, "VMRESUME"},
    {InstructionKind::kVmcall, "VMCALL"},
    {InstructionKind::kCpuid, "CPUID", Form::kFirst},
    {InstructionKind::kRdmsr, "RDMSR", Form::kMsr},
    {InstructionKind::kWrmsr, "WRMSR", Form::kMsr},
    {InstructionKind::kHlt, "HLT"},
    {InstructionKind::kIret, "IRET"},
    {InstructionKind::kReadMemory, "read memory", Form::kFirst},
    {InstructionKind::kWriteMemory, "write memory", Form::kFirst},
    {InstructionKind::kSendIpi, "send IPI", Form::kFirst},
    {InstructionKind::kSti, "STI"},
    {InstructionKind::kCli, "CLI"},
    {InstructionKind::kNop, "NOP"},
    {InstructionKind::kInvept, "INVEPT", Form::kInvalidation},
    {InstructionKind::kInvvpid, "INVVPID", Form::kInvalidation},
    {InstructionKind::kInvpcid, "INVPCID", Form::kInvalidation},
    {InstructionKind::kVmfunc, "VMFUNC", Form::kFirst},
    {InstructionKind::kMovToCr, "MOV to CR", Form::kRegisterNumber},
    {InstructionKind::kMovFromCr, "MOV from CR", Form::kRegisterNumber},
    {InstructionKind::kClts, "CLTS"},
    {InstructionKind::kLmsw, "LMSW", Form::kFirst},
    {InstructionKind::kSmsw, "SMSW"},
    {InstructionKind::kMovToDr, "MOV to DR", Form::kRegisterNumber},
    {InstructionKind::kMovFromDr, "MOV from DR", Form::kRegisterNumber},
    {InstructionKind::kRdtsc, "RDTSC"},
    {InstructionKind::kRdtscp, "RDTSCP"},
    {InstructionKind::kRdpmc, "RDPMC", Form::kFirst},
    {InstructionKind::kIn, "IN", Form::kFirst},
    {InstructionKind::kOut, "OUT", Form::kFirst},
    {InstructionKind::kInvlpg, "INVLPG", Form::kFirst},
    {InstructionKind::kPause, "PAUSE"},
    {InstructionKind::kMonitor, "MONITOR", Form::kFirst},
    {InstructionKind::kMwait, "MWAIT"},
    {InstructionKind::kWbinvd, "WBINVD"},
    {InstructionKind::kInvd, "INVD"},
    {InstructionKind::kXgetbv, "XGETBV", Form::kFirst},
    {InstructionKind::kXsetbv, "XSETBV", Form::kFirst},
    {InstructionKind::kRdrand, "RDRAND"},
    {InstructionKind::kRdseed, "RDSEED"},
    {InstructionKind::kSgdt, "SGDT", Form::kFirst},
    {InstructionKind::kSidt, "SIDT", Form::kFirst},
    {InstructionKind::kLgdt, "LGDT", Form::kFirst},
    {InstructionKind::kLidt, "LIDT", Form::kFirst},
    {InstructionKind::kSldt, "SLDT"},
    {InstructionKind::kStr, "STR"},
    {InstructionKind::kLldt, "LLDT", Form::kFirst},
    {InstructionKind::kLtr, "LTR", Form::kFirst},
    {InstructionKind::kUd2, "UD2"},
    {InstructionKind::kInt, "INT", Form::kFirst},
    {InstructionKind::kInt3, "INT3"},
    {InstructionKind::kInt1, "INT1"},
    {InstructionKind::kDivideByZero, "DIV by 0"},
    {InstructionKind::kMovSs, "MOV SS"},
    {InstructionKind::kPopf, "POPF", Form::kFirst},
    {InstructionKind::kFetch, "fetch", Form::kFirst},
    {InstructionKind::kHandlerReturn, "RET from handler"},
    {InstructionKind::kGetsec, "GETSEC"},
    {InstructionKind::kRsm, "RSM"},
};

std::string RestText(const Instruction& instruction, Form form) {
  switch (form) {
    case Form::kNameOnly:
      return "";
    case Form::kFirst:
      return absl::StrCat(" 0x", absl::Hex(instruction.first));
    case Form::kField:
      return absl::StrCat(" ", FieldText(static_cast<uint32_t>(instruction.first)));
    case Form::kMsr:
      return absl::StrCat(" ", MsrText(static_cast<uint32_t>(instruction.first)));
    case Form::kRegisterNumber:
      return absl::StrCat(instruction.width);
    case Form::kInvalidation:
      return absl::StrCat(" type ", instruction.first);
  }
  return "";
}

}  // namespace

std::string InstructionText(const Instruction& instruction) {
  for (const InstructionForm& row : kForms) {
    if (row.kind == instruction.kind) {
      return absl::StrCat(row.name, RestText(instruction, row.form));
    }
  }
  return "no instruction";
}

}  // namespace nvmx::lhv
