// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_STORE_INSTRUCTION_H_
#define NVMX_BACKENDS_VMX_HW_L0_STORE_INSTRUCTION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/x86/general_register.h"

namespace nvmx::metal {

// Of code segments.
enum class CodeSize : uint8_t { k16, k32, k64 };

// MOV of a general-purpose register or an immediate to memory: what drivers write a local APIC's
// registers with. Where it writes to, its VM exit tells.
struct StoreInstruction {
  static constexpr size_t kMostBytes = 15;

  uint8_t length = 0;
  uint8_t operand_bytes = 0;              // 1, 2, 4 or 8
  std::optional<GeneralRegister> source;  // nothing: the immediate
  bool is_high_byte = false;              // AH, CH, DH or BH
  uint64_t immediate = 0;

  // What it writes, if its register holds this.
  uint64_t Value(uint64_t register_value) const {
    const uint64_t value = source ? register_value >> (is_high_byte ? 8 : 0) : immediate;
    return operand_bytes == 8 ? value : value & ((uint64_t{1} << 8 * operand_bytes) - 1);
  }
};

// The instruction that the code begins with; nothing if it is another one, or goes on behind the
// end of `code`. SDM Vol. 2A, chapter 2 "Instruction Format"; 4.3, "MOV-Move".
std::optional<StoreInstruction> DecodeStore(std::span<const std::byte> code, CodeSize size);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_STORE_INSTRUCTION_H_
