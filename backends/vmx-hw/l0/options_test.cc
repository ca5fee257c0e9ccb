// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/options.h"

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

TEST(ParseOptions, NothingIsAllCpusAndNoEvents) {
  const ParsedOptions parsed = ParseOptions("  ", 16);
  EXPECT_EQ(parsed.bad_word, "");
  EXPECT_EQ(parsed.options.cpus, 0u);
  EXPECT_FALSE(parsed.options.log_events);
}

TEST(ParseOptions, WordsInAnyOrder) {
  const ParsedOptions parsed = ParseOptions("log=serial  cpus=16", 16);
  EXPECT_EQ(parsed.bad_word, "");
  EXPECT_EQ(parsed.options.cpus, 16u);
  EXPECT_TRUE(parsed.options.log_events);
}

TEST(ParseOptions, WhatEveryImageUnderstandsIsNotBad) {
  EXPECT_EQ(ParseOptions("serial-port=0x3F8 cpus=2", 16).bad_word, "");
}

TEST(ParseOptions, TheFirstBadWordIsNamed) {
  for (const char* line : {"cpus=0", "cpus=17", "cpus", "cpus=", "cpus=2x", "log=serial cpus=-1"}) {
    EXPECT_EQ(ParseOptions(line, 16).bad_word, "cpus") << line;
  }
  EXPECT_EQ(ParseOptions("log=ring", 16).bad_word, "log");
  EXPECT_EQ(ParseOptions("cpus=1 variant=late", 16).bad_word, "variant");
}

}  // namespace
}  // namespace nvmx::metal
