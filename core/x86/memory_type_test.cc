// SPDX-License-Identifier: Apache-2.0
#include "core/x86/memory_type.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(MemoryTypeTest, FiveEncodingsAreMemoryTypes) {
  for (uint64_t encoding = 0; encoding < 256; ++encoding) {
    const bool expected =
        encoding == 0 || encoding == 1 || encoding == 4 || encoding == 5 || encoding == 6;
    EXPECT_EQ(IsValidMemoryType(encoding), expected) << encoding;
  }
}

TEST(MemoryTypeTest, HighBitsOfTheEncodingCount) {
  EXPECT_FALSE(IsValidMemoryType(uint64_t{6} | uint64_t{1} << 32));
}

TEST(PatTest, TheResetValueIsValid) { EXPECT_TRUE(IsValidPat(kPatReset)); }

TEST(PatTest, UncachedMinusIsValidInThePat) { EXPECT_TRUE(IsValidPat(0x0707070707070707)); }

TEST(PatTest, AReservedTypeIsInvalidInEachOfTheEightEntries) {
  for (unsigned entry = 0; entry < 8; ++entry) {
    for (uint64_t reserved : {2, 3, 8, 0x10, 0x80, 0xFF}) {
      const uint64_t others = kPatReset & ~(uint64_t{0xFF} << (8 * entry));
      EXPECT_FALSE(IsValidPat(others | reserved << (8 * entry))) << entry << " " << reserved;
    }
  }
}

TEST(MemoryTypeTest, NamesAreTheSdmMnemonics) {
  EXPECT_STREQ(Name(MemoryType::kUncacheable), "UC");
  EXPECT_STREQ(Name(MemoryType::kWriteBack), "WB");
  EXPECT_STREQ(Name(static_cast<MemoryType>(2)), "reserved");
}

}  // namespace
}  // namespace nvmx
