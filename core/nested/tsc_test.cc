// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation": RDTSC.
#include "core/nested/tsc.h"

#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kOne = TscView::kUnscaled;
constexpr uint64_t kTsc = 0x0123'4567'89AB'CDEF;
constexpr uint64_t kMinus1000 = ~uint64_t{0} - 999;

TEST(TscViewTest, WithoutOffsetAndScaleItIsTheCounter) { EXPECT_EQ(TscView{}.Read(kTsc), kTsc); }

TEST(TscViewTest, TheOffsetIsAddedAfterScaling) {
  EXPECT_EQ((TscView{2 * kOne, 5}.Read(1000)), 2005u);
  EXPECT_EQ((TscView{kOne / 2, kMinus1000}.Read(10000)), 4000u);
}

TEST(TscViewTest, TheProductHas128Bits) {
  EXPECT_EQ((TscView{kOne * 3, 0}.Read(uint64_t{1} << 62)), uint64_t{3} << 62);
}

TEST(ComposeTest, OffsetsAddUp) {
  EXPECT_EQ(Compose({kOne, 7}, {kOne, kMinus1000}), (TscView{kOne, kMinus1000 + 7}));
}

TEST(ComposeTest, TheInnerScaleAppliesToTheOuterOffset) {
  EXPECT_EQ(Compose({kOne, 1000}, {kOne * 3, 5}), (TscView{kOne * 3, 3005}));
}

TEST(ComposeTest, AnOuterOffsetMayBeNegative) {
  EXPECT_EQ(Compose({kOne, kMinus1000}, {kOne * 3, 0}), (TscView{kOne * 3, uint64_t{0} - 3000}));
}

TEST(ComposeTest, TheComposedViewReadsWhatTheTwoReadOneAfterTheOther) {
  const TscView outer{kOne + kOne / 4, 123456};
  const TscView inner{kOne * 2 + 12345, kMinus1000};
  for (uint64_t tsc : {uint64_t{0}, uint64_t{1000}, uint64_t{1} << 40}) {
    const uint64_t expected = inner.Read(outer.Read(tsc));
    const uint64_t composed = Compose(outer, inner).Read(tsc);
    EXPECT_LE(expected - composed + 2, 4u) << tsc;
  }
}

}  // namespace
}  // namespace nvmx
