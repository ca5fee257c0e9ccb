// SPDX-License-Identifier: Apache-2.0
//
// INVEPT and INVVPID by L1. SDM Vol. 3C, 31.3, "INVEPT", "INVVPID". What all VMX instructions have
// in common is tested in vmx_operation_test.
#include "core/testing/matchers.h"
#include "core/testing/nested_paging_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::ElementsAre;

const VmxOutcome kUndefined = VmxOutcome::Fault(Vector::kInvalidOpcode);
const VmxOutcome kInvalidOperand =
    VmxOutcome::FailValid(VmInstructionError::kInvalidOperandToInveptInvvpid);
const VmxOutcome kSucceeds = VmxOutcome::Succeed();

struct Descriptor {
  uint64_t low, high;
};

class InvalidationTest : public NestedPagingTest {
 protected:
  InvalidationTest() { l1_.MakeCurrentVmcs12(v_); }
  VmxOutcome Execute(ExitReason instruction, uint64_t type, Descriptor descriptor) {
    l1_.memory.Poke(FakeVcpu::kOperand, descriptor);
    l1_.Register(GeneralRegister::kRcx) = type;
    return l1_.Execute(instruction,
                       {.register2 = GeneralRegister::kRcx, .displacement = FakeVcpu::kOperand});
  }
  VmxOutcome Invept(uint64_t type, uint64_t eptp, uint64_t high = 0) {
    return Execute(ExitReason::kInvept, type, {eptp, high});
  }
  VmxOutcome Invvpid(uint64_t type, uint64_t low, uint64_t high = 0) {
    return Execute(ExitReason::kInvvpid, type, {low, high});
  }
  // L2 has touched the page with that EPT pointer, and has exited.
  void CacheWith(uint64_t eptp) {
    RunL2(eptp);
    EXPECT_TRUE(Access(kL2, EptEntry::kRead));
    l1_.Exit(ExitReason::kVmcall);
    seen_ = l1_.cpu.invalidations().size();
  }
  bool IsCachedWith(uint64_t eptp) {
    RunL2(eptp);
    const bool cached = Find(kL2).has_value();
    l1_.Exit(ExitReason::kVmcall);
    return cached;
  }
  // What hardware was asked to drop since the last time.
  std::vector<Invalidation> New() {
    const auto& all = l1_.cpu.invalidations();
    std::vector<Invalidation> fresh(all.begin() + seen_, all.end());
    seen_ = all.size();
    return fresh;
  }
  size_t seen_ = 0;
};

class InveptTest : public InvalidationTest {
 protected:
  InveptTest() {
    ept12_.Map(kL2, kL1);
    other_.Map(kL2, kL1);
    // No VPID flushes between what is looked at.
    UseSecondary(Secondary::kEnableVpid);
    v_.Set<VmcsField::kVirtualProcessorIdentifier>(1);
  }
};

TEST_F(InveptTest, OfOneContextForgetsThatOne) {
  CacheWith(ept12_.Eptp());
  CacheWith(other_.Eptp());
  EXPECT_EQ(Invept(1, ept12_.Eptp()), kSucceeds);
  EXPECT_FALSE(IsCachedWith(ept12_.Eptp()));
  EXPECT_TRUE(IsCachedWith(other_.Eptp()));
}

TEST_F(InveptTest, OfOneContextReachesWhatHardwareHasOfIt) {
  CacheWith(ept12_.Eptp());
  const uint64_t eptp02 = Eptp02();
  EXPECT_EQ(Invept(1, ept12_.Eptp()), kSucceeds);
  EXPECT_THAT(New(), ElementsAre(Invalidation{.kind = Invalidation::Kind::kEptSingleContext,
                                              .eptp = eptp02}));
}

// Cached mappings are associated with EP4TA, not with the other bits. SDM Vol. 3C, 29.4.1.
TEST_F(InveptTest, OfOneContextForgetsAllWithItsEp4ta) {
  CacheWith(ept12_.Eptp());
  CacheWith(ept12_.Eptp(kFlags));
  EXPECT_EQ(Invept(1, ept12_.Eptp()), kSucceeds);
  EXPECT_FALSE(IsCachedWith(ept12_.Eptp()));
  EXPECT_FALSE(IsCachedWith(ept12_.Eptp(kFlags)));
}

TEST_F(InveptTest, OfAllContextsForgetsAll) {
  CacheWith(ept12_.Eptp());
  CacheWith(other_.Eptp());
  EXPECT_EQ(Invept(2, ~uint64_t{0}), kSucceeds) << "the EPT pointer does not matter";
  EXPECT_FALSE(IsCachedWith(ept12_.Eptp()));
  EXPECT_FALSE(IsCachedWith(other_.Eptp()));
}

TEST_F(InveptTest, OfWhatWasNeverUsedChangesNothing) {
  CacheWith(ept12_.Eptp());
  EXPECT_EQ(Invept(1, 0x70'0000 | 3 << 3 | 6), kSucceeds);
  EXPECT_TRUE(IsCachedWith(ept12_.Eptp()));
}

TEST_F(InveptTest, ThenL2SeesTheNewEpt12) {
  CacheWith(ept12_.Eptp());
  ept12_.Map(kL2, kL1 + 0x3000);
  EXPECT_EQ(Invept(1, ept12_.Eptp()), kSucceeds);
  RunL2();
  ASSERT_TRUE(Access(kL2, EptEntry::kRead));
  EXPECT_EQ(Find(kL2)->address(), kL1 + 0x3000);
}

TEST_F(InveptTest, OtherTypesAreInvalid) {
  for (uint64_t type : {uint64_t{0}, uint64_t{3}, uint64_t{1} << 32 | 1}) {
    EXPECT_EQ(Invept(type, ept12_.Eptp()), kInvalidOperand) << type;
  }
}

TEST_F(InveptTest, ATypeThatIsNotOfferedIsInvalid) {
  l1_.state.offered.ept_vpid_cap &= ~EptVpidCap::kInveptSingleContext;
  EXPECT_EQ(Invept(1, ept12_.Eptp()), kInvalidOperand);
  EXPECT_EQ(Invept(2, 0), kSucceeds);
  l1_.state.offered.ept_vpid_cap &= ~EptVpidCap::kInveptAllContext;
  EXPECT_EQ(Invept(2, 0), kInvalidOperand);
}

TEST_F(InveptTest, AnEptPointerThatVmEntryRefusesIsInvalid) {
  EXPECT_EQ(Invept(1, ept12_.Eptp() | 1 << 7), kInvalidOperand);
  EXPECT_EQ(Invept(1, kRoot | 3 << 3 | 1), kInvalidOperand);
  EXPECT_EQ(Invept(1, kRoot | 6), kInvalidOperand);
}

TEST_F(InveptTest, TheTypeIsCheckedBeforeTheOperandIsRead) {
  l1_.Register(GeneralRegister::kRcx) = 0;
  const InstructionOperands noncanonical = {.register2 = GeneralRegister::kRcx,
                                            .displacement = uint64_t{1} << 50};
  EXPECT_EQ(l1_.Execute(ExitReason::kInvept, noncanonical), kInvalidOperand);
  l1_.Register(GeneralRegister::kRcx) = 1;
  EXPECT_EQ(l1_.Execute(ExitReason::kInvept, noncanonical),
            VmxOutcome::Fault(Vector::kGeneralProtection));
}

TEST_F(InveptTest, WithoutACurrentVmcsItFailsInvalid) {
  l1_.state.current_vmcs = kNoVmcs;
  EXPECT_EQ(Invept(0, 0), VmxOutcome::FailInvalid());
}

TEST_F(InveptTest, IsUndefinedWhereItIsNotOffered) {
  const Capabilities offered = l1_.state.offered;
  l1_.state.offered.ept_vpid_cap &= ~EptVpidCap::kInvept;
  EXPECT_EQ(Invept(2, 0), kUndefined);
  l1_.state.offered = offered;
  l1_.state.offered.procbased_ctls2 &= ~(uint64_t{Secondary::kEnableEpt} << 32);
  EXPECT_EQ(Invept(2, 0), kUndefined);
}

// --- INVVPID ---

class InvvpidTest : public InvalidationTest {
 protected:
  InvvpidTest() { seen_ = l1_.cpu.invalidations().size(); }
};

TEST_F(InvvpidTest, EachTypeDropsWhatItSays) {
  constexpr uint64_t kAddress = 0xFFFF'8000'0000'1000;
  EXPECT_EQ(Invvpid(0, 5, kAddress), kSucceeds);
  EXPECT_EQ(Invvpid(1, 6), kSucceeds);
  EXPECT_EQ(Invvpid(2, 7), kSucceeds);
  EXPECT_EQ(Invvpid(3, 8), kSucceeds);
  EXPECT_THAT(
      New(),
      ElementsAre(
          Invalidation{
              .kind = Invalidation::Kind::kVpidIndividualAddress, .vpid = 5, .linear = kAddress},
          Invalidation{.kind = Invalidation::Kind::kVpidSingleContext, .vpid = 6},
          Invalidation{.kind = Invalidation::Kind::kVpidAllContexts},
          Invalidation{.kind = Invalidation::Kind::kVpidSingleContextRetainingGlobals, .vpid = 8}));
}

TEST_F(InvvpidTest, OtherTypesAreInvalid) {
  for (uint64_t type : {uint64_t{4}, uint64_t{1} << 32}) {
    EXPECT_EQ(Invvpid(type, 1), kInvalidOperand) << type;
  }
  EXPECT_TRUE(New().empty());
}

TEST_F(InvvpidTest, EachTypeMustBeOffered) {
  const Capabilities offered = l1_.state.offered;
  for (uint64_t type : {0, 1, 2, 3}) {
    l1_.state.offered.ept_vpid_cap &= ~(EptVpidCap::kInvvpidIndividualAddress << type);
    EXPECT_EQ(Invvpid(type, 1), kInvalidOperand) << type;
    l1_.state.offered = offered;
    EXPECT_EQ(Invvpid(type, 1), kSucceeds) << type;
  }
}

TEST_F(InvvpidTest, Vpid0IsInvalidButForAllContexts) {
  for (uint64_t type : {0, 1, 3}) EXPECT_EQ(Invvpid(type, 0), kInvalidOperand) << type;
  EXPECT_TRUE(New().empty());
  EXPECT_EQ(Invvpid(2, 0), kSucceeds);
}

TEST_F(InvvpidTest, ReservedBitsOfTheDescriptorAreInvalid) {
  for (uint64_t type : {0, 1, 2, 3}) {
    for (unsigned bit : {16u, 40u, 63u}) {
      EXPECT_EQ(Invvpid(type, 1 | uint64_t{1} << bit), kInvalidOperand) << type << " " << bit;
    }
  }
  EXPECT_TRUE(New().empty());
}

TEST_F(InvvpidTest, AnIndividualAddressMustBeCanonical) {
  EXPECT_EQ(Invvpid(0, 1, uint64_t{1} << 47), kInvalidOperand);
  EXPECT_EQ(Invvpid(0, 1, (uint64_t{1} << 47) - 1), kSucceeds);
  EXPECT_EQ(Invvpid(1, 1, uint64_t{1} << 47), kSucceeds) << "of the others it does not matter";
}

TEST_F(InvvpidTest, IsUndefinedWhereItIsNotOffered) {
  const Capabilities offered = l1_.state.offered;
  l1_.state.offered.ept_vpid_cap &= ~EptVpidCap::kInvvpid;
  EXPECT_EQ(Invvpid(2, 0), kUndefined);
  l1_.state.offered = offered;
  l1_.state.offered.procbased_ctls2 &= ~(uint64_t{Secondary::kEnableVpid} << 32);
  EXPECT_EQ(Invvpid(2, 0), kUndefined);
}

TEST_F(InvvpidTest, LeavesEpt02Alone) {
  ept12_.Map(kL2, kL1);
  CacheWith(ept12_.Eptp());
  EXPECT_EQ(Invvpid(2, 0), kSucceeds);
  EXPECT_TRUE(IsCachedWith(ept12_.Eptp()));
}

}  // namespace
}  // namespace nvmx
