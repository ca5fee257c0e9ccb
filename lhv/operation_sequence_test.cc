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
  EXPECT_EQ(instructions[0].second, 0x10005000u);
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

TEST(OperationSequence, TheMarksOfAVmfailAreNotCapabilities) {
  for (const uint64_t mark : {kScratchVmfailValid, kScratchAbandoned}) {
    EXPECT_NE(static_cast<uint32_t>(mark) & ~static_cast<uint32_t>(mark >> 32), 0u);
  }
}

}  // namespace
}  // namespace nvmx::lhv
