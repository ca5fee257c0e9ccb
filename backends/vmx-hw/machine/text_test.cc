// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/text.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

template <typename T>
std::string Written(T value) {
  Text text;
  text << value;
  return std::string(text.view());
}

TEST(Text, NumbersAreWrittenInDecimalOrHexadecimalDigits) {
  EXPECT_EQ(Written(0), "0");
  EXPECT_EQ(Written(-12), "-12");
  EXPECT_EQ(Written(std::numeric_limits<int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(Written(~uint64_t{0}), "18446744073709551615");
  EXPECT_EQ(Written(Hex{0}), "0x0");
  EXPECT_EQ(Written(Hex{0xDEADBEEF01}), "0xdeadbeef01");
}

TEST(Text, WhatDoesNotFitIsDropped) {
  Text text;
  for (int i = 0; i < 100; ++i) text << "abcdefgh";
  EXPECT_EQ(text.view().size(), 240u);
  EXPECT_EQ(text.view().substr(232), "abcdefgh");
}

}  // namespace
}  // namespace nvmx::metal
