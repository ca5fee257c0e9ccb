// SPDX-License-Identifier: Apache-2.0
//
// The wall: no address that L1 names reaches L0's memory. Which fields of VMCS12 go through it is
// tested with the controls of VMCS02; EPT02, in memory_exits_test.
#include "core/nested/hardware_address.h"

#include "core/nested/embedder.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/hole_embedder.h"
#include "core/vmx/ept.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kShift = 0x1'0000'0000;
constexpr uint64_t kHole = 0x5000;
constexpr uint64_t kRead = EptEntry::kRead;
constexpr uint64_t kReadWrite = EptEntry::kRead | EptEntry::kWrite;

class HardwareAddressTest : public testing::Test {
 protected:
  HardwareAddressTest() { l1_.SetEmbedder(embedder_); }
  std::optional<PhysicalAddress> Translate(uint64_t page, uint64_t rights = kReadWrite) {
    return TranslateForHardware(l1_.vcpu(), GuestPhysicalAddress{page}, rights);
  }
  EmbedderWithHole embedder_{{.shift = kShift, .hole = kHole}};
  FakeVcpu l1_;
};

TEST_F(HardwareAddressTest, APageIsWhereEpt01MapsIt) {
  EXPECT_EQ(Translate(0x4000), PhysicalAddress{0x4000 + kShift});
}

TEST_F(HardwareAddressTest, WhatHasARightIsPresent) {
  EXPECT_FALSE(Ept01Mapping{}.is_present());
  EXPECT_TRUE(Ept01Mapping{.readable = true}.is_present());
  EXPECT_TRUE(Ept01Mapping{.writable = true}.is_present());
  EXPECT_TRUE(Ept01Mapping{.executable = true}.is_present());
}

TEST_F(HardwareAddressTest, APageThatEpt01DoesNotMapIsNowhere) {
  EXPECT_EQ(Translate(kHole), std::nullopt);
  EXPECT_EQ(Translate(kHole, kRead), std::nullopt);
  EXPECT_NE(Translate(kHole - 0x1000), std::nullopt);
  EXPECT_NE(Translate(kHole + 0x1000), std::nullopt);
}

TEST_F(HardwareAddressTest, APageWithFewerRightsIsNowhereForWhoNeedsMore) {
  embedder_.Change({.shift = kShift, .hole = kHole, .hole_is_readable = true});
  EXPECT_EQ(Translate(kHole, kRead), PhysicalAddress{kHole + kShift});
  EXPECT_EQ(Translate(kHole, kReadWrite), std::nullopt);
}

TEST_F(HardwareAddressTest, OnlyPagesHaveAPlace) {
  EXPECT_EQ(Translate(0x4008), std::nullopt);
  EXPECT_EQ(Translate(uint64_t{1} << 39), std::nullopt);
  EXPECT_NE(Translate((uint64_t{1} << 39) - 0x1000), std::nullopt);
}

TEST_F(HardwareAddressTest, RightsAreThoseOfTheMapping) {
  EXPECT_EQ(RightsOf({}), 0u);
  EXPECT_EQ(RightsOf({.readable = true}), EptEntry::kRead);
  EXPECT_EQ(RightsOf({.writable = true}), EptEntry::kWrite);
  EXPECT_EQ(RightsOf({.executable = true}), EptEntry::kExecute);
}

}  // namespace
}  // namespace nvmx
