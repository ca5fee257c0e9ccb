// SPDX-License-Identifier: Apache-2.0
//
// Which addresses and counts VM entry accepts for an MSR list.
#include "core/nested/msr_lists.h"
#include "core/testing/builders.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

class MsrListAreaTest : public testing::Test {
 protected:
  bool Accepts(uint64_t address, uint64_t count) const {
    return IsAcceptableMsrList(capabilities_, address, count);
  }
  uint64_t End() const { return uint64_t{1} << capabilities_.physical_address_width; }

  Capabilities capabilities_ = BuildOfferedCapabilities();
};

TEST_F(MsrListAreaTest, AnEmptyListIsGoodWhereverItIs) {
  EXPECT_TRUE(Accepts(0, 0));
  EXPECT_TRUE(Accepts(1, 0));
  EXPECT_TRUE(Accepts(~uint64_t{0}, 0));
  EXPECT_TRUE(Accepts(End(), 0));
}

TEST_F(MsrListAreaTest, TheAddressIsAMultipleOf16) {
  for (unsigned bit = 0; bit < 4; ++bit) EXPECT_FALSE(Accepts(0x1000 + (1u << bit), 1)) << bit;
  EXPECT_TRUE(Accepts(0x1010, 1));
  EXPECT_TRUE(Accepts(0, 1));
}

TEST_F(MsrListAreaTest, TheLastByteIsWithinThePhysicalAddressWidth) {
  EXPECT_TRUE(Accepts(End() - 16, 1));
  EXPECT_FALSE(Accepts(End(), 1));
  EXPECT_TRUE(Accepts(End() - 32, 2));
  EXPECT_FALSE(Accepts(End() - 16, 2));
  EXPECT_TRUE(Accepts(End() - 512 * 16, 512));
  EXPECT_FALSE(Accepts(End() - 511 * 16, 512));
}

TEST_F(MsrListAreaTest, TheWidthIsTheOneThatL1WasOffered) {
  EXPECT_FALSE(Accepts(uint64_t{1} << 39, 1));
  capabilities_.physical_address_width = 40;
  EXPECT_TRUE(Accepts(uint64_t{1} << 39, 1));
}

TEST_F(MsrListAreaTest, AListThatWrapsAroundTheAddressSpaceIsRefused) {
  EXPECT_FALSE(Accepts(~uint64_t{0} - 15, 1));
  EXPECT_FALSE(Accepts(~uint64_t{0} - 15, 2));
  EXPECT_FALSE(Accepts(~uint64_t{0} - 15, 512));
  capabilities_.physical_address_width = 64;
  EXPECT_TRUE(Accepts(~uint64_t{0} - 15, 1));
  EXPECT_FALSE(Accepts(~uint64_t{0} - 15, 2));
}

TEST_F(MsrListAreaTest, ALengthThatWouldOverflowIsRefused) {
  EXPECT_FALSE(Accepts(0, 0xFFFFFFFF));
  EXPECT_FALSE(Accepts(0, uint64_t{1} << 60));
  EXPECT_FALSE(Accepts(0, (uint64_t{1} << 60) + 1));
}

TEST_F(MsrListAreaTest, TheMaximumIs512EntriesForEachUnitOfMiscPlus1) {
  EXPECT_TRUE(Accepts(0, 512));
  EXPECT_FALSE(Accepts(0, 513));
  capabilities_.misc |= uint64_t{1} << VmxMisc::kMaximumMsrListShift;
  EXPECT_TRUE(Accepts(0, 1024));
  EXPECT_FALSE(Accepts(0, 1025));
  capabilities_.misc |= VmxMisc::kMaximumMsrList;
  EXPECT_TRUE(Accepts(0, 4096));
  EXPECT_FALSE(Accepts(0, 4097));
}

}  // namespace
}  // namespace nvmx
