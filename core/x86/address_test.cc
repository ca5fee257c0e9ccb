// SPDX-License-Identifier: Apache-2.0
#include "core/x86/address.h"

#include <cstdint>
#include <type_traits>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kTop = ~uint64_t{0};

static_assert(!std::is_convertible_v<GuestPhysicalAddress, PhysicalAddress>);
static_assert(!std::is_convertible_v<PhysicalAddress, GuestPhysicalAddress>);
static_assert(!std::is_convertible_v<uint64_t, PhysicalAddress>);

TEST(PageTest, AnAddressIsItsPageBasePlusItsPageOffset) {
  constexpr PhysicalAddress kAddress{0x12345FFF};
  EXPECT_EQ(PageOffset(kAddress), 0xFFFu);
  EXPECT_EQ(PageBase(kAddress), PhysicalAddress{0x12345000});
  EXPECT_EQ(PageBase(kAddress) + PageOffset(kAddress), kAddress);
  EXPECT_LT(PageBase(kAddress), kAddress);
}

TEST(PageTest, AlignmentIsByPagesUnlessSaidOtherwise) {
  EXPECT_TRUE(IsAligned(GuestPhysicalAddress{0x1000}));
  EXPECT_FALSE(IsAligned(GuestPhysicalAddress{0x1010}));
  EXPECT_TRUE(IsAligned(GuestPhysicalAddress{0x1010}, 16));
  EXPECT_FALSE(IsAligned(GuestPhysicalAddress{0x1018}, 16));
}

TEST(IsCanonicalTest, BitsFrom47UpAreEqualWith48LinearAddressBits) {
  EXPECT_TRUE(IsCanonical(0));
  EXPECT_TRUE(IsCanonical(0x00007FFFFFFFFFFF));
  EXPECT_FALSE(IsCanonical(0x0000800000000000));
  EXPECT_FALSE(IsCanonical(0xFFFF7FFFFFFFFFFF));
  EXPECT_TRUE(IsCanonical(0xFFFF800000000000));
  EXPECT_TRUE(IsCanonical(kTop));
}

TEST(IsCanonicalTest, BitsFrom56UpAreEqualWith57LinearAddressBits) {
  EXPECT_TRUE(IsCanonical(0x0000800000000000, 57));
  EXPECT_TRUE(IsCanonical(0x00FFFFFFFFFFFFFF, 57));
  EXPECT_FALSE(IsCanonical(0x0100000000000000, 57));
  EXPECT_FALSE(IsCanonical(0xFEFFFFFFFFFFFFFF, 57));
  EXPECT_TRUE(IsCanonical(0xFF00000000000000, 57));
}

TEST(IsWithinWidthTest, TheLastByteDecides) {
  constexpr uint64_t kEnd = uint64_t{1} << 36;
  EXPECT_TRUE(IsWithinWidth(kEnd - 16, 16, 36));
  EXPECT_FALSE(IsWithinWidth(kEnd - 16, 17, 36));
  EXPECT_FALSE(IsWithinWidth(kEnd - 15, 16, 36));
}

TEST(IsWithinWidthTest, TheFirstByteDecidesEvenIfTheSumWrapsBelowTheLimit) {
  EXPECT_FALSE(IsWithinWidth(kTop - 15, 32, 36));
  EXPECT_FALSE(IsWithinWidth(kTop - 15, 16, 36));
  EXPECT_FALSE(IsWithinWidth(uint64_t{1} << 36, 1, 36));
}

TEST(IsWithinWidthTest, ALengthThatReachesRoundTheNumberLineIsOutside) {
  EXPECT_FALSE(IsWithinWidth(1, kTop, 36));
  EXPECT_FALSE(IsWithinWidth(0x1000, kTop - 0xFFF + 1, 52));
}

TEST(IsWithinWidthTest, AWidthOf64LeavesOnlyTheWrapAround) {
  EXPECT_TRUE(IsWithinWidth(kTop, 1, 64));
  EXPECT_FALSE(IsWithinWidth(kTop, 2, 64));
  EXPECT_TRUE(IsWithinWidth(0, kTop, 64));
}

TEST(IsWithinWidthTest, AnEmptyRangeIsInside) {
  EXPECT_TRUE(IsWithinWidth(GuestPhysicalAddress{kTop}, 0, 36));
}

}  // namespace
}  // namespace nvmx
