// SPDX-License-Identifier: Apache-2.0
//
// What CPUID tells L1. SDM Vol. 2A, "CPUID".
#include "core/nested/offered_cpuid.h"

#include "core/nested/vmcs01.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/serving_embedder.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kAll = 0xFFFFFFFF;
constexpr uint32_t Bit(unsigned n) { return uint32_t{1} << n; }

class OfferedCpuidTest : public testing::Test {
 protected:
  OfferedCpuidTest() {
    l1_.cpu.SetCpuid(0, 0, {0x20, 0, 0, 0});
    l1_.cpu.SetCpuid(0x80000000, 0, {0x80000008, 0, 0, 0});
  }
  // The processor has every feature of the leaf.
  CpuidRegisters Offered(uint32_t leaf, uint32_t subleaf = 0) {
    l1_.cpu.SetCpuid(leaf, subleaf, {kAll, kAll, kAll, kAll});
    return OfferedCpuid(l1_.vcpu(), leaf, subleaf);
  }

  FakeVcpu l1_;
};

TEST_F(OfferedCpuidTest, VmxStaysAndSmxGoes) {
  const uint32_t ecx = Offered(1).ecx;
  EXPECT_NE(ecx & Bit(5), 0u);
  EXPECT_EQ(ecx & Bit(6), 0u);
}

TEST_F(OfferedCpuidTest, OsxsaveFollowsL1sCr4) {
  EXPECT_EQ(Offered(1).ecx & Bit(27), 0u);
  WriteL1Cr4(l1_.vcpu(), ReadL1Cr4(l1_.vcpu()) | Cr4::kOsxsave);
  EXPECT_NE(Offered(1).ecx & Bit(27), 0u);
  l1_.cpu.SetCpuid(1, 0, {});
  EXPECT_NE(OfferedCpuid(l1_.vcpu(), 1, 0).ecx & Bit(27), 0u);
}

TEST_F(OfferedCpuidTest, FeaturesOfCr4BitsThatAreNotOfferedGo) {
  const CpuidRegisters leaf7 = Offered(7);
  EXPECT_EQ(leaf7.ecx & (Bit(3) | Bit(4) | Bit(7) | Bit(23) | Bit(31)), 0u);
  EXPECT_EQ(leaf7.edx & (Bit(5) | Bit(20)), 0u);
  EXPECT_NE(leaf7.ebx & Bit(7), 0u);  // SMEP
  EXPECT_EQ(Offered(7, 1).eax & Bit(26), 0u);
}

TEST_F(OfferedCpuidTest, FeaturesOfControlsThatAreNotOfferedGo) {
  EXPECT_NE(Offered(7).ebx & Bit(10), 0u);
  EXPECT_NE(Offered(0x80000001).edx & Bit(27), 0u);
  EXPECT_EQ(Offered(7).ecx & Bit(5), 0u);  // user wait
  l1_.state.offered.procbased_ctls2 &=
      ~(uint64_t{Secondary::kEnableInvpcid | Secondary::kEnableRdtscp} << 32);
  EXPECT_EQ(Offered(7).ebx & Bit(10), 0u);
  EXPECT_EQ(Offered(7).ecx & Bit(22), 0u);
  EXPECT_EQ(Offered(0x80000001).edx & Bit(27), 0u);
}

TEST_F(OfferedCpuidTest, XsavesGoesWithItsStateComponents) {
  const CpuidRegisters leaf = Offered(0xD, 1);
  EXPECT_EQ(leaf.eax & Bit(3), 0u);
  EXPECT_EQ(leaf.ecx, 0u);
  EXPECT_EQ(leaf.edx, 0u);
  EXPECT_EQ(Offered(0xD, 0).eax, kAll);
}

TEST_F(OfferedCpuidTest, LeavesOfAbsentFeaturesAreEmpty) {
  for (uint32_t leaf : {0x12, 0x14, 0x19, 0x1B, 0x1C}) {
    EXPECT_EQ(Offered(leaf).eax, 0u) << leaf;
    EXPECT_EQ(Offered(leaf).ebx, 0u) << leaf;
  }
}

// The data of the highest leaf, with what is not offered taken out of it.
TEST_F(OfferedCpuidTest, ALeafBeyondTheHighestIsTheHighest) {
  const uint32_t features = Offered(0x7).ebx;
  ASSERT_NE(features, kAll);
  l1_.cpu.SetCpuid(0, 0, {0x7, 0, 0, 0});
  for (uint32_t leaf : {0x8u, 0x12u, 0x40000000u, 0x80000009u}) {
    EXPECT_EQ(Offered(leaf).ebx, features) << leaf;
  }
  EXPECT_EQ(Offered(0x80000008).ebx, kAll);
}

TEST_F(OfferedCpuidTest, OtherLeavesAreTheProcessors) {
  const CpuidRegisters leaf = Offered(0xB, 1);
  EXPECT_EQ(leaf.eax, kAll);
  EXPECT_EQ(leaf.ebx, kAll);
  EXPECT_EQ(leaf.ecx, kAll);
  EXPECT_EQ(leaf.edx, kAll);
}

TEST_F(OfferedCpuidTest, TheEmbedderAnswersFirst) {
  using enum GeneralRegister;
  const ServingEmbedder embedder;
  l1_.SetEmbedder(embedder);
  l1_.Register(kRax) = ServingEmbedder::kLeaf;
  EXPECT_EQ(l1_.Execute(ExitReason::kCpuid), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.Register(kRbx), 0x4C31u);
}

}  // namespace
}  // namespace nvmx
