// SPDX-License-Identifier: Apache-2.0
//
// Which registers the instructions of guest programs take their operands from where the instruction
// leaves a choice, and what the VM-exit instruction information says of them.
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

// VM-exit instruction information: a memory operand that is a displacement alone, in DS, or two
// registers. SDM Vol. 3C, tables 28-13 and 28-14.
inline constexpr uint64_t kDisplacementOnly =
    uint64_t{1} << 22 | uint64_t{1} << 27 | uint64_t{3} << 15 | uint64_t{2} << 7;
inline constexpr uint64_t kRegisterOperands =
    uint64_t{kRbx} << 3 | uint64_t{1} << 10 | uint64_t{kRax} << 28;

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_OPERAND_REGISTERS_H_
