// SPDX-License-Identifier: Apache-2.0
//
// General-purpose registers, numbered as instructions and the VM-exit instruction information
// number them. Source: SDM Vol. 3C, 28.2.5 "Information for VM Exits Due to Instruction Execution".
#ifndef NVMX_CORE_X86_GENERAL_REGISTER_H_
#define NVMX_CORE_X86_GENERAL_REGISTER_H_

#include <cstdint>

namespace nvmx {

enum class GeneralRegister : uint8_t {
  kRax = 0,
  kRcx = 1,
  kRdx = 2,
  kRbx = 3,
  kRsp = 4,
  kRbp = 5,
  kRsi = 6,
  kRdi = 7,
  kR8 = 8,
  kR9 = 9,
  kR10 = 10,
  kR11 = 11,
  kR12 = 12,
  kR13 = 13,
  kR14 = 14,
  kR15 = 15,
};
inline constexpr unsigned kGeneralRegisterCount = 16;

constexpr const char* Name(GeneralRegister general_register) {
  constexpr const char* kNames[kGeneralRegisterCount] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP",
                                                         "RSI", "RDI", "R8",  "R9",  "R10", "R11",
                                                         "R12", "R13", "R14", "R15"};
  return kNames[static_cast<uint8_t>(general_register)];
}

}  // namespace nvmx

#endif  // NVMX_CORE_X86_GENERAL_REGISTER_H_
