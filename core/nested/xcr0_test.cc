// SPDX-License-Identifier: Apache-2.0
//
// XSETBV by L1. SDM Vol. 2D, "XSETBV"; Vol. 1, 13.3 "Enabling the XSAVE Feature Set and
// XSAVE-Enabled Features".
#include "core/nested/xcr0.h"

#include "core/nested/vmcs01.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/x86/control_registers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum GeneralRegister;

constexpr uint64_t kSupported = 0x602E7;

TEST(Xcr0Test, X87IsAlwaysOn) {
  EXPECT_TRUE(IsValidXcr0(0x1, kSupported));
  EXPECT_FALSE(IsValidXcr0(0x0, kSupported));
  EXPECT_FALSE(IsValidXcr0(0x2, kSupported));
}

TEST(Xcr0Test, WhatTheCpuHasNotIsReserved) {
  EXPECT_FALSE(IsValidXcr0(0x101, kSupported));
  EXPECT_FALSE(IsValidXcr0(uint64_t{1} << 63 | 1, kSupported));
  EXPECT_FALSE(IsValidXcr0(0x7, 0x3));
}

TEST(Xcr0Test, AvxNeedsSse) {
  EXPECT_FALSE(IsValidXcr0(0x5, kSupported));
  EXPECT_TRUE(IsValidXcr0(0x7, kSupported));
}

TEST(Xcr0Test, Avx512IsThreeBitsAndNeedsAvx) {
  EXPECT_TRUE(IsValidXcr0(0xE7, kSupported));
  EXPECT_FALSE(IsValidXcr0(0x67, kSupported));
  EXPECT_FALSE(IsValidXcr0(0xE3, kSupported));
}

TEST(Xcr0Test, MpxAndAmxAreTwoBitsEach) {
  EXPECT_FALSE(IsValidXcr0(0x9, ~uint64_t{0}));
  EXPECT_TRUE(IsValidXcr0(0x19, ~uint64_t{0}));
  EXPECT_FALSE(IsValidXcr0(0x20001, kSupported));
  EXPECT_TRUE(IsValidXcr0(0x60001, kSupported));
}

class XsetbvTest : public testing::Test {
 protected:
  XsetbvTest() {
    l1_.cpu.SetCpuid(0xD, 0, {static_cast<uint32_t>(kSupported), 0, 0, 0});
    WriteL1Cr4(l1_.vcpu(), ReadL1Cr4(l1_.vcpu()) | Cr4::kOsxsave);
  }
  VmxOutcome Xsetbv(uint64_t xcr, uint64_t value) {
    l1_.Register(kRcx) = xcr;
    l1_.Register(kRax) = value & 0xFFFFFFFF;
    l1_.Register(kRdx) = value >> 32;
    return l1_.Execute(ExitReason::kXsetbv);
  }

  FakeVcpu l1_;
};

TEST_F(XsetbvTest, AValidValueIsWritten) {
  EXPECT_EQ(Xsetbv(0, 7), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.cpu.xcr0(), 7u);
}

TEST_F(XsetbvTest, AnotherIsGeneralProtection) {
  EXPECT_EQ(Xsetbv(0, 6), VmxOutcome::Fault(Vector::kGeneralProtection));
  EXPECT_EQ(l1_.cpu.xcr0(), 1u);
}

TEST_F(XsetbvTest, OnlyXcr0Exists) {
  EXPECT_EQ(Xsetbv(1, 7), VmxOutcome::Fault(Vector::kGeneralProtection));
  EXPECT_EQ(Xsetbv(uint64_t{1} << 32, 7), VmxOutcome::Succeed());
}

TEST_F(XsetbvTest, AboveCpl0IsGeneralProtection) {
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestSsAccessRights>(0xC0F3);
  EXPECT_EQ(Xsetbv(0, 7), VmxOutcome::Fault(Vector::kGeneralProtection));
}

TEST_F(XsetbvTest, WithoutOsxsaveIsUndefined) {
  WriteL1Cr4(l1_.vcpu(), ReadL1Cr4(l1_.vcpu()) & ~Cr4::kOsxsave);
  EXPECT_EQ(Xsetbv(0, 7), VmxOutcome::Fault(Vector::kInvalidOpcode));
}

}  // namespace
}  // namespace nvmx
