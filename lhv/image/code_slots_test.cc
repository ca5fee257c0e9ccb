// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/code_slots.h"

#include <cstring>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "lhv/image/cpu_area.h"

namespace nvmx::lhv {
namespace {

constexpr uint32_t kCpu = 1;
constexpr uint64_t kStubs = 0x400'0000;
constexpr size_t kStubBytes = 0x10'0000;
constexpr uint64_t kArea = 0x300'0000;
constexpr uint64_t kEntry = 0x500'0000;
constexpr uint64_t kNop8 = 0x9090'9090'9090'9090;

class CodeSlotsTest : public testing::Test {
 protected:
  // 1 GByte of addresses; only the pages that are written cost anything.
  static constexpr size_t kBytes = size_t{1} << 30;
  CodeSlotsTest() : memory_(static_cast<uint8_t*>(std::calloc(kBytes, 1)), &std::free) {}

  CodeSlots Slots(size_t stub_bytes = kStubBytes) {
    return CodeSlots({.cpu = kCpu,
                      .memory = memory_.get(),
                      .stubs = kStubs,
                      .stub_bytes = stub_bytes,
                      .area = kArea});
  }
  CodeSlots SlotsOfI386() {
    return CodeSlots({.cpu = kCpu,
                      .memory = memory_.get(),
                      .stubs = kStubs,
                      .stub_bytes = kStubBytes,
                      .area = kArea,
                      .mode = L1Mode::k32Bit,
                      .entry_from_guest_program = kEntry,
                      .entry_from_interpreter = kEntry + 1});
  }
  template <typename T>
  T Get(uint64_t address) const {
    T value;
    std::memcpy(&value, memory_.get() + address, sizeof value);
    return value;
  }
  // Where the JMP at the address goes.
  uint64_t JumpTarget(uint64_t address) const {
    EXPECT_EQ(Get<uint8_t>(address), 0xE9);
    return address + 5 + static_cast<uint64_t>(int64_t{Get<int32_t>(address + 1)});
  }
  static uint64_t L1(uint64_t operation, uint64_t slot = 0) {
    return OperationAddress(CodeOf(kCpu, kL1CodeBase), operation) + slot * kInstructionBytes;
  }

  const std::vector<Operation> l1_ = {{.kind = OperationKind::kNop},
                                      {.kind = OperationKind::kInitializeVmxRegion}};
  const std::vector<Operation> l2_ = {{.kind = OperationKind::kVmcall}};
  const CpuProgramView program_{l1_, 0, l2_};
  std::unique_ptr<uint8_t, decltype(&std::free)> memory_;
};

TEST_F(CodeSlotsTest, AllCodeIsAtRestUntilAProgramComes) {
  CodeSlots slots = Slots();
  slots.FillAll();
  EXPECT_EQ(Get<uint16_t>(L1(0)), 0xFEEB);
  EXPECT_EQ(Get<uint16_t>(L1(kMaxOperations) - 2), 0xFEEB);
  EXPECT_EQ(Get<uint16_t>(HandlersOf(kCpu, kL2BareHandlerBase) + kHandlerBytesPerCpu - 2), 0xFEEB);
  EXPECT_EQ(Get<uint16_t>(L1(kMaxOperations)), 0) << "another CPU's";
}

TEST_F(CodeSlotsTest, EachSlotLeadsToAStubThatKnowsIt) {
  CodeSlots slots = Slots();
  slots.FillAll();
  ASSERT_TRUE(slots.Prepare(program_));
  for (const uint64_t slot :
       {L1(0), L1(0, 1), L1(0, 2), L1(0, 511), L1(1, 4), L1(2), CodeOf(kCpu, kL2CodeBase),
        HandlerAddress(HandlersOf(kCpu, kL1HandlerBase), 14),
        HandlerAddress(HandlersOf(kCpu, kL2BareHandlerBase), 2)}) {
    const uint64_t stub = JumpTarget(slot);
    EXPECT_EQ(slots.SlotOfStub(stub), slot);
    EXPECT_EQ(slots.SlotOfStub(stub + CodeSlots::kStubBytes - 1), slot);
    EXPECT_EQ(Get<uint32_t>(stub + 4), kArea + NVMX_AREA_R14);
    EXPECT_EQ(JumpTarget(stub + 14), kStubs);
  }
  EXPECT_EQ(Get<uint16_t>(L1(0, 3)), 0xFEEB) << "no instruction can be there";
  EXPECT_EQ(Get<uint16_t>(L1(2, 1)), 0xFEEB);
  EXPECT_EQ(slots.SlotOfStub(kStubs), std::nullopt);
  EXPECT_TRUE(slots.IsInCommonCode(kStubs));
}

TEST_F(CodeSlotsTest, OutsideOf64BitModeTheCommonCodeIsVmcall) {
  CodeSlots slots = Slots();
  slots.FillAll();
  // MOV [disp32], R15, without REX of EDI.
  EXPECT_EQ(Get<uint32_t>(kStubs), 0x253C894Cu);
  // MOV R15, imm64; without REX MOV EDI, imm32, and VMCALL behind it.
  EXPECT_EQ(Get<uint16_t>(kStubs + 8), 0xBF49);
  constexpr uint64_t kVmcall = kStubs + 14;
  EXPECT_EQ(Get<uint32_t>(kVmcall) & 0xFFFFFF, 0xC1010Fu);
  EXPECT_TRUE(slots.IsOutsideMode(kVmcall));
  EXPECT_FALSE(slots.IsOutsideMode(kStubs));
  // MOV R15D, imm32; JMP [R15 + disp32].
  EXPECT_EQ(Get<uint16_t>(kStubs + 18), 0xBF41);
  EXPECT_EQ(Get<uint32_t>(kStubs + 20), kArea);
  EXPECT_EQ(Get<uint32_t>(kStubs + 24) & 0xFFFFFF, 0xA7FF41u);
}

TEST_F(CodeSlotsTest, OfI386AStubKeepsEbpAndGoesWhereTheAreaSays) {
  CodeSlots slots = SlotsOfI386();
  slots.FillAll();
  ASSERT_TRUE(slots.Prepare(program_));
  const uint64_t stub = JumpTarget(L1(1, 4));
  EXPECT_EQ(slots.SlotOfStub(stub), L1(1, 4));
  // NOP [EAX + disp32]; in code of 16 bits a shorter one, and JMP to VMCALL.
  EXPECT_EQ(Get<uint32_t>(stub), 0x90801F0Fu);
  EXPECT_EQ(Get<uint16_t>(stub + 5), 0x11EB);
  EXPECT_EQ(Get<uint32_t>(stub + 7 + 0x11) & 0xFFFFFF, 0xC1010Fu);
  EXPECT_TRUE(slots.IsOutsideMode(stub + 7 + 0x11));
  EXPECT_FALSE(slots.IsOutsideMode(stub));
  // MOV [disp32], EBP; MOV EBP, imm32; JMP [disp32].
  EXPECT_EQ(Get<uint16_t>(stub + 7), 0x2D89);
  EXPECT_EQ(Get<uint32_t>(stub + 9), kArea + NVMX_AREA_R14);
  EXPECT_EQ(Get<uint8_t>(stub + 13), 0xBD);
  EXPECT_EQ(Get<uint32_t>(stub + 14), L1(1, 4));
  EXPECT_EQ(Get<uint16_t>(stub + 18), 0x25FF);
  EXPECT_EQ(Get<uint32_t>(stub + 20), kArea + NVMX_AREA_ENTRY);
}

TEST_F(CodeSlotsTest, OfI386EachCpuHasItsOwnWaysInAndOut) {
  CodeSlots slots = SlotsOfI386();
  slots.FillAll();
  const CodeSlots::Ways ways = slots.WaysOfI386();
  // MOV dword [disp32], imm32: an event is one of the interpreter's from then on.
  EXPECT_EQ(Get<uint16_t>(ways.from_guest_program), 0x05C7);
  EXPECT_EQ(Get<uint32_t>(ways.from_guest_program + 2), kArea + NVMX_AREA_ENTRY);
  EXPECT_EQ(Get<uint32_t>(ways.from_guest_program + 6), ways.from_interpreter);
  EXPECT_EQ(JumpTarget(ways.from_guest_program + 20), kEntry);
  // MOV [disp32], EAX; MOV EAX, imm32.
  EXPECT_EQ(Get<uint8_t>(ways.from_interpreter), 0xA3);
  EXPECT_EQ(Get<uint32_t>(ways.from_interpreter + 1), kArea + NVMX_AREA_SCRATCH);
  EXPECT_EQ(Get<uint8_t>(ways.from_interpreter + 5), 0xB8);
  EXPECT_EQ(Get<uint32_t>(ways.from_interpreter + 6), kArea);
  EXPECT_EQ(JumpTarget(ways.from_interpreter + 10), kEntry + 1);
  // MOV EAX, [disp32]; STI; JMP [disp32].
  EXPECT_EQ(Get<uint8_t>(ways.with_interrupts), 0xA1);
  EXPECT_EQ(Get<uint8_t>(ways.with_interrupts + 5), 0xFB);
  EXPECT_EQ(Get<uint16_t>(ways.without_interrupts + 5), 0x25FF);
  EXPECT_EQ(Get<uint32_t>(ways.without_interrupts + 7), kArea + NVMX_AREA_TARGET);
  EXPECT_TRUE(slots.IsOnWayOut(ways.with_interrupts));
  EXPECT_FALSE(slots.IsOnWayOut(ways.from_interpreter));
  EXPECT_FALSE(Slots().IsOnWayOut(kStubs));
}

TEST_F(CodeSlotsTest, ClearingPutsEverythingBack) {
  CodeSlots slots = Slots();
  slots.FillAll();
  ASSERT_TRUE(slots.Prepare(program_));
  slots.Clear();
  EXPECT_EQ(Get<uint16_t>(L1(0)), 0xFEEB);
  EXPECT_EQ(slots.SlotOfStub(kStubs + CodeSlots::kCommonBytes), std::nullopt);
  EXPECT_TRUE(slots.Prepare(program_));
}

TEST_F(CodeSlotsTest, AProgramThatNeedsMoreStubsThanThereIsRoomForIsRefused) {
  EXPECT_FALSE(Slots(CodeSlots::kCommonBytes + 1000 * CodeSlots::kStubBytes).Prepare(program_));
  EXPECT_TRUE(Slots(CodeSlots::kCommonBytes + 1100 * CodeSlots::kStubBytes).Prepare(program_));
}

TEST_F(CodeSlotsTest, WritingGivesWhatWasThere) {
  CodeSlots slots = Slots();
  slots.FillAll();
  ASSERT_TRUE(slots.Prepare(program_));
  const auto before = Get<uint64_t>(L1(0));
  CodeSlots::Bytes nops;
  std::memcpy(nops.data(), &kNop8, sizeof kNop8);
  const CodeSlots::Bytes old = slots.Write(L1(0), nops);
  EXPECT_EQ(Get<uint64_t>(L1(0)), kNop8);
  slots.Write(L1(0), old);
  EXPECT_EQ(Get<uint64_t>(L1(0)), before);
}

TEST_F(CodeSlotsTest, BehindStiASlotBeginsWithCli) {
  CodeSlots slots = Slots();
  slots.FillAll();
  ASSERT_TRUE(slots.Prepare(program_));
  const uint64_t stub = JumpTarget(L1(0, 1));
  const CodeSlots::Bytes old = slots.PrependCli(L1(0, 1));
  EXPECT_EQ(Get<uint8_t>(L1(0, 1)), 0xFA);
  EXPECT_EQ(JumpTarget(L1(0, 1) + 1), stub);
  slots.Write(L1(0, 1), old);
  EXPECT_EQ(JumpTarget(L1(0, 1)), stub);
  // Where no instruction can be, nothing changes.
  slots.PrependCli(L1(0, 3));
  EXPECT_EQ(Get<uint16_t>(L1(0, 3)), 0xFEEB);
}

}  // namespace
}  // namespace nvmx::lhv
