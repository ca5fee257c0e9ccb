// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/command_line.h"

#include <string>

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

TEST(FindSerialPort, IsAnIoPortInHexadecimal) {
  EXPECT_FALSE(FindSerialPort("cpus=2 serial=0x3F8"));
  for (const char* line : {"serial-port=0xF0E0", "a serial-port=0xf0e0 log=none"}) {
    const auto found = FindSerialPort(line);
    ASSERT_TRUE(found) << line;
    EXPECT_FALSE(found->is_wrong) << line;
    EXPECT_EQ(found->port, 0xF0E0) << line;
  }
  for (const char* value : {"", "0x", "F0E0", "0x10000", "0xFFF9", "0x0", "0x3G8"}) {
    const auto found = FindSerialPort(std::string("serial-port=") + value);
    ASSERT_TRUE(found) << value;
    EXPECT_TRUE(found->is_wrong) << value;
  }
}

}  // namespace
}  // namespace nvmx::metal
