// SPDX-License-Identifier: Apache-2.0
//
// What L1 is shown of an access of L2 that EPT12 does not allow. SDM Vol. 3C, 28.2.1 "Basic VM-Exit
// Information", 29.3.3 "EPT-Induced VM Exits".
#include "core/testing/memory_exits_fixture.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST_F(MemoryExitsTest, AnEpt12ThatMapsNothingIsAViolation) {
  RunL2();
  Violation(kL2, kW);
  ExpectViolation(kW | kToFinal);
}

TEST_F(MemoryExitsTest, TheRightsInTheQualificationAreEpt12s) {
  // EPT02 has it read-only, because the page is clean.
  ept12_.Map(kL2, kL1, kR | kW);
  RunL2(ept12_.Eptp(kFlags));
  ASSERT_TRUE(Access(kL2, kR));
  Violation(kL2, kX);
  ExpectViolation(kX | kToFinal | (kR | kW) << kRightsShift);
}

TEST_F(MemoryExitsTest, TheAccessIsWhatHardwareSays) {
  for (uint64_t access : {kR, kW, kX, kR | kW}) {
    RunL2();
    Violation(kL2, access);
    ExpectViolation(access | kToFinal);
  }
}

TEST_F(MemoryExitsTest, AnAccessToAPageStructureIsToldFromTheFinalOne) {
  RunL2();
  Violation(kL2, kR, EptViolation::kLinearAddressValid);
  ExpectViolation(kR | EptViolation::kLinearAddressValid);
}

TEST_F(MemoryExitsTest, WithoutALinearAddressThereIsNone) {
  RunL2();
  Violation(kL2, kR, 0);
  ExpectExit(ExitReason::kEptViolation, kR, kL2, 0);
}

TEST_F(MemoryExitsTest, AdvancedInformationIsShownToWhoWasOfferedIt) {
  constexpr uint64_t kAdvanced = EptViolation::kUserLinearAddress |
                                 EptViolation::kWritableLinearAddress |
                                 EptViolation::kNoExecuteLinearAddress;
  RunL2();
  Violation(kL2, kR, kToFinal | kAdvanced);
  ExpectViolation(kR | kToFinal);
  l1_.state.offered.ept_vpid_cap |= EptVpidCap::kAdvancedEptViolationInformation;
  RunL2();
  Violation(kL2, kR, kToFinal | kAdvanced);
  ExpectViolation(kR | kToFinal | kAdvanced);
}

TEST_F(MemoryExitsTest, UnblockingOfNmisIsPassedOn) {
  RunL2();
  Violation(kL2, kR, kToFinal | EptViolation::kNmiUnblocking);
  ExpectViolation(kR | kToFinal | EptViolation::kNmiUnblocking);
}

TEST_F(MemoryExitsTest, AMisconfigurationIsOneForL1) {
  ept12_.Map(kL2, kL1, EptEntry::kWrite);
  RunL2();
  Violation(kL2 + 8, kW, kToFinal | EptViolation::kNmiUnblocking);
  ExpectExit(ExitReason::kEptMisconfiguration, 0, kL2 + 8, 0);
}

TEST_F(MemoryExitsTest, AnInterruptedDeliveryIsShownToL1) {
  RunL2();
  Vmcs02().Set<VmcsField::kIdtVectoringInformation>(0x80000021);
  Violation(kL2, kW);
  ExpectViolation(kW | kToFinal);
  EXPECT_EQ(Vmcs12().Get<VmcsField::kIdtVectoringInformation>(), 0x80000021u);
}

}  // namespace
}  // namespace nvmx
