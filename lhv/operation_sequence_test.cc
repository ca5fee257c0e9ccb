// SPDX-License-Identifier: Apache-2.0
#include "lhv/operation_sequence.h"

#include <map>
#include <vector>

#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/exit_fields.h"
#include "lhv/layout.h"
#include "lhv/operand.h"

namespace nvmx::lhv {
namespace {

using ::testing::ElementsAre;

constexpr uint32_t kCpu = 2;

// The instructions of the operation when each gives the value next in `values`, 0 after the last.
std::vector<Instruction> InstructionsOf(const Operation& operation,
                                        const std::vector<uint64_t>& values, uint64_t scratch = 0) {
  std::vector<Instruction> instructions;
  for (size_t number = 0; number < InstructionCount(operation); ++number) {
    instructions.push_back(
        InstructionAt(operation, number, {.cpu = kCpu, .next_rip = 0x7000, .scratch = scratch}));
    scratch = ScratchAfter(operation, number, scratch, number < values.size() ? values[number] : 0);
  }
  return instructions;
}

Operation Control(VmcsField field, uint64_t wanted) {
  return {.kind = OperationKind::kVmwriteControl, .selector = Encoding(field), .value = wanted};
}

TEST(OperationSequence, InitializingARegionWritesTheRevisionIdentifierWithoutBit31) {
  const auto instructions = InstructionsOf({.kind = OperationKind::kInitializeVmxRegion,
                                            .flags = kValueIsWindowOffset,
                                            .value = 0x11000},
                                           {0x00DA'0400'FFFF'FFFF});
  ASSERT_EQ(instructions.size(), 2u);
  EXPECT_EQ(instructions[0].kind, InstructionKind::kRdmsr);
  EXPECT_EQ(instructions[0].first, Index(Msr::IA32_VMX_BASIC));
  EXPECT_EQ(instructions[1].kind, InstructionKind::kWriteMemory);
  EXPECT_EQ(instructions[1].width, 4);
  EXPECT_EQ(instructions[1].first, WindowOf(kCpu) + 0x11000);
  EXPECT_EQ(instructions[1].second, 0x7FFF'FFFFu);
}

TEST(OperationSequence, ControlsFollowTheTrueMsrWhenThereIsOne) {
  const auto instructions = InstructionsOf(Control(VmcsField::kPinBasedControls, 0x28),
                                           {VmxBasic::kTrueControls, 0x0000007F'00000016});
  ASSERT_EQ(instructions.size(), 3u);
  EXPECT_EQ(instructions[1].first, Index(Msr::IA32_VMX_TRUE_PINBASED_CTLS));
  EXPECT_EQ(instructions[2].kind, InstructionKind::kVmwrite);
  EXPECT_EQ(instructions[2].first, Encoding(VmcsField::kPinBasedControls));
  EXPECT_EQ(instructions[2].second, 0x3Eu);
}

TEST(OperationSequence, ControlsFollowTheOldMsrWhenThereIsNoTrueOne) {
  const auto instructions = InstructionsOf(Control(VmcsField::kVmEntryControls, 0),
                                           {~VmxBasic::kTrueControls, 0x0000FFFF'000011FF});
  ASSERT_EQ(instructions.size(), 3u);
  EXPECT_EQ(instructions[1].first, Index(Msr::IA32_VMX_ENTRY_CTLS));
  EXPECT_EQ(instructions[2].second, 0x11FFu);
}

TEST(OperationSequence, ControlsThatAreNotAllowedAreDropped) {
  const auto instructions =
      InstructionsOf(Control(VmcsField::kPinBasedControls, 0xFF), {0, 0x0000'001E'0000'0016});
  EXPECT_EQ(instructions[2].second, 0x1Eu);
}

TEST(OperationSequence, SecondaryControlsHaveOneMsrWhateverTheScratchRegisterHolds) {
  const auto instructions =
      InstructionsOf(Control(VmcsField::kSecondaryProcessorBasedControls, 0xF0),
                     {0x0000'00A0'0000'0000}, VmxBasic::kTrueControls);
  ASSERT_EQ(instructions.size(), 2u);
  EXPECT_EQ(instructions[0].first, Index(Msr::IA32_VMX_PROCBASED_CTLS2));
  EXPECT_EQ(instructions[1].second, 0xA0u);
}

TEST(OperationSequence, TertiaryControlsHaveOnlyAllowed1Settings) {
  const auto instructions =
      InstructionsOf(Control(VmcsField::kTertiaryProcessorBasedControls, 0xF), {0x1'0000'0005});
  ASSERT_EQ(instructions.size(), 2u);
  EXPECT_EQ(instructions[0].first, Index(Msr::IA32_VMX_PROCBASED_CTLS3));
  EXPECT_EQ(instructions[1].second, 0x5u);
}

TEST(OperationSequence, HostStateIsWrittenWholeButForRip) {
  std::map<uint64_t, uint64_t> written;
  for (const Instruction& instruction :
       InstructionsOf({.kind = OperationKind::kVmwriteHostState}, {})) {
    EXPECT_EQ(instruction.kind, InstructionKind::kVmwrite);
    written[instruction.first] = instruction.second;
  }
  for (const VmcsFieldInformation& row : kVmcsFields) {
    const bool optional = row.existence != FieldExistence::kAlways;
    if (Type(row.field) != FieldType::kHostState || optional) continue;
    EXPECT_EQ(written.count(Encoding(row.field)), row.field == VmcsField::kHostRip ? 0u : 1u)
        << row.name;
  }
  EXPECT_EQ(written[Encoding(VmcsField::kHostCr0)], 0x80000031u);
  EXPECT_EQ(written[Encoding(VmcsField::kHostCr3)], WindowOf(kCpu) + kPageTableOffset);
  EXPECT_EQ(written[Encoding(VmcsField::kHostCr4)], 0x2020u);
  EXPECT_EQ(written[Encoding(VmcsField::kHostRsp)], WindowOf(kCpu) + 0xF0000);
  EXPECT_EQ(written[Encoding(VmcsField::kHostCsSelector)], 0x8u);
  EXPECT_EQ(written[Encoding(VmcsField::kHostGsSelector)], 0x10u);
  EXPECT_EQ(written[Encoding(VmcsField::kHostTrSelector)], 0x18u);
  EXPECT_EQ(written[Encoding(VmcsField::kHostIa32Efer)], 0x500u);
  EXPECT_EQ(written[Encoding(VmcsField::kHostIa32Pat)], 0x0007040600070406u);
}

TEST(OperationSequence, HostRipIsTheAddressOfAnOperation) {
  const auto instructions = InstructionsOf({.kind = OperationKind::kSetHostRip, .value = 5}, {});
  ASSERT_EQ(instructions.size(), 1u);
  EXPECT_EQ(instructions[0].first, Encoding(VmcsField::kHostRip));
  EXPECT_EQ(instructions[0].second, OperationAddress(CodeOf(kCpu, kL1CodeBase), 5));
}

TEST(OperationSequence, ObservingAnExitReadsTheSelectedFieldsInTheOrderOfTheTable) {
  const auto instructions =
      InstructionsOf({.kind = OperationKind::kObserveExit, .selector = 0x405}, {});
  std::vector<uint64_t> fields;
  for (const Instruction& instruction : instructions) fields.push_back(instruction.first);
  EXPECT_THAT(fields, ElementsAre(Encoding(VmcsField::kExitReason),
                                  Encoding(VmcsField::kVmExitInterruptionInformation),
                                  Encoding(VmcsField::kGuestRip)));
}

TEST(OperationSequence, BitsOfNoExitFieldSelectNothing) {
  EXPECT_EQ(InstructionCount({.kind = OperationKind::kObserveExit, .selector = ~kEveryExitField}),
            0u);
}

TEST(OperationSequence, AdvancingTheGuestAddsTheInstructionLengthToRip) {
  const auto instructions =
      InstructionsOf({.kind = OperationKind::kAdvanceGuestRip}, {0x20003000, 3});
  ASSERT_EQ(instructions.size(), 3u);
  EXPECT_EQ(instructions[0].first, Encoding(VmcsField::kGuestRip));
  EXPECT_EQ(instructions[1].first, Encoding(VmcsField::kVmExitInstructionLength));
  EXPECT_EQ(instructions[2].kind, InstructionKind::kVmwrite);
  EXPECT_EQ(instructions[2].first, Encoding(VmcsField::kGuestRip));
  EXPECT_EQ(instructions[2].second, 0x20003003u);
}

struct SendCase {
  Operation operation;
  uint64_t command;
};

class Sending : public ::testing::TestWithParam<SendCase> {};

TEST_P(Sending, WritesTheInterruptCommand) {
  const auto instructions = InstructionsOf(GetParam().operation, {});
  ASSERT_EQ(instructions.size(), 1u);
  EXPECT_EQ(instructions[0].kind, InstructionKind::kSendIpi);
  EXPECT_EQ(instructions[0].first, GetParam().command);
}

INSTANTIATE_TEST_SUITE_P(
    OperationSequence, Sending,
    ::testing::Values(
        SendCase{{.kind = OperationKind::kSendNmi, .selector = kToAllOthers}, 0xC4400},
        SendCase{{.kind = OperationKind::kSendNmi, .selector = kToSelf}, 0x44400},
        SendCase{{.kind = OperationKind::kSendNmi, .selector = 3}, 0x3'0000'4400},
        SendCase{{.kind = OperationKind::kSendInterrupt, .selector = 1, .value = 0x40},
                 0x1'0000'4040},
        SendCase{{.kind = OperationKind::kSendInit, .selector = 1}, 0x1'0000'4500},
        SendCase{{.kind = OperationKind::kSendSipi, .selector = 1, .value = 8}, 0x1'0000'4608}));

TEST(OperationSequence, MemoryAccessesHaveTheirWidthAndRelocatedAddress) {
  const auto read = InstructionsOf({.kind = OperationKind::kReadMemory,
                                    .flags = kValueIsWindowOffset,
                                    .selector = 2,
                                    .value = 0x10},
                                   {});
  EXPECT_EQ(read[0].width, 2);
  EXPECT_EQ(read[0].first, WindowOf(kCpu) + 0x10);
  const auto write = InstructionsOf(
      {.kind = OperationKind::kWriteMemory, .selector = 8, .value = 0x100010, .extra = 77}, {});
  EXPECT_EQ(write[0].width, 8);
  EXPECT_EQ(write[0].first, 0x100010u);
  EXPECT_EQ(write[0].second, 77u);
}

TEST(OperationSequence, VmcallHasTheValueOfRax) {
  const auto instructions =
      InstructionsOf({.kind = OperationKind::kVmcall, .value = 0x6E760001}, {});
  ASSERT_EQ(instructions.size(), 1u);
  EXPECT_EQ(instructions[0].kind, InstructionKind::kVmcall);
  EXPECT_EQ(instructions[0].first, 0x6E760001u);
}

TEST(OperationSequence, TheInterruptFlagHasTwoInstructions) {
  const auto set = InstructionsOf({.kind = OperationKind::kSti}, {});
  const auto clear = InstructionsOf({.kind = OperationKind::kCli}, {});
  ASSERT_EQ(set.size(), 1u);
  ASSERT_EQ(clear.size(), 1u);
  EXPECT_EQ(set[0].kind, InstructionKind::kSti);
  EXPECT_EQ(clear[0].kind, InstructionKind::kCli);
}

TEST(OperationSequence, IretContinuesAtTheNextOperation) {
  const auto instructions = InstructionsOf({.kind = OperationKind::kIret}, {});
  ASSERT_EQ(instructions.size(), 1u);
  EXPECT_EQ(instructions[0].first, 0x7000u);
}

TEST(OperationSequence, EveryOperationStandsForInstructions) {
  for (size_t kind = 0; kind < kOperationKindCount; ++kind) {
    const Operation operation{.kind = static_cast<OperationKind>(kind), .selector = 1};
    ASSERT_GE(InstructionCount(operation), 1u) << kind;
    for (size_t number = 0; number < InstructionCount(operation); ++number) {
      const bool is_nop =
          operation.kind == OperationKind::kNop || operation.kind == OperationKind::kHandlerReturn;
      EXPECT_EQ(InstructionAt(operation, number, {.cpu = 0}).kind == InstructionKind::kNop, is_nop)
          << kind;
    }
  }
}

TEST(OperationSequence, TheDescriptorsOfInvalidationsHaveTheTagFirst) {
  const auto invept = InstructionsOf({.kind = OperationKind::kInvept,
                                      .flags = kValueIsWindowOffset,
                                      .selector = 1,
                                      .value = 0x1001E,
                                      .extra = 3},
                                     {});
  EXPECT_EQ(invept[0].first, 1u);
  EXPECT_EQ(invept[0].second, WindowOf(kCpu) + 0x1001E);
  EXPECT_EQ(invept[0].third, 3u);
  const auto invvpid = InstructionsOf(
      {.kind = OperationKind::kInvvpid, .selector = 0, .value = 0xFFFF8000, .extra = 5}, {});
  EXPECT_EQ(invvpid[0].second, 5u);
  EXPECT_EQ(invvpid[0].third, 0xFFFF8000u);
}

TEST(OperationSequence, RegisterNumbersAndWidthsOfPortsAreWidths) {
  const auto to_cr =
      InstructionsOf({.kind = OperationKind::kMovToCr, .selector = 4, .value = 0x2020}, {});
  EXPECT_EQ(to_cr[0].width, 4);
  EXPECT_EQ(to_cr[0].first, 0x2020u);
  const auto out =
      InstructionsOf({.kind = OperationKind::kOut, .selector = 2, .value = 0x71, .extra = 9}, {});
  EXPECT_EQ(out[0].width, 2);
  EXPECT_EQ(out[0].first, 0x71u);
  EXPECT_EQ(out[0].second, 9u);
}

TEST(OperationSequence, OperandsAreRelocatedToTheWindow) {
  const Operand operand{.kind = Operand::Kind::kMemory,
                        .shape = Operand::Shape::kBaseIndexDisplacement,
                        .segment = SegmentRegister::kFs,
                        .offset = 0x11008};
  const auto vmptrld = InstructionsOf({.kind = OperationKind::kVmptrld,
                                       .flags = kHasOperand | kOperandIsWindowOffset,
                                       .operand = PackOperand(operand)},
                                      {});
  EXPECT_EQ(vmptrld[0].operand.kind, Operand::Kind::kMemory);
  EXPECT_EQ(vmptrld[0].operand.shape, Operand::Shape::kBaseIndexDisplacement);
  EXPECT_EQ(vmptrld[0].operand.segment, SegmentRegister::kFs);
  EXPECT_EQ(vmptrld[0].operand.offset, WindowOf(kCpu) + 0x11008);
  const auto plain =
      InstructionsOf({.kind = OperationKind::kVmptrld, .operand = PackOperand(operand)}, {});
  EXPECT_EQ(plain[0].operand.kind, Operand::Kind::kDefault);
}

TEST(OperationSequence, PackedOperandsKeepAnyAddressThatProgramsNeed) {
  for (const uint64_t offset : {uint64_t{0}, uint64_t{0x11008}, uint64_t{0x7FFF'FFFF'F000},
                                ~uint64_t{0}, uint64_t{0xFFFF'8000'0000'0000},
                                uint64_t{0x8000'0000'0000'0000}, uint64_t{0x4000'0000'0000'1000}}) {
    ASSERT_TRUE(IsPackableOffset(offset)) << offset;
    const Operand operand{.kind = Operand::Kind::kRegister,
                          .shape = Operand::Shape::kRspDisplacement,
                          .segment = SegmentRegister::kGs,
                          .general_register = GeneralRegister::kR15,
                          .has_32_bit_address = true,
                          .offset = offset};
    const uint64_t packed = PackOperand(operand);
    EXPECT_TRUE(IsPackedOperand(packed));
    const Operand unpacked = UnpackOperand(packed);
    EXPECT_EQ(unpacked.offset, offset);
    EXPECT_EQ(unpacked.kind, operand.kind);
    EXPECT_EQ(unpacked.shape, operand.shape);
    EXPECT_EQ(unpacked.segment, operand.segment);
    EXPECT_EQ(unpacked.general_register, operand.general_register);
    EXPECT_TRUE(unpacked.has_32_bit_address);
  }
  EXPECT_FALSE(IsPackableOffset(uint64_t{1} << 50));
  EXPECT_FALSE(IsPackedOperand(~uint64_t{0}));
}

TEST(OperationSequence, AHandlerIsAnInterruptGateOfTheTable) {
  const auto writes = InstructionsOf({.kind = OperationKind::kSetHandler,
                                      .flags = kValueIsWindowOffset,
                                      .selector = 2,
                                      .value = kL2IdtOffset,
                                      .extra = kHandlerIsBare | kHandlerIsOfL2},
                                     {});
  ASSERT_EQ(writes.size(), 2u);
  EXPECT_EQ(writes[0].first, WindowOf(kCpu) + kL2IdtOffset + 0x28);
  EXPECT_EQ(writes[0].second, 0u);
  EXPECT_EQ(writes[1].first, WindowOf(kCpu) + kL2IdtOffset + 0x20);
  EXPECT_EQ(writes[1].width, 8);
  // Offset 3C002000H, selector 8, present interrupt gate. SDM Vol. 3A, Figure 6-8.
  EXPECT_EQ(writes[1].second, 0x3C20'8E00'0008'2000u);
}

TEST(OperationSequence, TheMarksOfAVmfailAreNotCapabilities) {
  for (const uint64_t mark :
       {kScratchVmfailValid, kScratchAbandoned, kScratchRepeats, kScratchFetching}) {
    EXPECT_NE(static_cast<uint32_t>(mark) & ~static_cast<uint32_t>(mark >> 32), 0u);
  }
}

}  // namespace
}  // namespace nvmx::lhv
