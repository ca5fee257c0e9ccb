// SPDX-License-Identifier: Apache-2.0
#include "core/vmx/msr_list.h"

#include <cstddef>
#include <cstdint>

#include "core/x86/address.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(MsrListTest, AnEntryIsIndexReservedData) {
  EXPECT_EQ(offsetof(MsrListEntry, index), 0u);
  EXPECT_EQ(offsetof(MsrListEntry, reserved), 4u);
  EXPECT_EQ(offsetof(MsrListEntry, data), 8u);
}

TEST(MsrListTest, TheMaximumIs512EntriesForEachStepOfMiscBits27To25) {
  EXPECT_EQ(MaximumMsrListEntries(0), 512u);
  EXPECT_EQ(MaximumMsrListEntries(uint64_t{1} << 25), 1024u);
  EXPECT_EQ(MaximumMsrListEntries(uint64_t{7} << 25), 4096u);
  EXPECT_EQ(MaximumMsrListEntries(~(uint64_t{7} << 25)), 512u);
}

TEST(MsrListTest, TheLengthOfTheLongestListDoesNotWrap) {
  EXPECT_EQ(MsrListLength(0xFFFFFFFF), 0xFFFFFFFF0u);
}

TEST(MsrListTest, TheLastEntryOfAListCanEndWhereThePhysicalAddressesEnd) {
  constexpr uint64_t kEnd = uint64_t{1} << 39;
  EXPECT_TRUE(IsWithinWidth(kEnd - MsrListLength(512), MsrListLength(512), 39));
  EXPECT_FALSE(IsWithinWidth(kEnd - MsrListLength(511), MsrListLength(512), 39));
  EXPECT_TRUE(IsWithinWidth(kEnd - 16, MsrListLength(1), 39));
}

TEST(MsrListTest, AListAtTheTopOfTheNumberLineIsNotWithinAnyWidth) {
  EXPECT_FALSE(IsWithinWidth(~uint64_t{0xF}, MsrListLength(2), 39));
  EXPECT_FALSE(IsWithinWidth(~uint64_t{0xF}, MsrListLength(0xFFFFFFFF), 52));
}

}  // namespace
}  // namespace nvmx
