// SPDX-License-Identifier: Apache-2.0
//
// Delivery in IA-32e mode. SDM Vol. 2A, "INT n/INTO/INT3/INT1"; Vol. 3A, 7.14 "Exception and
// Interrupt Handling in 64-bit Mode".
#include "backends/sim/machine/event_delivery.h"

#include "backends/sim/machine/testing/event_fixture.h"

namespace nvmx::sim {
namespace {

class DeliveryTest : public EventTest {
 protected:
  DeliveryTest() { Use64BitMode(); }
  static constexpr Event Int(uint64_t length = 2) {
    return {kVector, InterruptionType::kSoftwareInterrupt, {}, length};
  }
  static constexpr Event Interrupt() { return {kVector, InterruptionType::kExternalInterrupt}; }
};

// --- The frame

TEST_F(DeliveryTest, PushesFiveValuesOnAnAlignedStack) {
  r_.rsp = kStack + 0xB;
  r_.rflags = Rflags::kFixed1 | Rflags::kIf | Rflags::kCf;
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kStack - 5 * 8);
  EXPECT_EQ(Get(r_.rsp), kRip);
  EXPECT_EQ(Get(r_.rsp + 8), kCode64);
  EXPECT_EQ(Get(r_.rsp + 16), Rflags::kFixed1 | Rflags::kIf | Rflags::kCf);
  EXPECT_EQ(Get(r_.rsp + 24), kStack + 0xB);
  EXPECT_EQ(Get(r_.rsp + 32), kData);
}

TEST_F(DeliveryTest, AnErrorCodeIsPushedLast) {
  ASSERT_TRUE(Deliver({kVector, InterruptionType::kHardwareException, 0x1234}));
  EXPECT_EQ(r_.rsp, kStack - 6 * 8);
  EXPECT_EQ(Get(r_.rsp), 0x1234u);
  EXPECT_EQ(Get(r_.rsp + 8), kRip);
}

TEST_F(DeliveryTest, GoesToTheHandlerOfTheGate) {
  SetGate64(0x7FFF'3456'7890);
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rip, 0x7FFF'3456'7890u);
  EXPECT_EQ(r_.cs.selector, kCode64);
  EXPECT_EQ(r_.ss.selector, kData);
}

TEST_F(DeliveryTest, TheCodeSegmentIsLoadedFromItsDescriptor) {
  r_.cs = {};
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.cs.limit, 0xFFFF'FFFFu);
  EXPECT_EQ(r_.cs.access_rights, 0xA09Bu);
}

TEST_F(DeliveryTest, AnInterruptGateClearsIf) {
  r_.rflags |= Rflags::kIf | Rflags::kTf | Rflags::kNt | Rflags::kRf | Rflags::kAc | Rflags::kCf;
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rflags, Rflags::kFixed1 | Rflags::kAc | Rflags::kCf);
}

TEST_F(DeliveryTest, ATrapGateLeavesIf) {
  SetGate64(kHandler, {.type = 15, .selector = kCode64});
  r_.rflags |= Rflags::kIf | Rflags::kTf;
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rflags, Rflags::kFixed1 | Rflags::kIf);
}

TEST_F(DeliveryTest, ASoftwareInterruptReturnsBehindItsInstruction) {
  ASSERT_TRUE(Deliver(Int(2)));
  EXPECT_EQ(Get(r_.rsp), kRip + 2);
}

TEST_F(DeliveryTest, AFaultSavesTheResumeFlag) {
  ASSERT_TRUE(Deliver({.vector = kVector,
                       .type = InterruptionType::kHardwareException,
                       .error_code = 0,
                       .resume_flag = true}));
  EXPECT_EQ(Get(r_.rsp + 24), Rflags::kFixed1 | Rflags::kRf);
  EXPECT_EQ(r_.rflags & Rflags::kRf, 0u);
}

TEST_F(DeliveryTest, LoadingTheCodeSegmentSetsItsAccessedFlag) {
  SetDescriptor(kCode64, kCode64Entry & ~SegmentDescriptor::kAccessed);
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(Get(DescriptorAt(kCode64)), kCode64Entry);
  EXPECT_EQ(r_.cs.access_rights & AccessRights::kTypeAccessed, AccessRights::kTypeAccessed);
}

// --- Stacks: 7.14.4 "Stack Switching in IA-32e Mode", 7.14.5 "Interrupt Stack Table"

TEST_F(DeliveryTest, FromCpl3TheStackIsRsp0AndSsIsNull) {
  Use64BitMode(kUserCode64, kUserData);
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kRsp0 - 5 * 8);
  EXPECT_EQ(r_.ss.selector, 0u);
  EXPECT_EQ(r_.ss.access_rights, AccessRights::kUnusable);
  EXPECT_EQ(CplOf(r_), 0u);
  EXPECT_EQ(r_.cs.selector, kCode64);
  EXPECT_EQ(Get(r_.rsp + 8), kUserCode64);
  EXPECT_EQ(Get(r_.rsp + 24), kStack);
  EXPECT_EQ(Get(r_.rsp + 32), kUserData);
}

TEST_F(DeliveryTest, AnIstIsTheStackWhateverTheCpl) {
  SetGate64(kHandler, {.ist = 1, .selector = kCode64});
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kIst1 - 5 * 8);
  EXPECT_EQ(r_.ss.selector, kData);
  Use64BitMode(kUserCode64, kUserData);
  SetGate64(kHandler, {.ist = 1, .selector = kCode64});
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kIst1 - 5 * 8);
  EXPECT_EQ(r_.ss.selector, 0u);
}

TEST_F(DeliveryTest, TheSeventhIstIsTheLast) {
  Put<uint64_t>(kTss + 36 + 6 * 8, kRsp0);
  SetGate64(kHandler, {.ist = 7, .selector = kCode64});
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.rsp, kRsp0 - 5 * 8);
}

TEST_F(DeliveryTest, AStackPointerBeyondTheTssIsInvalidTss) {
  Use64BitMode(kUserCode64, kUserData);
  r_.tr.limit = 10;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kInvalidTss, kTssSelector | kExt);
  r_.tr.limit = 11;
  EXPECT_TRUE(Deliver());
}

TEST_F(DeliveryTest, AnIstBeyondTheTssIsInvalidTss) {
  SetGate64(kHandler, {.ist = 1, .selector = kCode64});
  r_.tr.limit = 42;
  EXPECT_FALSE(Deliver(Int()));
  ExpectException(Vector::kInvalidTss, kTssSelector);
  r_.tr.limit = 43;
  EXPECT_TRUE(Deliver(Int()));
}

TEST_F(DeliveryTest, AStackThatIsNotCanonicalIsAStackFault) {
  r_.rsp = uint64_t{1} << 47 | 0x100;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kStackFault, kExt);
  EXPECT_FALSE(Deliver(Int()));
  ExpectException(Vector::kStackFault, 0);
}

TEST_F(DeliveryTest, AConformingHandlerKeepsTheCpl) {
  Use64BitMode(kUserCode64, kUserData);
  SetGate64(kHandler, {.selector = kConforming64});
  // The stack is then one of the user's.
  ASSERT_TRUE(Deliver());
  EXPECT_EQ(r_.cs.selector, kConforming64 | 3);
  EXPECT_EQ(r_.ss.selector, kUserData);
  EXPECT_EQ(r_.rsp, kStack - 5 * 8);
}

// --- The gate

TEST_F(DeliveryTest, AVectorBeyondTheIdtIsGeneralProtection) {
  r_.idtr_limit = 16 * kVector + 14;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kGateError | kExt);
  r_.idtr_limit = 16 * kVector + 15;
  EXPECT_TRUE(Deliver());
}

TEST_F(DeliveryTest, OnlyInterruptAndTrapGatesAreGates) {
  for (unsigned type = 0; type < 32; ++type) {
    SetGate64(kHandler, {.type = type, .selector = kCode64});
    if (type == 14 || type == 15) continue;
    EXPECT_FALSE(Deliver()) << type;
    ExpectException(Vector::kGeneralProtection, kGateError | kExt);
  }
}

TEST_F(DeliveryTest, AnAbsentGateIsSegmentNotPresent) {
  SetGate64(kHandler, {.selector = kCode64, .present = false});
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kSegmentNotPresent, kGateError | kExt);
}

TEST_F(DeliveryTest, SoftwareInterruptsNeedTheGatesDpl) {
  Use64BitMode(kUserCode64, kUserData);
  EXPECT_FALSE(Deliver(Int()));
  ExpectException(Vector::kGeneralProtection, kGateError);
  EXPECT_FALSE(Deliver({kVector, InterruptionType::kSoftwareException, {}, 1}));
  ExpectException(Vector::kGeneralProtection, kGateError);
  SetGate64(kHandler, {.dpl = 3, .selector = kCode64});
  EXPECT_TRUE(Deliver(Int()));
}

TEST_F(DeliveryTest, OtherEventsDoNotNeedTheGatesDpl) {
  for (InterruptionType type :
       {InterruptionType::kExternalInterrupt, InterruptionType::kNmi,
        InterruptionType::kHardwareException, InterruptionType::kPrivilegedSoftwareException}) {
    Use64BitMode(kUserCode64, kUserData);
    EXPECT_TRUE(Deliver({kVector, type})) << static_cast<int>(type);
  }
}

TEST_F(DeliveryTest, TheGatesDplComesBeforeItsPresentBit) {
  Use64BitMode(kUserCode64, kUserData);
  SetGate64(kHandler, {.selector = kCode64, .present = false});
  EXPECT_FALSE(Deliver(Int()));
  ExpectException(Vector::kGeneralProtection, kGateError);
}

// --- The code segment

TEST_F(DeliveryTest, ANullCodeSelectorIsGeneralProtection) {
  SetDescriptor(0, kCode64Entry);
  SetGate64(kHandler, {.selector = 3});
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kExt);
}

TEST_F(DeliveryTest, ACodeSelectorBeyondTheGdtIsGeneralProtection) {
  r_.gdtr_limit = kCode64 + 6;
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kCode64 | kExt);
}

TEST_F(DeliveryTest, TheCodeSegmentMustBe64BitCode) {
  for (uint64_t entry : {kDataEntry, kCode32Entry, kCode64Entry | uint64_t{1} << 54}) {
    SetDescriptor(kCode64, entry);
    EXPECT_FALSE(Deliver());
    ExpectException(Vector::kGeneralProtection, kCode64 | kExt);
  }
}

TEST_F(DeliveryTest, TheCodeSegmentIsNotLessPrivileged) {
  SetGate64(kHandler, {.selector = kUserCode64});
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, (kUserCode64 & ~3u) | kExt);
}

TEST_F(DeliveryTest, AnAbsentCodeSegmentIsSegmentNotPresent) {
  SetDescriptor(kCode64, kCode64Entry & ~kPresentBit);
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kSegmentNotPresent, kCode64 | kExt);
}

TEST_F(DeliveryTest, ACodeSegmentCanLieInTheLdt) {
  Put<uint64_t>(kLdt + 8, kCode64Entry);
  SetGate64(kHandler, {.selector = 0xC});
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, 0xC | kExt);
  r_.ldtr = {kFree, kLdt, 0xE, 0x82};
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, 0xC | kExt);
  r_.ldtr = {kFree, kLdt, 0xF, 0x82};
  EXPECT_TRUE(Deliver());
  EXPECT_EQ(r_.cs.selector, 0xCu);
}

TEST_F(DeliveryTest, AHandlerThatIsNotCanonicalIsGeneralProtection) {
  SetGate64(uint64_t{1} << 47);
  EXPECT_FALSE(Deliver());
  ExpectException(Vector::kGeneralProtection, kExt);
}

TEST_F(DeliveryTest, APrivilegedSoftwareExceptionCountsAsExternal) {
  SetGate64(kHandler, {.selector = 3});
  EXPECT_FALSE(Deliver({kVector, InterruptionType::kPrivilegedSoftwareException, {}, 1}));
  ExpectException(Vector::kGeneralProtection, kExt);
  EXPECT_FALSE(Deliver({kVector, InterruptionType::kSoftwareException, {}, 1}));
  ExpectException(Vector::kGeneralProtection, 0);
}

// --- Faults of the memory that delivery needs

class DeliveryMemoryTest : public DeliveryTest {
 protected:
  // The window's first 2 MBytes in pages of 4 KBytes.
  DeliveryMemoryTest() {
    Put<uint64_t>(kPml4 + 0x1000, (kPml4 + 0x2000) | 7);
    Put<uint64_t>(kPml4 + 0x2000, (kPml4 + 0x3000) | 7);
    for (uint64_t page = 0; page < 512; ++page) SetPage(page << 12, page << 12 | 7);
  }
  void SetPage(uint64_t linear, uint64_t entry) {
    Put<uint64_t>(kPml4 + 0x3000 + (linear >> 12) * 8, entry);
  }
  void ExpectPageFault(uint64_t address, uint32_t error_code) {
    ExpectException(Vector::kPageFault, error_code);
    EXPECT_EQ(fault_->address, address);
  }
};

TEST_F(DeliveryMemoryTest, AnAbsentIdtIsAPageFault) {
  SetPage(kIdt, 0);
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kIdt + 16 * kVector, 0);
}

TEST_F(DeliveryMemoryTest, AnAbsentGdtIsAPageFault) {
  SetPage(kGdt, 0);
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kGdt + 8, 0);
}

TEST_F(DeliveryMemoryTest, AnAbsentTssIsAPageFaultOfSupervisorMode) {
  Use64BitMode(kUserCode64, kUserData);
  Put<uint64_t>(kPml4 + 0x1000, (kPml4 + 0x2000) | 7);
  SetPage(kTss, 0);
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kTss + 4, 0);
}

TEST_F(DeliveryMemoryTest, AnAbsentStackIsAPageFaultAtTheFirstPush) {
  SetPage(kStack - 0x1000, 0);
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kStack - 8, 2);
}

TEST_F(DeliveryMemoryTest, AStackThatEndsInTheFrameFaultsThere) {
  r_.rsp = kStack + 0x20;
  SetPage(kStack - 0x1000, 0);
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kStack - 8, 2);
  EXPECT_EQ(Get(kStack + 0x18), kData);  // pushed before the fault
}

TEST_F(DeliveryMemoryTest, TablesAreReadAsSupervisorUnderSmapWhateverAc) {
  r_.cr4 |= Cr4::kSmap;
  r_.rflags |= Rflags::kAc;
  for (uint64_t page = 0; page < 512; ++page) SetPage(page << 12, page << 12 | 3);
  EXPECT_TRUE(Deliver());
  r_.rip = kRip;
  SetPage(kIdt, kIdt | 7);  // a user page now
  mmu_.tlb().Clear();
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kIdt + 16 * kVector, 1);
}

TEST_F(DeliveryMemoryTest, TheStackIsAnExplicitAccess) {
  r_.cr4 |= Cr4::kSmap;
  for (uint64_t page = 0; page < 512; ++page) SetPage(page << 12, page << 12 | 3);
  SetPage(kStack - 0x1000, (kStack - 0x1000) | 7);
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kStack - 8, 3);
  r_.rflags |= Rflags::kAc;
  TranslationContext context = Context();
  context.implicit = true;
  EXPECT_FALSE(DeliverEvent(mmu_, context, Interrupt(), r_));
}

TEST_F(DeliveryMemoryTest, AnAccessedFlagThatCannotBeWrittenIsAPageFault) {
  SetDescriptor(kCode64, kCode64Entry & ~SegmentDescriptor::kAccessed);
  SetPage(kGdt, kGdt | 5);
  EXPECT_FALSE(Deliver());
  ExpectPageFault(kGdt + kCode64, 3);
}

TEST_F(DeliveryTest, AnEptViolationComesBackAsItIs) {
  TranslationContext context = Context();
  context.ept = true;
  context.eptp = (kWindow + 0x20000) | 0x1E;
  fault_ = DeliverEvent(mmu_, context, Interrupt(), r_);
  ASSERT_TRUE(fault_);
  EXPECT_EQ(fault_->kind, EventFault::Kind::kTranslation);
  EXPECT_EQ(fault_->translation.kind, TranslationFault::Kind::kEptViolation);
  EXPECT_EQ(fault_->translation.linear, kIdt + 16 * kVector);
  EXPECT_EQ(r_.rip, kRip);
}

}  // namespace
}  // namespace nvmx::sim
