// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_INSTRUCTION_TEXT_H_
#define NVMX_LHV_INSTRUCTION_TEXT_H_

#include <string>

#include "lhv/guest_cpu.h"

namespace nvmx::lhv {

// The mnemonic and the first operand, such as "VMWRITE PIN_BASED_CONTROLS".
std::string InstructionText(const Instruction& instruction);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_INSTRUCTION_TEXT_H_
