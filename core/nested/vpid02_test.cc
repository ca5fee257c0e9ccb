// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 29.1 "Virtual Processor Identifiers (VPIDs)", 29.4.3.1 "Operations that Invalidate
// Cached Mappings".
#include "core/nested/vpid02.h"

#include "core/testing/nested_paging_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr Invalidation OfVpid(uint16_t vpid) {
  return {.kind = Invalidation::Kind::kVpidSingleContext, .vpid = vpid};
}

class Vpid02Test : public NestedPagingTest {
 protected:
  Vpid02Test() { v_ = ValidVmcs12(l1_.state.offered); }
  void UseVpid(uint16_t vpid) {
    UseSecondary(Secondary::kEnableVpid);
    v_.Set<VmcsField::kVirtualProcessorIdentifier>(vpid);
  }
  void Run() { l1_.RunL2(v_); }
  std::vector<Invalidation> New() {
    const auto& all = l1_.cpu.invalidations();
    std::vector<Invalidation> fresh(all.begin() + seen_, all.end());
    seen_ = all.size();
    return fresh;
  }
  uint16_t VpidOfVmcs02() {
    const VmcsImage& vmcs02 = l1_.vmcs.vmcs02();
    EXPECT_NE(vmcs02.Get<VmcsField::kSecondaryProcessorBasedControls>() & Secondary::kEnableVpid,
              0u);
    return vmcs02.Get<VmcsField::kVirtualProcessorIdentifier>();
  }
  size_t seen_ = 0;
};

TEST_F(Vpid02Test, EveryVpidOfL1HasOneOfItsOwn) {
  for (uint32_t vpid : {1u, 2u, 0x1234u, 0xFFFEu}) {
    UseVpid(static_cast<uint16_t>(vpid));
    Run();
    EXPECT_EQ(VpidOfVmcs02(), vpid);
    EXPECT_NE(VpidOfVmcs02(), kVpidOfL1);
    EXPECT_THAT(New(), IsEmpty());
    l1_.Exit(ExitReason::kVmcall);
    EXPECT_THAT(New(), IsEmpty());
  }
}

TEST_F(Vpid02Test, WithoutVpidEveryTransitionDropsTheTranslationsOfL1AndL2) {
  Run();
  EXPECT_EQ(VpidOfVmcs02(), kVpidOfL1);
  EXPECT_THAT(New(), ElementsAre(OfVpid(kVpidOfL1)));
  l1_.Exit(ExitReason::kVmcall);
  EXPECT_THAT(New(), ElementsAre(OfVpid(kVpidOfL1)));
}

TEST_F(Vpid02Test, AnExitThatL0KeepsDropsNothing) {
  Run();
  New();
  l1_.Exit(ExitReason::kNmiWindow);
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_THAT(New(), IsEmpty());
}

TEST_F(Vpid02Test, AVpidThatIsNotEnabledMeansNothing) {
  v_.Set<VmcsField::kVirtualProcessorIdentifier>(5);
  Run();
  EXPECT_EQ(VpidOfVmcs02(), kVpidOfL1);
}

TEST_F(Vpid02Test, TheOneThatL1ItselfRunsWithIsNeverCachedForL2) {
  UseVpid(0xFFFF);
  Run();
  EXPECT_EQ(VpidOfVmcs02(), 0xFFFFu);
  EXPECT_THAT(New(), ElementsAre(OfVpid(0xFFFF)));
  l1_.Exit(ExitReason::kVmcall);
  EXPECT_THAT(New(), ElementsAre(OfVpid(0xFFFF)));
}

TEST_F(Vpid02Test, AChangeOfVpidReachesVmcs02) {
  UseVpid(3);
  Run();
  l1_.Exit(ExitReason::kVmcall);
  UseVpid(4);
  Run();
  EXPECT_EQ(VpidOfVmcs02(), 4u);
}

TEST_F(Vpid02Test, WithoutVpidsOnTheCpuThereIsNothingToDrop) {
  l1_.state.offered.procbased_ctls2 &= ~(uint64_t{Secondary::kEnableVpid} << 32);
  Run();
  l1_.Exit(ExitReason::kVmcall);
  EXPECT_THAT(New(), IsEmpty());
}

TEST_F(Vpid02Test, WhatAnEmulatedInstructionDropsIsOfTheGuestThatExecutedIt) {
  UseVpid(7);
  Run();
  InvalidateTranslationsOfGuest(l1_.vcpu());
  EXPECT_THAT(New(), ElementsAre(OfVpid(7)));
  l1_.Exit(ExitReason::kVmcall);
  InvalidateTranslationsOfGuest(l1_.vcpu());
  EXPECT_THAT(New(), ElementsAre(OfVpid(kVpidOfL1)));
}

}  // namespace
}  // namespace nvmx
