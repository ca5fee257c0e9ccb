// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/instruction_encoding.h"

#include <cstdio>
#include <string>

#include "core/x86/segment.h"
#include "gtest/gtest.h"

namespace nvmx::lhv {
namespace {

using Kind = InstructionKind;

constexpr EncodingContext kContext{.rip = kL1CodeBase + 0x3000,
                                   .rsp = kWindowBase + kL1StackTop,
                                   .rflags = 0x202,
                                   .cs = kCodeSelector,
                                   .ss = kDataSelector,
                                   .interrupt_command = 0xFEE0'0300,
                                   .frame_address = kWindowBase + kL1StackTop - 0x28,
                                   .frame = {0x1000'0008, 8, 0x246, 0x1E'FFF0, 16}};

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

struct Row {
  Instruction instruction;
  const char* code;
};

// Each expected value was read back by a disassembler of another project (llvm-mc).
TEST(InstructionEncoding, OfEveryKindOfInstruction) {
  constexpr uint64_t kAddress = 0x12'3000;
  const Row kRows[] = {
      // Those whose operand is where the encoder likes it: at the top of the stack's page.
      {{.kind = Kind::kVmxon, .first = kAddress}, "f30fc735f8bf1ef0"},
      {{.kind = Kind::kVmclear, .first = kAddress}, "660fc735f8bf1ef0"},
      {{.kind = Kind::kVmptrld, .first = kAddress}, "0fc7342500f01e00"},
      {{.kind = Kind::kVmptrst, .first = kAddress}, "0fc73c2500301200"},
      {{.kind = Kind::kVmread, .first = 0x681E}, "3e3e3e3e3e0f78c3"},
      {{.kind = Kind::kVmwrite, .first = 0x681E, .second = 1}, "3e3e3e3e3e0f79c3"},
      {{.kind = Kind::kInvept, .first = 1}, "3e3e3e660f388006"},
      {{.kind = Kind::kInvvpid, .first = 1}, "3e3e3e660f388106"},
      {{.kind = Kind::kInvpcid, .first = 1}, "3e3e3e660f388206"},
      {{.kind = Kind::kSgdt, .first = kAddress}, "0f01042500301200"},
      {{.kind = Kind::kSidt, .first = kAddress}, "0f010c2500301200"},
      {{.kind = Kind::kLgdt, .first = kAddress}, "0f01142500301200"},
      {{.kind = Kind::kLidt, .first = kAddress}, "0f011c2500301200"},
      // The rest.
      {{.kind = Kind::kVmxoff}, "3e3e3e3e3e0f01c4"},
      {{.kind = Kind::kVmlaunch}, "3e3e3e3e3e0f01c2"},
      {{.kind = Kind::kVmresume}, "3e3e3e3e3e0f01c3"},
      {{.kind = Kind::kVmcall}, "3e3e3e3e3e0f01c1"},
      {{.kind = Kind::kVmfunc}, "3e3e3e3e3e0f01d4"},
      {{.kind = Kind::kCpuid}, "3e3e3e3e3e3e0fa2"},
      {{.kind = Kind::kRdmsr}, "3e3e3e3e3e3e0f32"},
      {{.kind = Kind::kWrmsr}, "3e3e3e3e3e3e0f30"},
      {{.kind = Kind::kHlt}, "3e3e3e3e3e3e3ef4"},
      {{.kind = Kind::kIret}, "3e3e3e3e3e3e48cf"},
      {{.kind = Kind::kReadMemory, .width = 1}, "3e3e3e3e3e0fb606"},
      {{.kind = Kind::kReadMemory, .width = 2}, "3e3e3e3e3e0fb706"},
      {{.kind = Kind::kReadMemory, .width = 4}, "3e3e3e3e3e3e8b06"},
      {{.kind = Kind::kReadMemory, .width = 8}, "3e3e3e3e3e488b06"},
      {{.kind = Kind::kWriteMemory, .width = 1}, "3e3e3e3e3e3e8806"},
      {{.kind = Kind::kWriteMemory, .width = 2}, "3e3e3e3e3e668906"},
      {{.kind = Kind::kWriteMemory, .width = 4}, "3e3e3e3e3e3e8906"},
      {{.kind = Kind::kWriteMemory, .width = 8}, "3e3e3e3e3e488906"},
      {{.kind = Kind::kSendIpi}, "3e3e3e3e3e3e8906"},
      {{.kind = Kind::kSti}, "3e3e3e3e3e3e3efb"},
      {{.kind = Kind::kCli}, "3e3e3e3e3e3e3efa"},
      {{.kind = Kind::kNop}, "3e3e3e3e3e3e3e90"},
      {{.kind = Kind::kMovToCr, .width = 0}, "3e3e3e3e3e0f22c3"},
      {{.kind = Kind::kMovToCr, .width = 8}, "3e3e3e3e440f22c3"},
      {{.kind = Kind::kMovFromCr, .width = 4}, "3e3e3e3e3e0f20e3"},
      {{.kind = Kind::kMovFromCr, .width = 8}, "3e3e3e3e440f20c3"},
      {{.kind = Kind::kMovToDr, .width = 7}, "3e3e3e3e3e0f23fb"},
      {{.kind = Kind::kMovFromDr, .width = 6}, "3e3e3e3e3e0f21f3"},
      {{.kind = Kind::kClts}, "3e3e3e3e3e3e0f06"},
      {{.kind = Kind::kLmsw}, "3e3e3e3e3e0f01f3"},
      {{.kind = Kind::kSmsw}, "3e3e3e3e480f01e3"},
      {{.kind = Kind::kRdtsc}, "3e3e3e3e3e3e0f31"},
      {{.kind = Kind::kRdtscp}, "3e3e3e3e3e0f01f9"},
      {{.kind = Kind::kRdpmc}, "3e3e3e3e3e3e0f33"},
      {{.kind = Kind::kIn, .width = 1}, "3e3e3e3e3e3e3eec"},
      {{.kind = Kind::kIn, .width = 2}, "3e3e3e3e3e3e66ed"},
      {{.kind = Kind::kIn, .width = 4}, "3e3e3e3e3e3e3eed"},
      {{.kind = Kind::kOut, .width = 1}, "3e3e3e3e3e3e3eee"},
      {{.kind = Kind::kOut, .width = 2}, "3e3e3e3e3e3e66ef"},
      {{.kind = Kind::kOut, .width = 4}, "3e3e3e3e3e3e3eef"},
      {{.kind = Kind::kInvlpg}, "3e3e3e3e3e0f013e"},
      {{.kind = Kind::kPause}, "3e3e3e3e3e3ef390"},
      {{.kind = Kind::kMonitor}, "3e3e3e3e3e0f01c8"},
      {{.kind = Kind::kMwait}, "3e3e3e3e3e0f01c9"},
      {{.kind = Kind::kWbinvd}, "3e3e3e3e3e3e0f09"},
      {{.kind = Kind::kInvd}, "3e3e3e3e3e3e0f08"},
      {{.kind = Kind::kXgetbv}, "3e3e3e3e3e0f01d0"},
      {{.kind = Kind::kXsetbv}, "3e3e3e3e3e0f01d1"},
      {{.kind = Kind::kRdrand}, "3e3e3e3e480fc7f3"},
      {{.kind = Kind::kRdseed}, "3e3e3e3e480fc7fb"},
      {{.kind = Kind::kSldt}, "3e3e3e3e3e0f00c3"},
      {{.kind = Kind::kStr}, "3e3e3e3e3e0f00cb"},
      {{.kind = Kind::kLldt}, "3e3e3e3e3e0f00d3"},
      {{.kind = Kind::kLtr}, "3e3e3e3e3e0f00db"},
      {{.kind = Kind::kUd2}, "3e3e3e3e3e3e0f0b"},
      {{.kind = Kind::kInt, .first = 0x80}, "3e3e3e3e3e3ecd80"},
      {{.kind = Kind::kInt3}, "3e3e3e3e3e3e3ecc"},
      {{.kind = Kind::kInt1}, "3e3e3e3e3e3e3ef1"},
      {{.kind = Kind::kDivideByZero}, "3e3e3e3e3e3ef7f3"},
      {{.kind = Kind::kMovSs}, "3e3e3e3e3e3e8ed3"},
      {{.kind = Kind::kPopf}, "3e3e3e3e3e3e3e9d"},
      {{.kind = Kind::kFetch, .first = 0x800'0000}, "3e3e3e3e3e3effe0"},
      {{.kind = Kind::kHandlerReturn}, "3e3e3e3e3e3e9dc3"},
      {{.kind = Kind::kGetsec}, "3e3e3e3e3e3e0f37"},
      {{.kind = Kind::kRsm}, "3e3e3e3e3e3e0faa"},
  };
  std::array<bool, static_cast<size_t>(Kind::kRsm) + 1> seen{};
  for (const Row& row : kRows) {
    const EncodedInstruction encoded = Encode(row.instruction, kContext);
    EXPECT_EQ(encoded.refusal, EncodingRefusal::kNone);
    EXPECT_EQ(Bytes(encoded), row.code) << static_cast<int>(row.instruction.kind);
    seen[static_cast<size_t>(row.instruction.kind)] = true;
  }
  for (size_t kind = 0; kind < seen.size(); ++kind) EXPECT_TRUE(seen[kind]) << kind;
}

TEST(InstructionEncoding, OfEveryShapeOfAnOperand) {
  using Shape = Operand::Shape;
  const Row kRows[] = {
      {{.kind = Kind::kVmptrld, .operand = InMemory(Shape::kDisplacement)}, "0fc7342540231100"},
      {{.kind = Kind::kVmptrld, .operand = InMemory(Shape::kBase)}, "3e3e3e3e3e0fc736"},
      {{.kind = Kind::kVmptrld, .operand = InMemory(Shape::kBaseDisplacement)}, "3e3e3e3e0fc776e0"},
      {{.kind = Kind::kVmptrld, .operand = InMemory(Shape::kIndexDisplacement)},
       "0fc734bd40000000"},
      {{.kind = Kind::kVmptrld, .operand = InMemory(Shape::kBaseIndexDisplacement)},
       "3e3e3e0fc774fe40"},
      {{.kind = Kind::kVmptrld, .operand = InMemory(Shape::kRspDisplacement)}, "0fc7b4244023f2ff"},
      {{.kind = Kind::kVmread, .operand = InMemory(Shape::kDisplacement, SegmentRegister::kFs)},
       "640f780538f310f0"},
      {{.kind = Kind::kVmread, .operand = InMemory(Shape::kBase, SegmentRegister::kFs)},
       "64646464640f7806"},
      {{.kind = Kind::kInvept,
        .operand = InMemory(Shape::kBaseIndexDisplacement, SegmentRegister::kGs)},
       "65660f388044fe40"},
  };
  for (const Row& row : kRows) {
    const EncodedInstruction encoded = Encode(row.instruction, kContext);
    EXPECT_EQ(encoded.refusal, EncodingRefusal::kNone);
    EXPECT_EQ(Bytes(encoded), row.code);
  }
}

TEST(InstructionEncoding, AnOperandOf32BitAddressHasAPrefix) {
  Operand operand = InMemory(Operand::Shape::kBase);
  operand.has_32_bit_address = true;
  EXPECT_EQ(Bytes(Encode({.kind = Kind::kVmptrld, .operand = operand}, kContext)),
            "3e3e3e3e670fc736");
}

TEST(InstructionEncoding, RegistersBeyondTheEighthNeedAnExtension) {
  const auto in = [](GeneralRegister name) {
    return Instruction{.kind = Kind::kVmread,
                       .first = 0x681E,
                       .operand = {.kind = Operand::Kind::kRegister, .general_register = name}};
  };
  EXPECT_EQ(Bytes(Encode(in(GeneralRegister::kR9), kContext)), "3e3e3e3e410f78c1");
  const EncodedInstruction rax = Encode(in(GeneralRegister::kRax), kContext);
  EXPECT_EQ(Bytes(rax), "3e3e3e3e3e0f78c8");
  EXPECT_EQ(Loaded(rax, GeneralRegister::kRcx), 0x681Eu);
  EXPECT_EQ(rax.result_register, GeneralRegister::kRax);
  EXPECT_EQ(Encode(in(GeneralRegister::kR13), kContext).refusal, EncodingRefusal::kNone);
  EXPECT_EQ(Encode(in(GeneralRegister::kR14), kContext).refusal, EncodingRefusal::kTakenRegister);
}

TEST(InstructionEncoding, WhatIsLongerThanEightBytesIsRefused) {
  const Operand far = InMemory(Operand::Shape::kIndexDisplacement);
  EXPECT_EQ(Encode({.kind = Kind::kVmptrld, .operand = far}, kContext).refusal,
            EncodingRefusal::kNone);
  EXPECT_EQ(Encode({.kind = Kind::kVmclear, .operand = far}, kContext).refusal,
            EncodingRefusal::kTooLong);
}

TEST(InstructionEncoding, AnAddressOf64BitsNeedsABase) {
  constexpr uint64_t kHigh = uint64_t{1} << 47;
  const EncodedInstruction encoded = Encode({.kind = Kind::kSgdt, .first = kHigh}, kContext);
  EXPECT_EQ(Bytes(encoded), "3e3e3e3e3e0f0106");
  EXPECT_EQ(Loaded(encoded, GeneralRegister::kRsi), kHigh);
  Operand operand = InMemory(Operand::Shape::kDisplacement);
  operand.offset = kHigh;
  EXPECT_EQ(Encode({.kind = Kind::kVmptrld, .operand = operand}, kContext).refusal,
            EncodingRefusal::kOutOfReach);
}

TEST(InstructionEncoding, PointersAndDescriptorsLieAtTheTopOfTheStacksPage) {
  const EncodedInstruction vmclear = Encode({.kind = Kind::kVmclear, .first = 0x5000}, kContext);
  EXPECT_EQ(vmclear.words_address, kWindowBase + kL1StackTop - 0x1000);
  ASSERT_EQ(vmclear.word_count, 1u);
  EXPECT_EQ(vmclear.words[0], 0x5000u);
  const EncodedInstruction invvpid =
      Encode({.kind = Kind::kInvvpid, .first = 2, .second = 7, .third = 0x9000}, kContext);
  EXPECT_EQ(Loaded(invvpid, GeneralRegister::kRsi), invvpid.words_address);
  EXPECT_EQ(Loaded(invvpid, GeneralRegister::kRax), 2u);
  ASSERT_EQ(invvpid.word_count, 2u);
  EXPECT_EQ(invvpid.words[0], 7u);
  EXPECT_EQ(invvpid.words[1], 0x9000u);
}

TEST(InstructionEncoding, IretFindsTheFrameOnTheStack) {
  const EncodedInstruction to = Encode({.kind = Kind::kIret, .first = 0x1234}, kContext);
  EXPECT_EQ(Loaded(to, GeneralRegister::kRsp), kContext.rsp - 40);
  ASSERT_EQ(to.word_count, 5u);
  EXPECT_EQ(to.words, (std::array<uint64_t, 5>{0x1234, 8, 0x202, kContext.rsp, 16}));
  const EncodedInstruction back = Encode({.kind = Kind::kIret}, kContext);
  EXPECT_EQ(Loaded(back, GeneralRegister::kRsp), kContext.frame_address);
  EXPECT_EQ(back.word_count, 0u);
}

TEST(InstructionEncoding, AHandlerReturnsWithoutIretThroughTwoWordsBelowTheStack) {
  const EncodedInstruction encoded = Encode({.kind = Kind::kHandlerReturn}, kContext);
  EXPECT_EQ(Loaded(encoded, GeneralRegister::kRsp), kContext.frame[3] - 16);
  EXPECT_EQ(encoded.words[0], kContext.frame[2]);
  EXPECT_EQ(encoded.words[1], kContext.frame[0]);
}

TEST(InstructionEncoding, AFetchThatHasArrivedChangesNoCode) {
  EXPECT_TRUE(Encode({.kind = Kind::kFetch, .first = 0x800'0000}, kContext).has_code);
  EXPECT_FALSE(Encode({.kind = Kind::kFetch, .first = kContext.rip}, kContext).has_code);
}

}  // namespace
}  // namespace nvmx::lhv
