// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/machine/memory_map.h"

#include <array>
#include <cstdint>

#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

MemoryMap Map(std::initializer_list<MemoryRange> ranges) {
  MemoryMap map;
  for (const MemoryRange& range : ranges) EXPECT_TRUE(map.Add(range));
  return map;
}

constexpr uint64_t kAnywhere = ~uint64_t{0};

TEST(MemoryMap, RamMayBeInPiecesInAnyOrder) {
  const MemoryMap map = Map({{{0x3000, 0x5000}, MemoryKind::kRam},
                             {{0x1000, 0x3000}, MemoryKind::kRam},
                             {{0x5000, 0x6000}, MemoryKind::kReserved}});
  EXPECT_TRUE(map.IsRam({0x1000, 0x5000}));
  EXPECT_FALSE(map.IsRam({0xFFF, 0x5000}));
  EXPECT_FALSE(map.IsRam({0x1000, 0x5001}));
}

TEST(MemoryMap, WhatSomebodyElseClaimsIsNotRam) {
  const MemoryMap map =
      Map({{{0x1000, 0x5000}, MemoryKind::kRam}, {{0x2000, 0x3000}, MemoryKind::kAcpi}});
  EXPECT_TRUE(map.IsRam({0x1000, 0x2000}));
  EXPECT_FALSE(map.IsRam({0x1000, 0x2001}));
  EXPECT_TRUE(map.IsRam({0x3000, 0x5000}));
}

TEST(MemoryMap, RamAroundAnAddressEndsWhereOthersClaimIt) {
  const MemoryMap map = Map({{{0x1000, 0x9000}, MemoryKind::kRam},
                             {{0x2000, 0x3000}, MemoryKind::kAcpi},
                             {{0x7000, 0x8000}, MemoryKind::kReserved},
                             {{0x9000, 0xA000}, MemoryKind::kRam}});
  const AddressRange between{0x3000, 0x7000};
  EXPECT_EQ(map.RamAround(0x3000), between);
  EXPECT_EQ(map.RamAround(0x6FFF), between);
  EXPECT_EQ(map.RamAround(0x1000), (AddressRange{0x1000, 0x2000}));
  EXPECT_EQ(map.RamAround(0x8000), (AddressRange{0x8000, 0x9000}));
  EXPECT_EQ(map.RamAround(0x2000).size(), 0u) << "claimed";
  EXPECT_EQ(map.RamAround(0xA000).size(), 0u) << "not RAM";
}

TEST(MemoryMap, FindHighestIsAlignedBelowTheLimitAndBesideWhatIsTaken) {
  const MemoryMap map =
      Map({{{0x1000, 0x9800}, MemoryKind::kRam}, {{0x8000, 0x9000}, MemoryKind::kBad}});
  const std::array<AddressRange, 1> taken{{{0x6000, 0x7001}}};
  EXPECT_EQ(map.FindHighest(0x800, 0x1000, kAnywhere, {}), (AddressRange{0x9000, 0x9800}));
  EXPECT_EQ(map.FindHighest(0x1000, 0x1000, kAnywhere, {}), (AddressRange{0x7000, 0x8000}));
  EXPECT_EQ(map.FindHighest(0x1000, 0x1000, kAnywhere, taken), (AddressRange{0x5000, 0x6000}));
  EXPECT_EQ(map.FindHighest(0x1000, 0x1000, 0x2FFF, {}), (AddressRange{0x1000, 0x2000}));
  EXPECT_EQ(map.FindHighest(0x8000, 0x1000, kAnywhere, {}), std::nullopt);
  EXPECT_EQ(map.FindHighest(0x1000, 0x1000, 0x1FFF, {}), std::nullopt);
}

TEST(MemoryMap, ReserveSplitsRam) {
  MemoryMap map = Map({{{0x1000, 0x9000}, MemoryKind::kRam}});
  EXPECT_TRUE(map.Reserve({0x4000, 0x5000}));
  EXPECT_TRUE(map.IsRam({0x1000, 0x4000}));
  EXPECT_TRUE(map.IsRam({0x5000, 0x9000}));
  EXPECT_FALSE(map.IsRam({0x4FFF, 0x5000}));
  EXPECT_EQ(map.Ranges().size(), 3u);
  EXPECT_EQ(map.EndOfRam(), 0x9000u);
}

TEST(MemoryMap, AFullMapRefusesAndStaysAsItIs) {
  MemoryMap map;
  for (uint64_t i = 0; i < MemoryMap::kMostRanges; ++i) {
    EXPECT_TRUE(map.Add({{i * 0x2000, i * 0x2000 + 0x1000}, MemoryKind::kRam}));
  }
  EXPECT_FALSE(map.Add({{0x1'000'000, 0x2'000'000}, MemoryKind::kRam}));
  EXPECT_FALSE(map.Reserve({0x400, 0x800}));
  EXPECT_TRUE(map.IsRam({0x400, 0x800}));
}

}  // namespace
}  // namespace nvmx::metal
