// SPDX-License-Identifier: Apache-2.0
//
// What is otherwise outside IA-32e mode.
#include <cstdio>
#include <string>

#include "core/x86/segment.h"
#include "gtest/gtest.h"
#include "lhv/image/instruction_encoding.h"

namespace nvmx::lhv {
namespace {

using Kind = InstructionKind;

constexpr uint64_t kFrame = kWindowBase + kL1StackTop - 0x28;
constexpr EncodingContext kContext{.mode = L1Mode::k32Bit,
                                   .rip = kL1CodeBase + 0x3000,
                                   .rsp = kWindowBase + kL1StackTop,
                                   .rflags = 0x202,
                                   .cs = kCodeSelector,
                                   .ss = kDataSelector,
                                   .interrupt_command = 0xFEE0'0300,
                                   .frame_address = kFrame,
                                   .frame = {0x1000'0008, 8, 0x246}};

std::string Bytes(const EncodedInstruction& encoded) {
  std::string text;
  for (const uint8_t byte : encoded.code) {
    char two[4];
    std::snprintf(two, sizeof two, "%02x", byte);
    text += two;
  }
  return text;
}

uint64_t Loaded(const EncodedInstruction& encoded, GeneralRegister name) {
  const auto number = static_cast<unsigned>(name);
  EXPECT_NE(encoded.loaded & 1u << number, 0) << Name(name);
  return encoded.registers[number];
}

Operand InMemory(Operand::Shape shape, SegmentRegister segment = SegmentRegister::kDs) {
  return {.kind = Operand::Kind::kMemory, .shape = shape, .segment = segment, .offset = 0x11'2340};
}

// Each expected value was read back by a disassembler of another project (llvm-mc).
TEST(InstructionEncodingI386, HasNoRexPrefixesAndAddressesOf32Bits) {
  const struct {
    Instruction instruction;
    const char* code;
  } kRows[] = {
      {{.kind = Kind::kVmxon, .first = 0x12'3000}, "f30fc73500f01e00"},
      {{.kind = Kind::kVmclear, .first = 0x12'3000}, "660fc73500f01e00"},
      {{.kind = Kind::kVmptrst, .first = 0x12'3000}, "3e0fc73d00301200"},
      {{.kind = Kind::kVmread, .first = 0x681E}, "3e3e3e3e3e0f78c3"},
      {{.kind = Kind::kSmsw}, "3e3e3e3e3e0f01e3"},
      {{.kind = Kind::kIret, .first = 0x1000'4000}, "3e3e3e3e3e3e3ecf"},
      {{.kind = Kind::kReadMemory, .width = 4, .first = 0x12'3000}, "3e3e3e3e3e3e8b06"},
      {{.kind = Kind::kVmread,
        .first = 0x681E,
        .operand = InMemory(Operand::Shape::kBase, SegmentRegister::kFs)},
       "64646464640f7806"},
      {{.kind = Kind::kVmread, .first = 0x681E, .operand = InMemory(Operand::Shape::kBase)},
       "3e3e3e3e3e0f7806"},
  };
  for (const auto& row : kRows) {
    const EncodedInstruction encoded = Encode(row.instruction, kContext);
    EXPECT_EQ(encoded.refusal, EncodingRefusal::kNone) << row.code;
    EXPECT_EQ(Bytes(encoded), row.code);
  }
}

TEST(InstructionEncodingI386, RefusesWhatNeedsRegistersThatThereAreNot) {
  const auto refusal = [](const Instruction& instruction) {
    return Encode(instruction, kContext).refusal;
  };
  EXPECT_EQ(refusal({.kind = Kind::kReadMemory, .width = 8}), EncodingRefusal::kUnknown);
  EXPECT_EQ(refusal({.kind = Kind::kMovToCr, .width = 8}), EncodingRefusal::kUnknown);
  EXPECT_EQ(refusal({.kind = Kind::kInvlpg, .first = uint64_t{1} << 32}),
            EncodingRefusal::kOutOfReach);
  for (const GeneralRegister name : {GeneralRegister::kRbp, GeneralRegister::kR8}) {
    EXPECT_EQ(refusal({.kind = Kind::kVmread,
                       .operand = {.kind = Operand::Kind::kRegister, .general_register = name}}),
              EncodingRefusal::kTakenRegister);
  }
}

TEST(InstructionEncodingI386, AFrameHasThreeWordsOfFourBytes) {
  const EncodedInstruction iret = Encode({.kind = Kind::kIret, .first = 0x1000'4000}, kContext);
  EXPECT_EQ(iret.word_bytes, 4u);
  ASSERT_EQ(iret.word_count, 3u);
  EXPECT_EQ(iret.words_address, kContext.rsp - 12);
  EXPECT_EQ(iret.words[0], 0x1000'4000u);
  EXPECT_EQ(iret.words[2], 0x202u);
  const EncodedInstruction back = Encode({.kind = Kind::kHandlerReturn}, kContext);
  ASSERT_EQ(back.word_count, 2u);
  EXPECT_EQ(back.words_address, kFrame + 12 - 8) << "the stack goes on behind the frame";
  EXPECT_EQ(back.words[0], 0x246u);
  EXPECT_EQ(back.words[1], 0x1000'0008u);
}

TEST(InstructionEncodingI386, WhatIsFetchedReturnsThroughEbx) {
  const EncodedInstruction fetch = Encode({.kind = Kind::kFetch, .first = 0x12'3000}, kContext);
  EXPECT_EQ(Loaded(fetch, GeneralRegister::kRbx), kContext.rip + kInstructionBytes);
}

TEST(InstructionEncodingI386, ResultsInMemoryHave32BitsButForVmptrst) {
  EXPECT_EQ(Encode({.kind = Kind::kSgdt, .first = 0x12'3000}, kContext).result_mask, 0xFFFF'FFFFu);
  EXPECT_EQ(Encode({.kind = Kind::kVmptrst, .first = 0x12'3000}, kContext).result_mask,
            ~uint64_t{0});
}

}  // namespace
}  // namespace nvmx::lhv
