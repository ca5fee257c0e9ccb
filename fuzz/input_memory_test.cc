// SPDX-License-Identifier: Apache-2.0
#include "fuzz/input_memory.h"

#include <cstddef>
#include <vector>

#include "fuzz/input.h"
#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::fuzz {
namespace {

constexpr uint64_t kAt = kFirstInputMemory + 0x100;
constexpr uint64_t kValue = 0x1122'3344'5566'7788;

TEST(InputMemoryTest, AWordIsWhatWasPut) {
  lhv::CpuProgram cpu;
  EXPECT_EQ(WordAt(cpu, kAt), 0u);
  PutWord(cpu, kAt, kValue);
  EXPECT_EQ(WordAt(cpu, kAt), kValue);
  PutWord(cpu, kAt, 1);
  EXPECT_EQ(WordAt(cpu, kAt), 1u);
  ASSERT_EQ(cpu.memory.size(), 1u);
  EXPECT_EQ(cpu.memory[0].offset, kAt);
  EXPECT_EQ(cpu.memory[0].bytes.size(), 8u);
}

TEST(InputMemoryTest, WhatOverlapsOrAdjoinsIsOneBlock) {
  for (const uint64_t distance : {1, 7, 8}) {
    lhv::CpuProgram cpu;
    PutWord(cpu, kAt + distance, kValue);
    PutWord(cpu, kAt, 1);
    ASSERT_EQ(cpu.memory.size(), 1u) << distance;
    EXPECT_EQ(cpu.memory[0].offset, kAt) << distance;
    EXPECT_EQ(cpu.memory[0].bytes.size(), 8 + distance);
    EXPECT_EQ(WordAt(cpu, kAt) & 0xFF, 1u) << distance;
    EXPECT_EQ(cpu.memory[0].bytes.back(), std::byte{kValue >> 56}) << distance;
  }
}

TEST(InputMemoryTest, AWordBetweenTwoBlocksJoinsThem) {
  lhv::CpuProgram cpu;
  PutWord(cpu, kAt, 1);
  PutWord(cpu, kAt + 16, 2);
  EXPECT_EQ(cpu.memory.size(), 2u);
  PutWord(cpu, kAt + 8, 3);
  ASSERT_EQ(cpu.memory.size(), 1u);
  EXPECT_EQ(WordAt(cpu, kAt), 1u);
  EXPECT_EQ(WordAt(cpu, kAt + 8), 3u);
  EXPECT_EQ(WordAt(cpu, kAt + 16), 2u);
}

TEST(InputMemoryTest, NothingIsPutWhereNoInputHasMemory) {
  lhv::CpuProgram cpu;
  PutWord(cpu, kFirstInputMemory - 1, kValue);
  PutWord(cpu, lhv::kBlocksEnd - 7, kValue);
  PutWord(cpu, ~uint64_t{0} - 3, kValue);
  EXPECT_TRUE(cpu.memory.empty());
  PutWord(cpu, lhv::kBlocksEnd - 8, kValue);
  EXPECT_EQ(WordAt(cpu, lhv::kBlocksEnd - 8), kValue);
}

TEST(InputMemoryTest, HalfAWordIsReadAsNone) {
  lhv::CpuProgram cpu;
  PutWord(cpu, kAt, kValue);
  EXPECT_EQ(WordAt(cpu, kAt + 4), 0u);
  EXPECT_EQ(WordAt(cpu, kAt - 4), 0u);
}

}  // namespace
}  // namespace nvmx::fuzz
