// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/canary.h"

#include <array>
#include <utility>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

class CanaryTest : public testing::Test {
 protected:
  std::array<uint64_t, 16> code_{1, 2, 3};
  std::array<uint64_t, 4> tables_{0x1003, 0x2003};
  Canary canary_;
};

TEST_F(CanaryTest, NothingIsDamagedBeforeSomethingChanges) {
  EXPECT_EQ(canary_.Damaged(), nullptr);
  EXPECT_FALSE(canary_.watches());
  canary_.Watch("code", code_);
  EXPECT_TRUE(canary_.watches());
  canary_.Watch("tables", tables_);
  EXPECT_EQ(canary_.Damaged(), nullptr);
}

TEST_F(CanaryTest, AnyBitOfAnyWordCounts) {
  canary_.Watch("code", code_);
  for (uint64_t& word : code_) {
    for (unsigned bit = 0; bit < 64; ++bit) {
      word ^= uint64_t{1} << bit;
      EXPECT_STREQ(canary_.Damaged(), "code");
      word ^= uint64_t{1} << bit;
    }
  }
  EXPECT_EQ(canary_.Damaged(), nullptr);
}

TEST_F(CanaryTest, WordsThatChangePlacesCount) {
  canary_.Watch("code", code_);
  std::swap(code_[0], code_[1]);
  EXPECT_STREQ(canary_.Damaged(), "code");
}

TEST_F(CanaryTest, BitsThatMayChangeDoNotCount) {
  constexpr uint64_t kAccessedAndDirty = 0x60;
  canary_.Watch("code", code_);
  canary_.Watch("tables", tables_, kAccessedAndDirty);
  tables_[1] |= kAccessedAndDirty;
  EXPECT_EQ(canary_.Damaged(), nullptr);
  tables_[1] |= 0x80;
  EXPECT_STREQ(canary_.Damaged(), "tables");
}

TEST_F(CanaryTest, WhatIsWatchedAgainIsTakenAsItIs) {
  canary_.Watch("code", code_);
  canary_.Watch("tables", tables_);
  tables_[0] = 0;
  EXPECT_STREQ(canary_.Damaged(), "tables");
  canary_.Watch("tables", tables_);
  EXPECT_EQ(canary_.Damaged(), nullptr);
  code_[0] = 0;
  EXPECT_STREQ(canary_.Damaged(), "code");
}

}  // namespace
}  // namespace nvmx::metal
