// SPDX-License-Identifier: Apache-2.0
//
// Which registers the instructions of guest programs take their operands from where the instruction
// leaves a choice, and what VM exits say of operands.
#ifndef NVMX_BACKENDS_SIM_MACHINE_OPERAND_REGISTERS_H_
#define NVMX_BACKENDS_SIM_MACHINE_OPERAND_REGISTERS_H_

#include <cstddef>
#include <cstdint>

#include "core/x86/general_register.h"

namespace nvmx::sim {

constexpr size_t At(GeneralRegister name) { return static_cast<size_t>(name); }
inline constexpr size_t kRax = At(GeneralRegister::kRax);
inline constexpr size_t kRcx = At(GeneralRegister::kRcx);
inline constexpr size_t kRdx = At(GeneralRegister::kRdx);
inline constexpr size_t kRbx = At(GeneralRegister::kRbx);
inline constexpr size_t kScratch = At(GeneralRegister::kR12);
inline constexpr size_t kFetchReturn = At(GeneralRegister::kR11);

// The register operand of MOV to and from control and debug registers, of LMSW, SMSW, LLDT, SLDT,
// LTR, STR, RDRAND and RDSEED, and the value of VMREAD and VMWRITE.
inline constexpr size_t kValueRegister = kRbx;
// The type of INVEPT, INVVPID and INVPCID, and the field of VMREAD and VMWRITE.
inline constexpr size_t kSelectorRegister = kRax;

// VM-exit instruction information. SDM Vol. 3C, 28.2.5 "Information for VM Exits Due to Instruction
// Execution".
struct OperandInformation {
  static constexpr unsigned kRegister1Shift = 3;
  static constexpr uint64_t k32BitAddress = uint64_t{1} << 7;
  static constexpr uint64_t k64BitAddress = uint64_t{2} << 7;
  static constexpr uint64_t kIsRegister = uint64_t{1} << 10;
  // Of RDRAND and RDSEED.
  static constexpr uint64_t k64BitOperand = uint64_t{2} << 11;
  static constexpr unsigned kSegmentShift = 15;
  static constexpr unsigned kIndexShift = 18;
  static constexpr uint64_t kNoIndex = uint64_t{1} << 22;
  static constexpr unsigned kBaseShift = 23;
  static constexpr uint64_t kNoBase = uint64_t{1} << 27;
  // Which of the descriptor-table instructions.
  static constexpr unsigned kIdentityShift = 28;
  static constexpr unsigned kRegister2Shift = 28;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_OPERAND_REGISTERS_H_
