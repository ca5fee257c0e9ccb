// SPDX-License-Identifier: Apache-2.0
//
// IA32_APIC_BASE. SDM Vol. 3A, 11.4.4 "Local APIC Status and Location".
#include "core/nested/apic_base.h"

#include "core/nested/msr_access.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/hole_embedder.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kMsr = Index(Msr::IA32_APIC_BASE);
constexpr uint64_t kPage = 0xFEE0'0000;
constexpr uint64_t kOn = kPage | ApicBase::kBsp | ApicBase::kEnable;
constexpr uint64_t kOff = kPage | ApicBase::kBsp;

class ApicBaseTest : public testing::Test {
 protected:
  ApicBaseTest() { l1_.cpu.msrs()[kMsr] = kOn; }
  std::optional<uint64_t> Read() { return ReadApicBase(l1_.vcpu()); }
  bool Write(uint64_t value) { return WriteApicBase(l1_.vcpu(), value); }
  uint64_t Physical() { return l1_.cpu.msrs()[kMsr]; }

  FakeVcpu l1_;
};

TEST_F(ApicBaseTest, L1ReadsTheProcessors) { EXPECT_EQ(Read(), kOn); }

TEST_F(ApicBaseTest, RdmsrAndWrmsrComeHere) {
  EXPECT_TRUE(WriteGuestMsr(l1_.vcpu(), kMsr, kOff));
  EXPECT_EQ(ReadGuestMsr(l1_.vcpu(), kMsr), kOff);
  EXPECT_EQ(Physical(), kOn);
}

TEST_F(ApicBaseTest, X2ApicModeIsL1sToEnter) {
  EXPECT_TRUE(Write(kOn | ApicBase::kEnableX2Apic));
  EXPECT_EQ(Physical(), kOn | ApicBase::kEnableX2Apic);
}

TEST_F(ApicBaseTest, TurnedOffItReadsOffAndStaysOn) {
  EXPECT_TRUE(Write(kOff));
  EXPECT_EQ(Read(), kOff);
  EXPECT_EQ(Physical(), kOn);
  EXPECT_TRUE(Write(kOn));
  EXPECT_EQ(Read(), kOn);
}

TEST_F(ApicBaseTest, FromOffThereIsNoWayIntoX2ApicMode) {
  ASSERT_TRUE(Write(kOff));
  EXPECT_FALSE(Write(kOn | ApicBase::kEnableX2Apic));
  EXPECT_EQ(Read(), kOff);
}

TEST_F(ApicBaseTest, WhatTheProcessorRefusesIsRefused) {
  l1_.cpu.read_only_msrs().insert(kMsr);
  EXPECT_FALSE(Write(kOff));
  EXPECT_EQ(Read(), kOn);
}

TEST_F(ApicBaseTest, ItCannotLieOverMemoryThatIsNotL1s) {
  const EmbedderWithHole embedder({.hole = 0x5000});
  l1_.SetEmbedder(embedder);
  EXPECT_FALSE(Write(0x5000 | ApicBase::kEnable));
  EXPECT_EQ(Physical(), kOn);
  EXPECT_TRUE(Write(0x6000 | ApicBase::kEnable));
}

TEST_F(ApicBaseTest, ItCannotLieWhereEpt01LeadsElsewhere) {
  const EmbedderWithHole embedder({.shift = 0x10000});
  l1_.SetEmbedder(embedder);
  EXPECT_FALSE(Write(0x6000 | ApicBase::kEnable));
  EXPECT_EQ(Physical(), kOn);
}

TEST_F(ApicBaseTest, WhereItLiesItMayStay) {
  const EmbedderWithHole embedder({.hole = kPage, .hole_is_readable = true});
  l1_.SetEmbedder(embedder);
  EXPECT_TRUE(Write(kOn | ApicBase::kEnableX2Apic));
  EXPECT_TRUE(Write(kOff));
  EXPECT_TRUE(Write(0x6000 | ApicBase::kEnable));
  EXPECT_FALSE(Write(kOn));
}

}  // namespace
}  // namespace nvmx
