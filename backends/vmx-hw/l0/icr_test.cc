// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/icr.h"

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kOwn = 2;
constexpr uint32_t kInitAssert = 0x4500;
constexpr uint32_t kLevelInitAssert = 0xC500;
constexpr uint32_t kLevelInitDeassert = 0x8500;
constexpr uint32_t kSipi9A = 0x69A;

TEST(IcrCommand, OnlyInitAndSipiAreOfInterest) {
  for (uint32_t mode : {0, 1, 2, 3, 4, 7}) {
    EXPECT_FALSE(IcrCommand::FromXapic(mode << 8 | 0x31, 0).IsInitOrSipi()) << mode;
  }
  const IcrCommand init = IcrCommand::FromXapic(kInitAssert, 0);
  EXPECT_TRUE(init.IsInitOrSipi());
  EXPECT_FALSE(init.IsSipi());
  const IcrCommand sipi = IcrCommand::FromXapic(kSipi9A, 0);
  EXPECT_TRUE(sipi.IsInitOrSipi());
  EXPECT_TRUE(sipi.IsSipi());
  EXPECT_EQ(sipi.vector(), 0x9A);
}

TEST(IcrCommand, APhysicalDestinationIsAnApicIdOrEverybody) {
  const IcrCommand to_3 = IcrCommand::FromXapic(kSipi9A, 3u << 24 | 0xFFFFFF);
  EXPECT_TRUE(to_3.Reaches(3, kOwn));
  EXPECT_FALSE(to_3.Reaches(4, kOwn));
  EXPECT_TRUE(IcrCommand::FromXapic(kInitAssert, 0xFF000000).Reaches(4, kOwn));
  const IcrCommand x2apic = IcrCommand::FromX2apic(uint64_t{0x1FF} << 32 | kInitAssert);
  EXPECT_TRUE(x2apic.Reaches(0x1FF, kOwn));
  EXPECT_FALSE(x2apic.Reaches(0xFF, kOwn));
  EXPECT_FALSE(IcrCommand::FromX2apic(uint64_t{0xFF} << 32 | kInitAssert).Reaches(4, kOwn));
  EXPECT_TRUE(IcrCommand::FromX2apic(~uint64_t{0} << 32 | kInitAssert).Reaches(4, kOwn));
}

TEST(IcrCommand, ShorthandsIgnoreTheDestination) {
  constexpr uint32_t kSelf = 1 << 18;
  constexpr uint32_t kAll = 2 << 18;
  constexpr uint32_t kOthers = 3 << 18;
  EXPECT_FALSE(IcrCommand::FromXapic(kInitAssert | kSelf, 0).Reaches(kOwn, kOwn));
  EXPECT_TRUE(IcrCommand::FromXapic(kInitAssert | kAll, 0).Reaches(kOwn, kOwn));
  EXPECT_TRUE(IcrCommand::FromXapic(kInitAssert | kAll, 0).Reaches(7, kOwn));
  EXPECT_FALSE(IcrCommand::FromXapic(kInitAssert | kOthers, 0).Reaches(kOwn, kOwn));
  EXPECT_TRUE(IcrCommand::FromXapic(kInitAssert | kOthers, 0).Reaches(7, kOwn));
}

TEST(IcrCommand, TheDeassertionOfInitReachesNobody) {
  EXPECT_TRUE(IcrCommand::FromXapic(kLevelInitAssert, 3u << 24).Reaches(3, kOwn));
  EXPECT_FALSE(IcrCommand::FromXapic(kLevelInitDeassert, 3u << 24).Reaches(3, kOwn));
  EXPECT_TRUE(IcrCommand::FromXapic(0x8600, 3u << 24).Reaches(3, kOwn)) << "a SIPI has no level";
}

TEST(IcrCommand, ALogicalDestinationReachesNobodyAndIsTold) {
  const IcrCommand logical = IcrCommand::FromXapic(kInitAssert | 1 << 11, 3u << 24);
  EXPECT_TRUE(logical.HasLogicalDestination());
  EXPECT_FALSE(logical.Reaches(3, kOwn));
  const IcrCommand others = IcrCommand::FromXapic(kInitAssert | 1 << 11 | 3 << 18, 0);
  EXPECT_FALSE(others.HasLogicalDestination());
  EXPECT_TRUE(others.Reaches(3, kOwn));
}

}  // namespace
}  // namespace nvmx::metal
