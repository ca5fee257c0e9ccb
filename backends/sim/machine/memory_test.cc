// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/memory.h"

#include <array>
#include <numeric>
#include <span>
#include <vector>

#include "gtest/gtest.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kBase = lhv::kWindowBase;
constexpr uint64_t kSecond = lhv::WindowOf(1);

class MemoryTest : public testing::Test {
 protected:
  bool Write(uint64_t address, uint64_t value) {
    return memory_.Write(address, std::as_bytes(std::span(&value, 1)));
  }
  uint64_t Read(uint64_t address) const {
    uint64_t value = 0xBAD;
    EXPECT_TRUE(memory_.Read(address, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  Memory memory_{2};
};

TEST_F(MemoryTest, IsZeroAtFirst) {
  EXPECT_EQ(Read(kBase), 0u);
  EXPECT_EQ(Read(kSecond + lhv::kWindowBytes - 8), 0u);
}

TEST_F(MemoryTest, ReturnsWhatWasWrittenAndNothingBesideItChanges) {
  EXPECT_TRUE(Write(kBase + 8, ~uint64_t{0}));
  EXPECT_EQ(Read(kBase), 0u);
  EXPECT_EQ(Read(kBase + 8), ~uint64_t{0});
  EXPECT_EQ(Read(kBase + 16), 0u);
}

TEST_F(MemoryTest, AnAccessMayCrossPagesAndWindows) {
  std::vector<uint8_t> bytes(3 * kPageSize);
  std::iota(bytes.begin(), bytes.end(), uint8_t{1});
  const uint64_t place = kSecond - kPageSize - 5;
  ASSERT_TRUE(memory_.Write(place, std::as_bytes(std::span(bytes))));
  std::vector<uint8_t> copy(bytes.size());
  ASSERT_TRUE(memory_.Read(place, std::as_writable_bytes(std::span(copy))));
  EXPECT_EQ(copy, bytes);
  uint8_t first_of_second = 0;
  memory_.Read(kSecond, std::as_writable_bytes(std::span(&first_of_second, 1)));
  EXPECT_EQ(first_of_second, bytes[kPageSize + 5]);
}

TEST_F(MemoryTest, NothingIsBackedOutsideTheWindows) {
  const uint64_t end = kBase + 2 * lhv::kWindowBytes;
  EXPECT_TRUE(memory_.IsBacked(kBase, 2 * lhv::kWindowBytes));
  EXPECT_TRUE(memory_.IsBacked(end - 1, 1));
  EXPECT_FALSE(memory_.IsBacked(end - 1, 2));
  EXPECT_FALSE(memory_.IsBacked(kBase - 1, 1));
  EXPECT_FALSE(memory_.IsBacked(0, 1));
  EXPECT_FALSE(memory_.IsBacked(end, 1));
  EXPECT_FALSE(memory_.IsBacked(~uint64_t{0}, 8));
  EXPECT_FALSE(memory_.IsBacked(kBase, ~uint64_t{0}));
}

TEST_F(MemoryTest, AnAccessThatIsPartlyOutsideDoesNothing) {
  const uint64_t end = kBase + 2 * lhv::kWindowBytes;
  EXPECT_FALSE(Write(end - 4, ~uint64_t{0}));
  EXPECT_EQ(Read(end - 8), 0u);
  uint64_t value = 0xBAD;
  EXPECT_FALSE(memory_.Read(end - 4, std::as_writable_bytes(std::span(&value, 1))));
  EXPECT_EQ(value, 0xBADu);
}

TEST_F(MemoryTest, TheDigestChangesWithTheContentAndReturnsWithIt) {
  Write(kBase, 1);
  const uint64_t before = memory_.WindowDigest(0);
  Write(kBase, 2);
  EXPECT_NE(memory_.WindowDigest(0), before);
  Write(kBase, 1);
  EXPECT_EQ(memory_.WindowDigest(0), before);
}

TEST_F(MemoryTest, TheDigestTellsPagesApart) {
  Write(kBase, 1);
  const uint64_t at_first_page = memory_.WindowDigest(0);
  Write(kBase, 0);
  Write(kBase + kPageSize, 1);
  EXPECT_NE(memory_.WindowDigest(0), at_first_page);
}

TEST_F(MemoryTest, EachWindowHasItsOwnDigest) {
  const uint64_t before = memory_.WindowDigest(0);
  Write(kSecond, 1);
  EXPECT_EQ(memory_.WindowDigest(0), before);
}

TEST_F(MemoryTest, ManyWritesBetweenTwoDigestsAreOneChange) {
  for (uint64_t value = 0; value < 5; ++value) Write(kBase + value * kPageSize, value + 1);
  const uint64_t digest = memory_.WindowDigest(0);
  EXPECT_EQ(memory_.WindowDigest(0), digest);
  for (uint64_t value = 0; value < 5; ++value) Write(kBase + value * kPageSize, 9);
  for (uint64_t value = 0; value < 5; ++value) Write(kBase + value * kPageSize, value + 1);
  EXPECT_EQ(memory_.WindowDigest(0), digest);
}

TEST_F(MemoryTest, RestoringGivesBackContentAndDigest) {
  Write(kBase, 1);
  Write(kBase + kPageSize, 2);
  const uint64_t digest = memory_.WindowDigest(0);
  const auto snapshot = memory_.SaveWindow(0);
  Write(kBase, 7);                  // a page that was there
  Write(kBase + 3 * kPageSize, 8);  // one that was not
  memory_.RestoreWindow(0, *snapshot);
  EXPECT_EQ(Read(kBase), 1u);
  EXPECT_EQ(Read(kBase + kPageSize), 2u);
  EXPECT_EQ(Read(kBase + 3 * kPageSize), 0u);
  EXPECT_EQ(memory_.WindowDigest(0), digest);
}

TEST_F(MemoryTest, APageOfZerosIsNoPageToTheDigest) {
  const uint64_t empty = memory_.WindowDigest(0);
  Write(kBase, 1);
  EXPECT_NE(memory_.WindowDigest(0), empty);
  Write(kBase, 0);
  EXPECT_EQ(memory_.WindowDigest(0), empty);
}

TEST_F(MemoryTest, ASnapshotCanBeRestoredAgainAndAgain) {
  Write(kBase, 1);
  const auto snapshot = memory_.SaveWindow(0);
  for (int round = 0; round < 3; ++round) {
    Write(kBase, 7);
    memory_.RestoreWindow(0, *snapshot);
    EXPECT_EQ(Read(kBase), 1u) << round;
  }
}

TEST_F(MemoryTest, RestoringOneWindowLeavesTheOtherAlone) {
  const auto snapshot = memory_.SaveWindow(0);
  Write(kSecond, 5);
  memory_.RestoreWindow(0, *snapshot);
  EXPECT_EQ(Read(kSecond), 5u);
}

TEST_F(MemoryTest, PagesWrittenInAnyOrderAreRestored) {
  for (uint64_t page = 9; page-- > 0;) Write(kBase + page * kPageSize, page + 1);
  const auto snapshot = memory_.SaveWindow(0);
  for (uint64_t page = 0; page < 9; ++page) Write(kBase + page * kPageSize, 0xBAD);
  memory_.RestoreWindow(0, *snapshot);
  for (uint64_t page = 0; page < 9; ++page) EXPECT_EQ(Read(kBase + page * kPageSize), page + 1);
}

TEST_F(MemoryTest, APageWrittenAfterASnapshotOfAnEmptyWindowIsRestoredToZero) {
  const auto snapshot = memory_.SaveWindow(0);
  Write(kBase, 7);
  memory_.RestoreWindow(0, *snapshot);
  EXPECT_EQ(Read(kBase), 0u);
}

TEST_F(MemoryTest, AllThatWasWrittenOfAPageIsRestored) {
  for (const uint64_t offset : {0x100, 0x800, 0xFF8}) Write(kBase + offset, offset);
  const auto snapshot = memory_.SaveWindow(0);
  for (int round = 0; round < 2; ++round) {
    // The last byte first, then one below it, then one in between.
    for (const uint64_t offset : {0xFF8, 0x100, 0x800}) Write(kBase + offset, 7);
    memory_.RestoreWindow(0, *snapshot);
    for (const uint64_t offset : {0x100, 0x800, 0xFF8}) {
      EXPECT_EQ(Read(kBase + offset), offset) << round;
    }
    Write(kBase + 0x800, 7);
    memory_.RestoreWindow(0, *snapshot);
    EXPECT_EQ(Read(kBase + 0x800), 0x800u) << round;
  }
}

TEST_F(MemoryTest, EqualWritesLeaveTwoMemoriesTheSame) {
  Memory other(2);
  const auto snapshot = memory_.SaveWindow(0);
  const auto other_snapshot = other.SaveWindow(0);
  EXPECT_TRUE(memory_.IsSameWhereWritten(other, 0));
  Write(kBase + 8, 5);
  other.Store<uint64_t>(kBase + 8, 5);
  EXPECT_TRUE(memory_.IsSameWhereWritten(other, 0));
}

TEST_F(MemoryTest, AWriteToOneOfTwoMemoriesIsSeenFromBoth) {
  Memory other(2);
  const auto snapshot = memory_.SaveWindow(0);
  const auto other_snapshot = other.SaveWindow(0);
  Write(kBase + 8, 5);
  EXPECT_FALSE(memory_.IsSameWhereWritten(other, 0));
  EXPECT_FALSE(other.IsSameWhereWritten(memory_, 0));
  EXPECT_TRUE(memory_.IsSameWhereWritten(other, 1));
  memory_.RestoreWindow(0, *snapshot);
  EXPECT_TRUE(memory_.IsSameWhereWritten(other, 0));
}

// --- Clear

TEST_F(MemoryTest, ClearingZeroesAllWindowsAndTheirDigests) {
  const uint64_t empty = memory_.WindowDigest(1);
  Write(kBase, 1);
  Write(kSecond, 2);
  memory_.WindowDigest(1);
  memory_.Clear();
  EXPECT_EQ(Read(kBase), 0u);
  EXPECT_EQ(Read(kSecond), 0u);
  EXPECT_EQ(memory_.WindowDigest(1), empty);
  Write(kSecond, 2);
  EXPECT_NE(memory_.WindowDigest(1), empty);
}

TEST_F(MemoryTest, ASnapshotAfterClearingHoldsWhatWasWrittenSince) {
  Write(kBase, 1);
  memory_.Clear();
  Write(kBase + kPageSize, 2);
  const auto snapshot = memory_.SaveWindow(0);
  Write(kBase, 3);
  Write(kBase + kPageSize, 4);
  memory_.RestoreWindow(0, *snapshot);
  EXPECT_EQ(Read(kBase), 0u);
  EXPECT_EQ(Read(kBase + kPageSize), 2u);
}

// --- The physical address space

class PhysicalMemoryTest : public MemoryTest {
 protected:
  static constexpr uint64_t kHost = 0x8000'0000;
  PhysicalMemoryTest() { memory_.MapHostPages(kHost, std::as_writable_bytes(std::span(host_))); }
  uint64_t ReadPhysical(uint64_t address) const {
    uint64_t value = 0xBAD;
    memory_.ReadPhysical(address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  void WritePhysical(uint64_t address, uint64_t value) {
    memory_.WritePhysical(address, std::as_bytes(std::span(&value, 1)));
  }
  alignas(kPageSize) std::array<uint64_t, 2 * kPageSize / 8> host_{};
};

TEST_F(PhysicalMemoryTest, WindowsArePartOfIt) {
  WritePhysical(kBase + 8, 5);
  EXPECT_EQ(Read(kBase + 8), 5u);
  EXPECT_EQ(ReadPhysical(kBase + 8), 5u);
  EXPECT_EQ(memory_.Load<uint32_t>(kBase + 8), 5u);
  memory_.Store<uint16_t>(kBase + 12, 7);
  EXPECT_EQ(Read(kBase + 8), uint64_t{7} << 32 | 5);
}

TEST_F(PhysicalMemoryTest, HostPagesAnswerFromTheCallersStorage) {
  host_[1] = 5;
  EXPECT_EQ(ReadPhysical(kHost + 8), 5u);
  WritePhysical(kHost + kPageSize, 6);
  EXPECT_EQ(host_[kPageSize / 8], 6u);
  memory_.Store<uint64_t>(kHost, 9);
  EXPECT_EQ(host_[0], 9u);
}

TEST_F(PhysicalMemoryTest, GuestsDoNotOwnHostPages) {
  EXPECT_FALSE(memory_.IsBacked(kHost, 8));
  EXPECT_FALSE(Write(kHost, 5));
  EXPECT_EQ(host_[0], 0u);
}

TEST_F(PhysicalMemoryTest, SeveralRangesOfHostPagesAreKeptApart) {
  alignas(kPageSize) std::array<uint64_t, kPageSize / 8> more{};
  memory_.MapHostPages(kHost + 0x10000, std::as_writable_bytes(std::span(more)));
  WritePhysical(kHost + 0x10000, 3);
  EXPECT_EQ(more[0], 3u);
  EXPECT_EQ(host_[0], 0u);
}

TEST_F(PhysicalMemoryTest, WhatNothingAnswersForReadsAsOnesAndIgnoresWrites) {
  const uint64_t end = kBase + 2 * lhv::kWindowBytes;
  for (uint64_t address : {uint64_t{0}, kBase - 8, end, kHost - 8, kHost + 2 * kPageSize}) {
    WritePhysical(address, 0);
    EXPECT_EQ(ReadPhysical(address), ~uint64_t{0}) << address;
    EXPECT_EQ(memory_.Load<uint64_t>(address), ~uint64_t{0}) << address;
  }
}

TEST_F(PhysicalMemoryTest, EachByteIsAnsweredForByItself) {
  const uint64_t end = kBase + 2 * lhv::kWindowBytes;
  WritePhysical(end - 4, 0x1122'3344'5566'7788);
  EXPECT_EQ(ReadPhysical(end - 4), 0xFFFF'FFFF'5566'7788u);
  WritePhysical(kBase - 4, 0x1122'3344'5566'7788);
  EXPECT_EQ(ReadPhysical(kBase - 4), 0x1122'3344'FFFF'FFFFu);
}

TEST_F(PhysicalMemoryTest, WritesOfTheProcessorCountInDigestAndSnapshot) {
  const uint64_t empty = memory_.WindowDigest(0);
  const auto snapshot = memory_.SaveWindow(0);
  memory_.Store<uint64_t>(kBase, 5);
  EXPECT_NE(memory_.WindowDigest(0), empty);
  memory_.RestoreWindow(0, *snapshot);
  EXPECT_EQ(Read(kBase), 0u);
  EXPECT_EQ(memory_.WindowDigest(0), empty);
}

TEST_F(PhysicalMemoryTest, ClearingLeavesHostPagesAlone) {
  host_[0] = 5;
  memory_.Clear();
  EXPECT_EQ(ReadPhysical(kHost), 5u);
}

}  // namespace
}  // namespace nvmx::sim
