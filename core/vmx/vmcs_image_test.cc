// SPDX-License-Identifier: Apache-2.0
#include "core/vmx/vmcs_image.h"

#include <cstdint>
#include <type_traits>
#include <utility>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

static_assert(std::is_same_v<decltype(std::declval<VmcsImage>().Get<VmcsField::kHostCsSelector>()),
                             uint16_t>);
static_assert(
    std::is_same_v<decltype(std::declval<VmcsImage>().Get<VmcsField::kExitReason>()), uint32_t>);
static_assert(
    std::is_same_v<decltype(std::declval<VmcsImage>().Get<VmcsField::kEptPointer>()), uint64_t>);
static_assert(
    std::is_same_v<decltype(std::declval<VmcsImage>().Get<VmcsField::kGuestRip>()), uint64_t>);
static_assert(sizeof(VmcsImage) == kVmcsFieldCount * sizeof(uint64_t));

TEST(VmcsImageTest, IsAConstantExpression) {
  constexpr uint64_t kRip = [] {
    VmcsImage image;
    image.Set<VmcsField::kGuestRip>(0x1234);
    return image.Get<VmcsField::kGuestRip>();
  }();
  EXPECT_EQ(kRip, 0x1234u);
}

TEST(VmcsImageTest, EveryFieldIsZeroAtFirst) {
  const VmcsImage image;
  for (size_t slot = 0; slot < kVmcsFieldCount; ++slot) EXPECT_EQ(image.Read(FieldAt(slot)), 0u);
}

TEST(VmcsImageTest, SetKeepsAsManyBitsAsTheFieldHas) {
  VmcsImage image;
  image.Set<VmcsField::kHostCsSelector>(0x12345678);
  image.Set<VmcsField::kExitReason>(0x1122334455667788);
  image.Set<VmcsField::kEptPointer>(0x1122334455667788);
  EXPECT_EQ(image.Get<VmcsField::kHostCsSelector>(), 0x5678u);
  EXPECT_EQ(image.Get<VmcsField::kExitReason>(), 0x55667788u);
  EXPECT_EQ(image.Get<VmcsField::kEptPointer>(), 0x1122334455667788u);
}

TEST(VmcsImageTest, WriteAndReadMaskEveryFieldToItsWidth) {
  VmcsImage image;
  for (size_t slot = 0; slot < kVmcsFieldCount; ++slot) {
    image.Write(FieldAt(slot), ~uint64_t{0});
    EXPECT_EQ(image.Read(FieldAt(slot)), ValueMask(FieldAt(slot))) << Name(FieldAt(slot));
  }
}

TEST(VmcsImageTest, EachFieldHasAWordOfItsOwn) {
  VmcsImage image;
  for (size_t slot = 0; slot < kVmcsFieldCount; ++slot) image.Write(FieldAt(slot), slot + 1);
  for (size_t slot = 0; slot < kVmcsFieldCount; ++slot) {
    EXPECT_EQ(image.Read(FieldAt(slot)), slot + 1) << Name(FieldAt(slot));
  }
}

TEST(VmcsImageTest, BitsThatAFieldDoesNotHoldDoNotMakeImagesDiffer) {
  VmcsImage image;
  VmcsImage other;
  image.Write(VmcsField::kHostCsSelector, 0x10008);
  other.Set<VmcsField::kHostCsSelector>(0x8);
  EXPECT_EQ(image, other);
  other.Set<VmcsField::kHostCsSelector>(0x10);
  EXPECT_NE(image, other);
}

}  // namespace
}  // namespace nvmx
