// SPDX-License-Identifier: Apache-2.0
#include "lhv/instruction_text.h"

#include "absl/strings/str_cat.h"
#include "lhv/names.h"

namespace nvmx::lhv {

std::string InstructionText(const Instruction& instruction) {
  const std::string number = absl::StrCat("0x", absl::Hex(instruction.first));
  const auto index = static_cast<uint32_t>(instruction.first);
  switch (instruction.kind) {
    case InstructionKind::kVmxon:
      return absl::StrCat("VMXON ", number);
    case InstructionKind::kVmxoff:
      return "VMXOFF";
    case InstructionKind::kVmclear:
      return absl::StrCat("VMCLEAR ", number);
    case InstructionKind::kVmptrld:
      return absl::StrCat("VMPTRLD ", number);
    case InstructionKind::kVmptrst:
      return absl::StrCat("VMPTRST ", number);
    case InstructionKind::kVmread:
      return absl::StrCat("VMREAD ", FieldText(index));
    case InstructionKind::kVmwrite:
      return absl::StrCat("VMWRITE ", FieldText(index));
    case InstructionKind::kVmlaunch:
      return "VMLAUNCH";
    case InstructionKind::kVmresume:
      return "VMRESUME";
    case InstructionKind::kVmcall:
      return "VMCALL";
    case InstructionKind::kCpuid:
      return absl::StrCat("CPUID ", number);
    case InstructionKind::kRdmsr:
      return absl::StrCat("RDMSR ", MsrText(index));
    case InstructionKind::kWrmsr:
      return absl::StrCat("WRMSR ", MsrText(index));
    case InstructionKind::kHlt:
      return "HLT";
    case InstructionKind::kSti:
      return "STI";
    case InstructionKind::kCli:
      return "CLI";
    case InstructionKind::kIret:
      return "IRET";
    case InstructionKind::kReadMemory:
      return absl::StrCat("read memory ", number);
    case InstructionKind::kWriteMemory:
      return absl::StrCat("write memory ", number);
    case InstructionKind::kSendIpi:
      return absl::StrCat("send IPI ", number);
    case InstructionKind::kNop:
      return "NOP";
    default:
      return "unknown instruction";
  }
}

}  // namespace nvmx::lhv
