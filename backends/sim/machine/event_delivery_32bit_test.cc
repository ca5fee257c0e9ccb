// SPDX-License-Identifier: Apache-2.0
//
// Delivery in protected mode without IA-32e mode, from virtual-8086 mode, and in real-address mode.
// SDM Vol. 2A, "INT n/INTO/INT3/INT1"; Vol. 3B, 21.1.4 "Interrupt and Exception Handling", 21.3
// "Interrupt and Exception Handling in Virtual-8086 Mode".
#include "backends/sim/machine/testing/event_fixture.h"

namespace nvmx::sim {
namespace {

class ProtectedModeDeliveryTest : public EventTest {
 protected:
  ProtectedModeDeliveryTest() { UseProtectedMode(); }
  static constexpr Event Int() { return {kVector, InterruptionType::kSoftwareInterrupt, {}, 2}; }
  uint32_t Pushed(unsigned number) const { return Get<uint32_t>(r_.rsp + 4 * number); }
};

TEST_F(ProtectedModeDeliveryTest, AtTheSameCplThreeValuesArePushed) {
  r_.rflags |= Rflags::kIf;
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kStack - 12);
  EXPECT_EQ(Pushed(0), kRip);
  EXPECT_EQ(Pushed(1), kCode32);
  EXPECT_EQ(Pushed(2), Rflags::kFixed1 | Rflags::kIf);
  EXPECT_EQ(r_.rip, kHandler);
  EXPECT_EQ(r_.cs.selector, kCode32);
  EXPECT_EQ(r_.ss.selector, kData);
  EXPECT_EQ(r_.rflags, Rflags::kFixed1);
}

TEST_F(ProtectedModeDeliveryTest, AnErrorCodeIsPushedLast) {
  ASSERT_TRUE(Deliver({kVector, InterruptionType::kHardwareException, 0x1234}));
  EXPECT_EQ(r_.rsp, kStack - 16);
  EXPECT_EQ(Pushed(0), 0x1234u);
}

TEST_F(ProtectedModeDeliveryTest, TheStackSegmentHasABase) {
  r_.ss.base = 0x100;
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(Get<uint32_t>(r_.rsp + 0x100), kRip);
}

TEST_F(ProtectedModeDeliveryTest, A16BitGatePushes16BitValues) {
  SetGate32(kHandler, {.type = 6, .selector = kCode32});
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kStack - 6);
  EXPECT_EQ(Get<uint16_t>(r_.rsp), kRip & 0xFFFF);
  EXPECT_EQ(r_.rip, kHandler & 0xFFFF);
}

TEST_F(ProtectedModeDeliveryTest, ATrapGateLeavesIf) {
  r_.rflags |= Rflags::kIf;
  for (unsigned type : {7u, 15u}) {
    SetGate32(kHandler, {.type = type, .selector = kCode32});
    ASSERT_TRUE(Deliver());
    EXPECT_EQ(r_.rflags & Rflags::kIf, Rflags::kIf);
  }
}

TEST_F(ProtectedModeDeliveryTest, FromCpl3FiveValuesArePushedOnTheStackOfTheTss) {
  UseProtectedMode(kUserCode32, kUserData);
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kRsp0 - 20);
  EXPECT_EQ(r_.ss.selector, kData);
  EXPECT_EQ(r_.ss.access_rights, 0xC093u);
  EXPECT_EQ(Pushed(0), kRip);
  EXPECT_EQ(Pushed(1), kUserCode32);
  EXPECT_EQ(Pushed(3), kStack);
  EXPECT_EQ(Pushed(4), kUserData);
  EXPECT_EQ(CplOf(r_), 0u);
}

TEST_F(ProtectedModeDeliveryTest, A16BitTssHas16BitStackPointers) {
  UseProtectedMode(kUserCode32, kUserData);
  r_.tr.access_rights = 0x83;
  Put<uint16_t>(kTss + 2, 0x8000);
  Put<uint16_t>(kTss + 4, kFree);
  SetDescriptor(kFree, kDataEntry | kWindow << 16);
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, 0x8000u - 20);
  EXPECT_EQ(r_.ss.base, kWindow);
  EXPECT_EQ(Get<uint32_t>(kWindow + r_.rsp), kRip);
}

TEST_F(ProtectedModeDeliveryTest, AStackOf64KBytesWraps) {
  SetDescriptor(kFree, 0x0000'9300'0000'FFFF | kWindow << 16);
  r_.ss = Loaded(kFree);
  r_.rsp = 0xAAAA'0000;
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, 0xAAAA'0000u | (0x10000 - 12));
  EXPECT_EQ(Get<uint32_t>(kWindow + 0x10000 - 12), kRip);
}

TEST_F(ProtectedModeDeliveryTest, AnExpandDownStackLiesAboveItsLimit) {
  SetDescriptor(kFree, 0x0040'9700'0000'0000 | ((kStack - 13) & 0xFFFF));
  r_.ss = Loaded(kFree);
  r_.ss.limit = kStack - 13;
  EXPECT_TRUE(Deliver());
  UseProtectedMode();
  r_.rsp = kStack;
  r_.ss = Loaded(kFree);
  r_.ss.limit = kStack - 12;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kStackFault, kExt);
}

TEST_F(ProtectedModeDeliveryTest, AStackWithoutRoomIsAStackFault) {
  r_.ss.limit = kStack - 2;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kStackFault, kExt);
  EXPECT_FALSE(Deliver(Int()));
  ExpectException(Vector::kStackFault, 0);
  r_.ss.limit = kStack - 1;
  EXPECT_TRUE(Deliver());
}

TEST_F(ProtectedModeDeliveryTest, AStackWithoutRoomComesBeforeABadHandlerAndTakesNothing) {
  SetDescriptor(kCode32, 0x0040'9B00'0000'FFFF);
  SetDescriptor(kFree, 0x0040'9700'0000'0000 | ((kStack - 9) & 0xFFFF));  // room for two values
  r_.ss = Loaded(kFree);
  r_.ss.limit = kStack - 9;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kStackFault, kExt);
  EXPECT_EQ(Get<uint32_t>(kStack - 4), 0u);
}

TEST_F(ProtectedModeDeliveryTest, ANewStackWithoutRoomNamesItsSelector) {
  UseProtectedMode(kUserCode32, kUserData);
  SetDescriptor(kData, 0x0040'9300'0000'0FFF);
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kStackFault, kData | kExt);
}

// --- The stack that the TSS names

class NewStackTest : public ProtectedModeDeliveryTest {
 protected:
  NewStackTest() { UseProtectedMode(kUserCode32, kUserData); }
  void ExpectRefused(uint16_t selector, Vector vector, uint32_t error_code) {
    Put<uint16_t>(kTss + 8, selector);
    EXPECT_FALSE(Deliver());
    ExpectException(vector, error_code);
  }
};

TEST_F(NewStackTest, LiesInTheTss) {
  r_.tr.limit = 8;
  ExpectRefused(kData, Vector::kInvalidTss, kTssSelector | kExt);
  r_.tr.limit = 9;
  EXPECT_TRUE(Deliver());
}

TEST_F(NewStackTest, IsNotNull) {
  SetDescriptor(0, kDataEntry);
  ExpectRefused(0, Vector::kInvalidTss, kExt);
}

TEST_F(NewStackTest, LiesInItsTable) { ExpectRefused(0x100, Vector::kInvalidTss, 0x100 | kExt); }

TEST_F(NewStackTest, HasTheNewCplAsRplAndDpl) {
  ExpectRefused(kData | 1, Vector::kInvalidTss, kData | kExt);
  ExpectRefused(kUserData & ~3, Vector::kInvalidTss, (kUserData & ~3u) | kExt);
}

TEST_F(NewStackTest, IsWritableData) {
  ExpectRefused(kCode32, Vector::kInvalidTss, kCode32 | kExt);
  SetDescriptor(kData, kDataEntry & ~(uint64_t{2} << 40));
  ExpectRefused(kData, Vector::kInvalidTss, kData | kExt);
}

TEST_F(NewStackTest, IsPresent) {
  SetDescriptor(kData, kDataEntry & ~kPresentBit);
  ExpectRefused(kData, Vector::kStackFault, kData | kExt);
}

// --- The gate

TEST_F(ProtectedModeDeliveryTest, AGateHas8Bytes) {
  r_.idtr_limit = 8 * kVector + 6;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kGateError | kExt);
  r_.idtr_limit = 8 * kVector + 7;
  EXPECT_TRUE(Deliver());
}

TEST_F(ProtectedModeDeliveryTest, FiveTypesAreGates) {
  for (unsigned type = 0; type < 32; ++type) {
    UseProtectedMode();
    SetGate32(kHandler, {.type = type, .selector = kCode32});
    if (type == 5) continue;  // below
    EXPECT_EQ(Deliver(), type == 6 || type == 7 || type == 14 || type == 15) << type;
  }
}

TEST_F(ProtectedModeDeliveryTest, AHandlerBeyondTheCodeSegmentIsGeneralProtection) {
  SetDescriptor(kCode32, 0x0040'9B00'0000'FFFF);
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kExt);
  SetGate32(0xFFFF);
  EXPECT_TRUE(Deliver());
}

TEST_F(ProtectedModeDeliveryTest, TheLBitOfACodeSegmentMeansNothing) {
  SetDescriptor(kCode32, kCode64Entry);
  EXPECT_TRUE(Deliver());
}

// --- Task gates

class TaskGateTest : public ProtectedModeDeliveryTest {
 protected:
  TaskGateTest() {
    SetGate32(0, {.type = 5, .selector = kFree});
    SetDescriptor(kFree, kAvailable);
  }
  static constexpr uint64_t kAvailable = 0x0000'8900'0000'0067;
};

TEST_F(TaskGateTest, AsksForATaskSwitch) {
  EXPECT_FALSE(Deliver());
  ASSERT_TRUE(fault_);
  EXPECT_EQ(fault_->kind, EventFault::Kind::kTaskSwitch);
  EXPECT_EQ(fault_->task, kFree);
}

TEST_F(TaskGateTest, TheTssIsAvailable) {
  SetDescriptor(kFree, 0x0000'8B00'0000'0067);
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kFree | kExt);
}

TEST_F(TaskGateTest, TheTssIsPresent) {
  SetDescriptor(kFree, kAvailable & ~kPresentBit);
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kSegmentNotPresent, kFree | kExt);
}

TEST_F(TaskGateTest, TheTssIsInTheGdt) {
  SetGate32(0, {.type = 5, .selector = kFree | 4});
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kFree | 4 | kExt);
}

TEST_F(TaskGateTest, TheGateIsPresentAndOfTheRightDpl) {
  SetGate32(0, {.type = 5, .selector = kFree, .present = false});
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kSegmentNotPresent, kGateError | kExt);
  UseProtectedMode(kUserCode32, kUserData);
  SetGate32(0, {.type = 5, .selector = kFree});
  EXPECT_FALSE(Deliver(Int()));
  ExpectException(Vector::kGeneralProtection, kGateError);
}

// --- From virtual-8086 mode

class Virtual8086DeliveryTest : public ProtectedModeDeliveryTest {
 protected:
  Virtual8086DeliveryTest() {
    r_.rflags = Rflags::kFixed1 | Rflags::kVm | Rflags::kIf | Rflags::kIopl;
    uint64_t selector = 0x1000;
    for (SegmentState* segment : {&r_.cs, &r_.ss, &r_.ds, &r_.es, &r_.fs, &r_.gs}) {
      *segment = {selector, selector << 4, 0xFFFF, 0xF3};
      selector += 0x100;
    }
    r_.rsp = 0x8000;
    r_.rip = 0x1234;
  }
};

TEST_F(Virtual8086DeliveryTest, NineValuesArePushed) {
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kRsp0 - 36);
  const uint32_t wanted[] = {
      0x1234, 0x1000, Rflags::kFixed1 | Rflags::kVm | Rflags::kIf | Rflags::kIopl,
      0x8000, 0x1100, 0x1300,
      0x1200, 0x1400, 0x1500};
  for (unsigned i = 0; i < 9; ++i) EXPECT_EQ(Pushed(i), wanted[i]) << i;
}

TEST_F(Virtual8086DeliveryTest, LeavesTheModeWithNullDataSegments) {
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rflags & (Rflags::kVm | Rflags::kIf), 0u);
  EXPECT_EQ(r_.cs.selector, kCode32);
  EXPECT_EQ(r_.ss.selector, kData);
  for (const SegmentState* segment : {&r_.ds, &r_.es, &r_.fs, &r_.gs}) {
    EXPECT_EQ(segment->selector, 0u);
    EXPECT_EQ(segment->access_rights, AccessRights::kUnusable);
  }
}

TEST_F(Virtual8086DeliveryTest, TheHandlerHasDpl0) {
  SetGate32(kHandler, {.selector = kUserCode32});
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, (kUserCode32 & ~3u) | kExt);
}

TEST_F(Virtual8086DeliveryTest, IntNeedsIopl3) {
  SetGate32(kHandler, {.dpl = 3, .selector = kCode32});
  r_.rflags &= ~(uint64_t{1} << 12);
  EXPECT_FALSE(Deliver(Int()));
  ExpectException(Vector::kGeneralProtection, 0);
  EXPECT_TRUE(Deliver());
}

TEST_F(Virtual8086DeliveryTest, ReturnsToItself) {
  const SwitchedRegisters before = r_;
  ASSERT_TRUE(Deliver());
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rip, before.rip);
  EXPECT_EQ(r_.rsp, before.rsp);
  EXPECT_EQ(r_.rflags, before.rflags);
  for (auto segment : {&SwitchedRegisters::cs, &SwitchedRegisters::ss, &SwitchedRegisters::ds,
                       &SwitchedRegisters::es, &SwitchedRegisters::fs, &SwitchedRegisters::gs}) {
    EXPECT_EQ((r_.*segment).selector, (before.*segment).selector);
    EXPECT_EQ((r_.*segment).base, (before.*segment).base);
    EXPECT_EQ((r_.*segment).limit, (before.*segment).limit);
    EXPECT_EQ((r_.*segment).access_rights, (before.*segment).access_rights);
  }
}

TEST_F(Virtual8086DeliveryTest, AReturnBeyond64KBytesIsGeneralProtection) {
  ASSERT_TRUE(Deliver());
  Put<uint32_t>(r_.rsp, 0x1'0000);
  EXPECT_FALSE(Return());
  ExpectException(Vector::kGeneralProtection, 0);
}

// --- Real-address mode

class RealModeDeliveryTest : public EventTest {
 protected:
  RealModeDeliveryTest() {
    UseRealMode();
    Put<uint32_t>(kIdt + 4 * kVector, 0xF000'5678);
  }
};

TEST_F(RealModeDeliveryTest, PushesThreeWordsAndGoesThroughTheTable) {
  r_.rflags |= Rflags::kIf | Rflags::kTf | Rflags::kAc;
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kRealSp - 6);
  EXPECT_EQ(Get<uint16_t>(kRealStack - 6), 0x1234u);
  EXPECT_EQ(Get<uint16_t>(kRealStack - 4), 0x1000u);
  EXPECT_EQ(Get<uint16_t>(kRealStack - 2), Rflags::kFixed1 | Rflags::kIf | Rflags::kTf);
  EXPECT_EQ(r_.rip, 0x5678u);
  EXPECT_EQ(r_.cs.selector, 0xF000u);
  EXPECT_EQ(r_.cs.base, 0xF0000u);
  EXPECT_EQ(r_.rflags, Rflags::kFixed1);
}

TEST_F(RealModeDeliveryTest, NoErrorCodeIsPushed) {
  ASSERT_TRUE(Deliver({kVector, InterruptionType::kHardwareException, 0x1234}));
  EXPECT_EQ(r_.rsp, kRealSp - 6);
}

TEST_F(RealModeDeliveryTest, AVectorBeyondTheTableIsGeneralProtectionWithoutErrorCode) {
  r_.idtr_limit = 4 * kVector + 2;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, std::nullopt);
  r_.idtr_limit = 4 * kVector + 3;
  EXPECT_TRUE(Deliver());
}

TEST_F(RealModeDeliveryTest, AStackWithoutRoomIsAStackFaultWithoutErrorCode) {
  r_.ss.limit = kRealSp - 2;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kStackFault, std::nullopt);
}

TEST_F(RealModeDeliveryTest, ReturnsToWhereItWas) {
  r_.rflags |= Rflags::kIf;
  ASSERT_TRUE(Deliver());
  ASSERT_TRUE(Return());
  EXPECT_EQ(r_.rip, 0x1234u);
  EXPECT_EQ(r_.rsp, kRealSp);
  EXPECT_EQ(r_.cs.base, 0x1'0000u);
  EXPECT_EQ(r_.rflags, Rflags::kFixed1 | Rflags::kIf);
}

TEST_F(RealModeDeliveryTest, AReturnBeyondTheCodeSegmentIsGeneralProtection) {
  ASSERT_TRUE(Deliver());
  r_.cs.limit = 0x1233;
  EXPECT_FALSE(Return());
  ExpectException(Vector::kGeneralProtection, std::nullopt);
}

}  // namespace
}  // namespace nvmx::sim
