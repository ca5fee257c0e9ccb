// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 2A, "IRET/IRETD/IRETQ". Real-address and virtual-8086 mode are tested beside their
// delivery.
#include "backends/sim/machine/event_return.h"

#include <initializer_list>

#include "backends/sim/machine/event_access.h"
#include "backends/sim/machine/testing/event_fixture.h"

namespace nvmx::sim {
namespace {

class ReturnTest : public EventTest {
 protected:
  struct Frame {
    uint64_t rip = 0x5678, cs = kCode64, rflags = Rflags::kFixed1, rsp = kStack + 0x100, ss = kData;
  };
  ReturnTest() { Use64BitMode(); }
  void Push(const Frame& frame) {
    uint64_t address = r_.rsp;
    for (uint64_t value : {frame.rip, frame.cs, frame.rflags, frame.rsp, frame.ss}) {
      Put<uint64_t>(address, value);
      address += 8;
    }
  }
  bool ReturnWith(const Frame& frame) {
    Push(frame);
    return Return();
  }
};

TEST_F(ReturnTest, PopsFiveValues) {
  r_.rsp = kStack + 8;
  ASSERT_TRUE(ReturnWith({}));
  EXPECT_EQ(r_.rip, 0x5678u);
  EXPECT_EQ(r_.cs.selector, kCode64);
  EXPECT_EQ(r_.rsp, kStack + 0x100);
  EXPECT_EQ(r_.ss.selector, kData);
  EXPECT_EQ(r_.ss.access_rights, 0xC093u);
}

TEST_F(ReturnTest, UndoesADelivery) {
  r_.rsp = kStack + 3;
  r_.rflags |= Rflags::kIf | Rflags::kCf | Rflags::kAc;
  const SwitchedRegisters before = r_;
  ASSERT_TRUE(Deliver());
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rip, before.rip);
  EXPECT_EQ(r_.rsp, before.rsp);
  EXPECT_EQ(r_.rflags, before.rflags);
}

TEST_F(ReturnTest, UndoesADeliveryFromCpl3) {
  Use64BitMode(kUserCode64, kUserData);
  const SwitchedRegisters before = r_;
  ASSERT_TRUE(Deliver());
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rip, before.rip);
  EXPECT_EQ(r_.rsp, before.rsp);
  EXPECT_EQ(r_.cs.selector, kUserCode64);
  EXPECT_EQ(r_.ss.selector, kUserData);
  EXPECT_EQ(CplOf(r_), 3u);
}

TEST_F(ReturnTest, BitsOfTheFrameBeyondTheSelectorAreIgnored) {
  EXPECT_TRUE(ReturnWith({.cs = kCode64 | 0xABC'0000, .ss = kData | 0xDEF'0000}));
  EXPECT_EQ(r_.cs.selector, kCode64);
  EXPECT_EQ(r_.ss.selector, kData);
}

// --- Flags

TEST_F(ReturnTest, AtCpl0AllFlagsButVmAreLoaded) {
  ASSERT_TRUE(ReturnWith({.rflags = ~uint64_t{0}}));
  EXPECT_EQ(r_.rflags, ~Rflags::kReservedMustBe0 & ~Rflags::kVm);
  r_.rflags = ~Rflags::kReservedMustBe0 & ~Rflags::kVm & ~Rflags::kNt;
  r_.rsp = kStack;
  ASSERT_TRUE(ReturnWith({.rflags = 0}));
  EXPECT_EQ(r_.rflags, Rflags::kFixed1);
}

TEST_F(ReturnTest, AtCpl3IfNeedsIopl3AndIoplIsKept) {
  Use64BitMode(kUserCode64, kUserData);
  r_.rflags = Rflags::kFixed1 | Rflags::kIf | uint64_t{2} << 12;
  const Frame user{.cs = kUserCode64, .rflags = 0, .ss = kUserData};
  ASSERT_TRUE(ReturnWith(user));
  EXPECT_EQ(r_.rflags, Rflags::kFixed1 | Rflags::kIf | uint64_t{2} << 12);
  r_.rflags = Rflags::kFixed1 | Rflags::kIf | Rflags::kIopl;
  ASSERT_TRUE(ReturnWith(user));
  EXPECT_EQ(r_.rflags, Rflags::kFixed1 | Rflags::kIopl);
}

TEST_F(ReturnTest, NestedTaskIsGeneralProtectionInIa32eMode) {
  r_.rflags |= Rflags::kNt;
  EXPECT_FALSE(ReturnWith({}));
  ExpectException(Vector::kGeneralProtection, 0);
}

// --- The code segment

TEST_F(ReturnTest, TheCodeSegmentIsNotNull) {
  EXPECT_FALSE(ReturnWith({.cs = 3}));
  ExpectException(Vector::kGeneralProtection, 0);
}

TEST_F(ReturnTest, TheCodeSegmentLiesInItsTable) {
  EXPECT_FALSE(ReturnWith({.cs = 0x100}));
  ExpectException(Vector::kGeneralProtection, 0x100);
}

TEST_F(ReturnTest, TheCodeSegmentIsCode) {
  EXPECT_FALSE(ReturnWith({.cs = kData}));
  ExpectException(Vector::kGeneralProtection, kData);
}

TEST_F(ReturnTest, TheCodeSegmentIsNotMorePrivileged) {
  Use64BitMode(kUserCode64, kUserData);
  EXPECT_FALSE(ReturnWith({.cs = kCode64}));
  ExpectException(Vector::kGeneralProtection, kCode64);
}

TEST_F(ReturnTest, TheDplIsTheRpl) {
  EXPECT_FALSE(ReturnWith({.cs = kCode64 | 3, .ss = kUserData}));
  ExpectException(Vector::kGeneralProtection, kCode64);
}

TEST_F(ReturnTest, AConformingSegmentIsNotLessPrivilegedThanTheRpl) {
  EXPECT_TRUE(ReturnWith({.cs = kConforming64 | 3, .ss = kUserData}));
  EXPECT_EQ(CplOf(r_), 3u);
  Use64BitMode();
  r_.rsp = kStack;
  SetDescriptor(kConforming64, (kCode64Entry | kTypeConforming) | kDpl3);
  EXPECT_FALSE(ReturnWith({.cs = kConforming64}));
  ExpectException(Vector::kGeneralProtection, kConforming64);
}

TEST_F(ReturnTest, TheCodeSegmentIsPresent) {
  SetDescriptor(kCode64, kCode64Entry & ~kPresentBit);
  EXPECT_FALSE(ReturnWith({}));
  ExpectException(Vector::kSegmentNotPresent, kCode64);
}

TEST_F(ReturnTest, TheRipIsCanonical) {
  EXPECT_FALSE(ReturnWith({.rip = uint64_t{1} << 47}));
  ExpectException(Vector::kGeneralProtection, 0);
}

TEST_F(ReturnTest, ToCompatibilityModeTheRipLiesInTheSegment) {
  EXPECT_TRUE(ReturnWith({.cs = kUserCode32, .ss = kUserData}));
  EXPECT_FALSE(Is64BitMode(r_));
  Use64BitMode();
  r_.rsp = kStack;
  EXPECT_FALSE(ReturnWith({.rip = uint64_t{1} << 32, .cs = kUserCode32, .ss = kUserData}));
  ExpectException(Vector::kGeneralProtection, 0);
}

TEST_F(ReturnTest, ACodeSegmentIsNotBoth64And32Bit) {
  SetDescriptor(kCode64, kCode64Entry | uint64_t{1} << 54);
  EXPECT_FALSE(ReturnWith({}));
  ExpectException(Vector::kGeneralProtection, kCode64);
}

// --- The stack segment

TEST_F(ReturnTest, ANullStackSegmentIsAllowedIn64BitModeBelowCpl3) {
  ASSERT_TRUE(ReturnWith({.ss = 0}));
  EXPECT_EQ(r_.ss.access_rights, AccessRights::kUnusable);
  r_.rsp = kStack;
  EXPECT_FALSE(ReturnWith({.cs = kUserCode64, .ss = 3}));
  ExpectException(Vector::kGeneralProtection, 0);
  EXPECT_FALSE(ReturnWith({.cs = kCode32, .ss = 0}));
  ExpectException(Vector::kGeneralProtection, 0);
  EXPECT_FALSE(ReturnWith({.ss = 1}));
  ExpectException(Vector::kGeneralProtection, 0);
}

TEST_F(ReturnTest, TheStackSegmentHasTheRplAndDplOfTheCode) {
  EXPECT_FALSE(ReturnWith({.ss = kData | 3}));
  ExpectException(Vector::kGeneralProtection, kData);
  EXPECT_FALSE(ReturnWith({.cs = kUserCode64, .ss = kData | 3}));
  ExpectException(Vector::kGeneralProtection, kData);
}

TEST_F(ReturnTest, TheStackSegmentIsWritableData) {
  EXPECT_FALSE(ReturnWith({.ss = kCode64}));
  ExpectException(Vector::kGeneralProtection, kCode64);
}

TEST_F(ReturnTest, TheStackSegmentIsPresent) {
  SetDescriptor(kData, kDataEntry & ~kPresentBit);
  EXPECT_FALSE(ReturnWith({}));
  ExpectException(Vector::kStackFault, kData);
}

TEST_F(ReturnTest, SegmentsThatTheNewCplMayNotUseBecomeNull) {
  r_.fs = Loaded(kUserData);
  r_.gs = Loaded(kConforming64);
  ASSERT_TRUE(ReturnWith({.cs = kUserCode64, .ss = kUserData}));
  EXPECT_EQ(r_.ds.access_rights, AccessRights::kUnusable);
  EXPECT_EQ(r_.ds.selector, 0u);
  EXPECT_EQ(r_.fs.selector, kUserData);
  EXPECT_EQ(r_.gs.selector, kConforming64);
}

TEST_F(ReturnTest, SegmentsThatAreUnusableStay) {
  r_.fs = NullSegment(1);
  r_.fs.base = kWindow;
  ASSERT_TRUE(ReturnWith({.cs = kUserCode64, .ss = kUserData}));
  EXPECT_EQ(r_.fs.base, kWindow);
}

TEST_F(ReturnTest, AtTheSameCplDataSegmentsStay) {
  ASSERT_TRUE(ReturnWith({}));
  EXPECT_EQ(r_.ds.selector, kData);
}

// --- The stack

TEST_F(ReturnTest, AStackThatIsNotCanonicalIsAStackFault) {
  r_.rsp = uint64_t{1} << 47;
  EXPECT_FALSE(Return());
  ExpectException(Vector::kStackFault, 0);
}

TEST_F(ReturnTest, AnAbsentStackIsAPageFaultOfTheCpl) {
  Use64BitMode(kUserCode64, kUserData);
  r_.rsp = uint64_t{1} << 30;
  EXPECT_FALSE(Return());
  ExpectException(Vector::kPageFault, 4);
  EXPECT_EQ(fault_->address, uint64_t{1} << 30);
}

// --- Protected mode

class ReturnProtectedModeTest : public EventTest {
 protected:
  ReturnProtectedModeTest() { UseProtectedMode(); }
  void Push(std::initializer_list<uint32_t> values) {
    uint64_t address = r_.rsp;
    for (uint32_t value : values) {
      Put<uint32_t>(address, value);
      address += 4;
    }
  }
};

TEST_F(ReturnProtectedModeTest, AtTheSameCplThreeValuesArePopped) {
  Push({0x5678, kCode32, Rflags::kIf, 0xBAD, 0xBAD});
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rip, 0x5678u);
  EXPECT_EQ(r_.rsp, kStack + 12);
  EXPECT_EQ(r_.rflags, Rflags::kFixed1 | Rflags::kIf);
  EXPECT_EQ(r_.ss.selector, kData);
}

TEST_F(ReturnProtectedModeTest, ToAnOuterCplFiveValuesArePopped) {
  Push({0x5678, kUserCode32, Rflags::kIf, 0x9000, kUserData});
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rsp, 0x9000u);
  EXPECT_EQ(r_.ss.selector, kUserData);
  EXPECT_EQ(CplOf(r_), 3u);
  EXPECT_EQ(r_.ds.selector, 0u);
}

TEST_F(ReturnProtectedModeTest, UndoesADeliveryFromCpl3) {
  UseProtectedMode(kUserCode32, kUserData);
  const SwitchedRegisters before = r_;
  ASSERT_TRUE(Deliver());
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rip, before.rip);
  EXPECT_EQ(r_.rsp, before.rsp);
  EXPECT_EQ(r_.cs.selector, kUserCode32);
  EXPECT_EQ(r_.ss.selector, kUserData);
}

TEST_F(ReturnProtectedModeTest, The16BitOperandSizePopsWordsAndKeepsUpperFlags) {
  r_.cs.access_rights &= ~AccessRights::kDb;
  r_.rflags |= Rflags::kAc;
  Put<uint16_t>(r_.rsp, 0x5678);
  Put<uint16_t>(r_.rsp + 2, kCode32);
  Put<uint16_t>(r_.rsp + 4, Rflags::kIf);
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rip, 0x5678u);
  EXPECT_EQ(r_.rsp, kStack + 6);
  EXPECT_EQ(r_.rflags, Rflags::kFixed1 | Rflags::kIf | Rflags::kAc);
}

TEST_F(ReturnProtectedModeTest, AStackThatEndsIsAStackFault) {
  Push({0x5678, kCode32, 0});
  r_.ss.limit = kStack + 10;
  EXPECT_FALSE(Return());
  ExpectException(Vector::kStackFault, 0);
  r_.ss.limit = kStack + 11;
  EXPECT_TRUE(Return());
}

TEST_F(ReturnProtectedModeTest, ANullStackSegmentIsGeneralProtection) {
  Push({0x5678, kUserCode32, 0, 0x9000, 3});
  EXPECT_FALSE(Return());
  ExpectException(Vector::kGeneralProtection, 0);
}

TEST_F(ReturnProtectedModeTest, TheRipLiesInTheSegment) {
  SetDescriptor(kCode32, 0x0040'9B00'0000'FFFF);
  Push({0x1'0000, kCode32, 0});
  EXPECT_FALSE(Return());
  ExpectException(Vector::kGeneralProtection, 0);
}

TEST_F(ReturnProtectedModeTest, NestedTaskAsksForASwitchToTheLinkOfTheTss) {
  r_.rflags |= Rflags::kNt;
  Put<uint16_t>(kTss, kFree);
  SetDescriptor(kFree, 0x0000'8B00'0000'0067);
  EXPECT_FALSE(Return());
  ASSERT_TRUE(fault_);
  EXPECT_EQ(fault_->kind, EventFault::Kind::kTaskSwitch);
  EXPECT_EQ(fault_->task, kFree);
}

TEST_F(ReturnProtectedModeTest, TheTaskOfTheLinkIsBusyAndPresentAndInTheGdt) {
  r_.rflags |= Rflags::kNt;
  Put<uint16_t>(kTss, kFree);
  SetDescriptor(kFree, 0x0000'8900'0000'0067);
  EXPECT_FALSE(Return());
  ExpectException(Vector::kInvalidTss, kFree);
  SetDescriptor(kFree, 0x0000'0B00'0000'0067);
  EXPECT_FALSE(Return());
  ExpectException(Vector::kSegmentNotPresent, kFree);
  r_.ldtr = {kFree, kLdt, 0xFF, 0x82};
  Put<uint64_t>(kLdt + kFree, 0x0000'8B00'0000'0067);
  Put<uint16_t>(kTss, kFree | 4);
  EXPECT_FALSE(Return());
  ExpectException(Vector::kInvalidTss, kFree | 4);
}

TEST_F(ReturnProtectedModeTest, FromVirtual8086ModeIopl3IsNeeded) {
  r_.rflags |= Rflags::kVm;
  EXPECT_FALSE(Return());
  ExpectException(Vector::kGeneralProtection, 0);
}

}  // namespace
}  // namespace nvmx::sim
