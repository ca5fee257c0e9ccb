// SPDX-License-Identifier: Apache-2.0
#include "core/nested/field_set.h"

#include <vector>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum VmcsField;

TEST(FieldSetTest, HasWhatWasAddedAndNotRemoved) {
  FieldSet set = {kGuestRip, kVirtualProcessorIdentifier};
  EXPECT_TRUE(set.Has(kGuestRip));
  EXPECT_TRUE(set.Has(kVirtualProcessorIdentifier));
  EXPECT_FALSE(set.Has(kGuestRsp));
  set.Add(kGuestRsp);
  set.Remove(kGuestRip);
  EXPECT_EQ(set, (FieldSet{kGuestRsp, kVirtualProcessorIdentifier}));
}

TEST(FieldSetTest, TheSetOfAllHasEachField) {
  size_t count = 0;
  FieldSet::All().ForEach([&](VmcsField) { ++count; });
  EXPECT_EQ(count, kVmcsFieldCount);
}

TEST(FieldSetTest, UnionIntersectionAndDifference) {
  const FieldSet a = {kGuestRip, kGuestRsp};
  const FieldSet b = {kGuestRsp, kTscOffset};
  EXPECT_EQ(a | b, (FieldSet{kGuestRip, kGuestRsp, kTscOffset}));
  EXPECT_EQ(a & b, FieldSet{kGuestRsp});
  EXPECT_EQ(a - b, FieldSet{kGuestRip});
  EXPECT_TRUE(a.Intersects(b));
  EXPECT_FALSE(a.Intersects(FieldSet{kTscOffset}));
  EXPECT_TRUE((a - a).IsEmpty());
}

TEST(FieldSetTest, EachIsVisitedInTheOrderOfTheTable) {
  std::vector<VmcsField> visited;
  const FieldSet set = {kHostRip, kGuestEsSelector, kPinBasedControls};
  set.ForEach([&](VmcsField field) { visited.push_back(field); });
  EXPECT_EQ(visited, (std::vector<VmcsField>{kGuestEsSelector, kPinBasedControls, kHostRip}));
}

}  // namespace
}  // namespace nvmx
