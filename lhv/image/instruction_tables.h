// SPDX-License-Identifier: Apache-2.0
//
// The opcodes of the instructions of guest programs. SDM Vol. 2.
#ifndef NVMX_LHV_IMAGE_INSTRUCTION_TABLES_H_
#define NVMX_LHV_IMAGE_INSTRUCTION_TABLES_H_

#include <cstdint>
#include <initializer_list>

#include "lhv/image/instruction_encoding.h"

namespace nvmx::lhv {

inline constexpr uint8_t kOperandSize = 0x66;
inline constexpr uint8_t kRepeat = 0xF3;
inline constexpr uint8_t kRexW = 0x48;

// Instructions that are their opcode and nothing else, with the register that each part of the
// abstract instruction goes to. REX prefixes are those of 64-bit mode.
struct PlainEncoding {
  InstructionKind kind;
  std::initializer_list<uint8_t> opcode;
  ResultPlace result = ResultPlace::kNone;
};
inline constexpr PlainEncoding kPlain[] = {
    {InstructionKind::kVmxoff, {0x0F, 0x01, 0xC4}},
    {InstructionKind::kVmlaunch, {0x0F, 0x01, 0xC2}},
    {InstructionKind::kVmresume, {0x0F, 0x01, 0xC3}},
    {InstructionKind::kVmcall, {0x0F, 0x01, 0xC1}},
    {InstructionKind::kVmfunc, {0x0F, 0x01, 0xD4}},
    {InstructionKind::kCpuid, {0x0F, 0xA2}, ResultPlace::kEaxAndEbx},
    {InstructionKind::kRdmsr, {0x0F, 0x32}, ResultPlace::kEdxEax},
    {InstructionKind::kWrmsr, {0x0F, 0x30}},
    {InstructionKind::kRdtsc, {0x0F, 0x31}, ResultPlace::kEdxEax},
    {InstructionKind::kRdtscp, {0x0F, 0x01, 0xF9}, ResultPlace::kEdxEax},
    {InstructionKind::kRdpmc, {0x0F, 0x33}, ResultPlace::kEdxEax},
    {InstructionKind::kXgetbv, {0x0F, 0x01, 0xD0}, ResultPlace::kEdxEax},
    {InstructionKind::kXsetbv, {0x0F, 0x01, 0xD1}},
    {InstructionKind::kMonitor, {0x0F, 0x01, 0xC8}},
    {InstructionKind::kMwait, {0x0F, 0x01, 0xC9}},
    {InstructionKind::kHlt, {0xF4}},
    {InstructionKind::kSti, {0xFB}},
    {InstructionKind::kCli, {0xFA}},
    {InstructionKind::kNop, {0x90}},
    {InstructionKind::kPause, {kRepeat, 0x90}},
    {InstructionKind::kClts, {0x0F, 0x06}},
    {InstructionKind::kWbinvd, {0x0F, 0x09}},
    {InstructionKind::kInvd, {0x0F, 0x08}},
    {InstructionKind::kUd2, {0x0F, 0x0B}},
    {InstructionKind::kInt3, {0xCC}},
    {InstructionKind::kInt1, {0xF1}},
    {InstructionKind::kGetsec, {0x0F, 0x37}},
    {InstructionKind::kRsm, {0x0F, 0xAA}},
    {InstructionKind::kPopf, {0x9D}},
    {InstructionKind::kIret, {kRexW, 0xCF}},
    // POPFQ; RET.
    {InstructionKind::kHandlerReturn, {0x9D, 0xC3}},
    // Through RAX.
    {InstructionKind::kFetch, {0xFF, 0xE0}},
    // The rest have their register operand in RBX.
    {InstructionKind::kDivideByZero, {0xF7, 0xF3}},
    {InstructionKind::kMovSs, {0x8E, 0xD3}},
    {InstructionKind::kLmsw, {0x0F, 0x01, 0xF3}},
    {InstructionKind::kSmsw, {kRexW, 0x0F, 0x01, 0xE3}, ResultPlace::kRegister},
    {InstructionKind::kSldt, {0x0F, 0x00, 0xC3}, ResultPlace::kRegister},
    {InstructionKind::kStr, {0x0F, 0x00, 0xCB}, ResultPlace::kRegister},
    {InstructionKind::kLldt, {0x0F, 0x00, 0xD3}},
    {InstructionKind::kLtr, {0x0F, 0x00, 0xDB}},
    {InstructionKind::kRdrand, {kRexW, 0x0F, 0xC7, 0xF3}, ResultPlace::kRegister},
    {InstructionKind::kRdseed, {kRexW, 0x0F, 0xC7, 0xFB}, ResultPlace::kRegister},
};

// Instructions with an operand that Instruction::operand describes. `extension` is the part of the
// ModRM byte that belongs to the opcode, or -1: a register that names the field or the type.
struct OperandEncoding {
  InstructionKind kind;
  uint8_t prefix;  // a mandatory one, or 0
  std::initializer_list<uint8_t> opcode;
  int extension = -1;
  ResultPlace result = ResultPlace::kNone;
};
inline constexpr OperandEncoding kWithOperand[] = {
    {InstructionKind::kVmxon, kRepeat, {0x0F, 0xC7}, 6},
    {InstructionKind::kVmclear, kOperandSize, {0x0F, 0xC7}, 6},
    {InstructionKind::kVmptrld, 0, {0x0F, 0xC7}, 6},
    {InstructionKind::kVmptrst, 0, {0x0F, 0xC7}, 7, ResultPlace::kMemory},
    {InstructionKind::kVmread, 0, {0x0F, 0x78}, -1, ResultPlace::kMemory},
    {InstructionKind::kVmwrite, 0, {0x0F, 0x79}},
    {InstructionKind::kInvept, kOperandSize, {0x0F, 0x38, 0x80}},
    {InstructionKind::kInvvpid, kOperandSize, {0x0F, 0x38, 0x81}},
    {InstructionKind::kInvpcid, kOperandSize, {0x0F, 0x38, 0x82}},
    {InstructionKind::kSgdt, 0, {0x0F, 0x01}, 0, ResultPlace::kMemory},
    {InstructionKind::kSidt, 0, {0x0F, 0x01}, 1, ResultPlace::kMemory},
    {InstructionKind::kLgdt, 0, {0x0F, 0x01}, 2},
    {InstructionKind::kLidt, 0, {0x0F, 0x01}, 3},
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_INSTRUCTION_TABLES_H_
