// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/command_line.h"

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

TEST(CommandLine, WordsWithAndWithoutValues) {
  CommandLine words("  cpus=2 debug   a= =b ");
  auto word = words.Next();
  ASSERT_TRUE(word);
  EXPECT_EQ(word->name, "cpus");
  EXPECT_EQ(word->value, "2");
  word = words.Next();
  ASSERT_TRUE(word);
  EXPECT_EQ(word->name, "debug");
  EXPECT_FALSE(word->has_value);
  word = words.Next();
  ASSERT_TRUE(word);
  EXPECT_TRUE(word->has_value);
  EXPECT_EQ(word->value, "");
  word = words.Next();
  ASSERT_TRUE(word);
  EXPECT_EQ(word->name, "");
  EXPECT_EQ(word->value, "b");
  EXPECT_FALSE(words.Next());
  EXPECT_FALSE(words.Next());
}

TEST(ParseNumber, DigitsAndNothingElse) {
  EXPECT_EQ(ParseNumber("0"), 0u);
  EXPECT_EQ(ParseNumber("4294967295"), 4294967295u);
  for (const char* bad : {"", "4294967296", "99999999999999999999999", "-1", "1x", " 1", "0x1"}) {
    EXPECT_EQ(ParseNumber(bad), std::nullopt) << bad;
  }
}

}  // namespace
}  // namespace nvmx::metal
