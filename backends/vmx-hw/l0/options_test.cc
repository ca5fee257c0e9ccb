// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/options.h"

#include <string>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

TEST(ParseOptions, NothingIsAllCpusNoEventsAndMultiboot) {
  const ParsedOptions parsed = ParseOptions("  ", 16);
  EXPECT_EQ(parsed.bad_word, "");
  EXPECT_EQ(parsed.options.cpus, 0u);
  EXPECT_EQ(parsed.options.log, LogMode::kNone);
  EXPECT_EQ(parsed.options.watchdog_seconds, 0u);
  EXPECT_STREQ(parsed.options.variant->name, "correct");
  EXPECT_EQ(parsed.options.l1, L1Kind::kMultiboot);
}

TEST(ParseOptions, WordsInAnyOrder) {
  const ParsedOptions parsed = ParseOptions("log=serial  l1=linux cpus=16", 16);
  EXPECT_EQ(parsed.bad_word, "");
  EXPECT_EQ(parsed.options.cpus, 16u);
  EXPECT_EQ(parsed.options.log, LogMode::kSerial);
  EXPECT_EQ(parsed.options.l1, L1Kind::kLinux);
  EXPECT_EQ(ParseOptions("l1=multiboot", 16).options.l1, L1Kind::kMultiboot);
}

TEST(ParseOptions, WhatEveryImageUnderstandsIsNotBad) {
  EXPECT_EQ(ParseOptions("serial-port=0x3F8 cpus=2", 16).bad_word, "");
}

TEST(ParseOptions, TheFirstBadWordIsNamed) {
  for (const char* line : {"cpus=0", "cpus=17", "cpus", "cpus=", "cpus=2x", "log=serial cpus=-1"}) {
    EXPECT_EQ(ParseOptions(line, 16).bad_word, "cpus") << line;
  }
  EXPECT_EQ(ParseOptions("log=rings", 16).bad_word, "log");
  EXPECT_EQ(ParseOptions("l1=xen", 16).bad_word, "l1");
  for (const char* line : {"watchdog", "watchdog=0", "watchdog=3601", "watchdog=2s"}) {
    EXPECT_EQ(ParseOptions(line, 16).bad_word, "watchdog") << line;
  }
  EXPECT_EQ(ParseOptions("cpus=1 colour=red", 16).bad_word, "colour");
}

TEST(ParseOptions, RingWatchdogAndVariant) {
  const ParsedOptions parsed =
      ParseOptions("log=ring watchdog=3600 variant=late-acknowledgement", 16);
  EXPECT_EQ(parsed.bad_word, "");
  EXPECT_EQ(parsed.options.log, LogMode::kRing);
  EXPECT_EQ(parsed.options.watchdog_seconds, 3600u);
  EXPECT_STREQ(parsed.options.variant->name, "late-acknowledgement");
  EXPECT_FALSE(parsed.is_unknown_variant);
}

TEST(ParseOptions, WhatCanBeChecked) {
  EXPECT_FALSE(ParseOptions("", 16).options.checks_ports);
  EXPECT_TRUE(ParseOptions("check=ports", 16).options.checks_ports);
  EXPECT_EQ(ParseOptions("check=port", 16).bad_word, "check");
  EXPECT_EQ(ParseOptions("check", 16).bad_word, "check");
}

TEST(ParseOptions, EveryVariantIsOne) {
  for (const Variant& variant : AllVariants()) {
    const std::string line = std::string("variant=") + variant.name;
    EXPECT_EQ(ParseOptions(line, 16).options.variant, &variant) << line;
  }
}

TEST(ParseOptions, AnUnknownVariantIsToldApart) {
  for (const char* line : {"cpus=1 variant=late", "variant=", "variant"}) {
    const ParsedOptions parsed = ParseOptions(line, 16);
    EXPECT_EQ(parsed.bad_word, "variant") << line;
    EXPECT_EQ(parsed.why, "there is no such variant") << line;
    EXPECT_TRUE(parsed.is_unknown_variant) << line;
  }
  EXPECT_FALSE(ParseOptions("cpus=0", 16).is_unknown_variant);
}

}  // namespace
}  // namespace nvmx::metal
