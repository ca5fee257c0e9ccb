// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/ept01.h"

#include <cstdint>
#include <span>
#include <vector>

#include "core/vmx/ept.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

constexpr uint64_t kMByte = uint64_t{1} << 20;
constexpr uint64_t kGByte = uint64_t{1} << 30;
constexpr AddressRange kAbsent{kGByte + 4 * kMByte, kGByte + 8 * kMByte};
constexpr uint64_t kReadOnly = 0xFEE00000;

// What firmware writes: WB below 2 GBytes, UC above, fixed ranges with a hole for the screen.
MtrrSettings FirmwareSettings() {
  MtrrSettings m;
  m.default_type =
      MtrrDefType::kE | MtrrDefType::kFe | static_cast<uint64_t>(MemoryType::kUncacheable);
  for (uint64_t& fixed : m.fixed) fixed = 0x0606060606060606;
  m.fixed[2] = 0;  // A0000H to BFFFFH
  m.variable[0] = {static_cast<uint64_t>(MemoryType::kWriteBack),
                   (PhysicalAddressMask(40) & ~(2 * kGByte - 1)) | MtrrVariable::kV};
  return m;
}

class Ept01Test : public testing::TestWithParam<bool> {
 protected:
  Ept01Test()
      : storage_(Ept01::PagesNeeded(GetParam())),
        ept_({std::span(storage_), PhysicalAddress{kAbsent.begin}}, kAbsent, kReadOnly,
             GetParam()) {}

  std::vector<HostPage> storage_;
  Ept01 ept_;
};

INSTANTIATE_TEST_SUITE_P(GBytePages, Ept01Test, testing::Bool());

TEST_P(Ept01Test, MapsEverythingButTheAbsentRangeToItself) {
  ept_.Fill(FirmwareSettings());
  for (uint64_t address :
       {uint64_t{0}, kAbsent.begin - 1, kAbsent.end, 3 * kGByte + 5, Ept01::kSpan - 1}) {
    const Ept01Mapping mapping = ept_.Map({address});
    EXPECT_TRUE(mapping.readable && mapping.writable && mapping.executable) << address;
    EXPECT_EQ(mapping.address.value, address);
  }
  for (uint64_t address : {kAbsent.begin, kAbsent.end - 1, Ept01::kSpan, ~uint64_t{0}}) {
    EXPECT_FALSE(ept_.Map({address}).is_present()) << address;
  }
}

TEST_P(Ept01Test, OnePageIsNotWritable) {
  ept_.Fill(FirmwareSettings());
  for (uint64_t address : {kReadOnly, kReadOnly + kPageSize - 1}) {
    const Ept01Mapping mapping = ept_.Map({address});
    EXPECT_TRUE(mapping.readable);
    EXPECT_FALSE(mapping.writable);
    EXPECT_EQ(mapping.address.value, address);
    EXPECT_EQ(mapping.block_shift, 12u);
    EXPECT_EQ(mapping.memory_type, MemoryType::kUncacheable);
  }
  EXPECT_TRUE(ept_.Map({kReadOnly - 1}).writable);
  EXPECT_TRUE(ept_.Map({kReadOnly + kPageSize}).writable);
}

TEST_P(Ept01Test, MemoryTypesAreThoseOfTheMtrrsAtEveryBorder) {
  const MtrrSettings types = FirmwareSettings();
  ept_.Fill(types);
  for (uint64_t border : {uint64_t{0xA0000}, uint64_t{0xC0000}, kMByte, kGByte, 2 * kGByte}) {
    for (uint64_t address : {border - 1, border}) {
      EXPECT_EQ(ept_.Map({address}).memory_type, types.TypeOf(address)) << address;
    }
  }
}

TEST_P(Ept01Test, BlocksAreAsLargeAsTheyCanBe) {
  ept_.Fill(FirmwareSettings());
  const unsigned largest = GetParam() ? 30 : 21;
  EXPECT_EQ(ept_.Map({2 * kGByte}).block_shift, largest);
  EXPECT_EQ(ept_.Map({3 * kGByte}).block_shift, 21u) << "a page of the GByte is not writable";
  EXPECT_EQ(ept_.Map({kGByte}).block_shift, 21u) << "a part of the GByte is absent";
  EXPECT_EQ(ept_.Map({kAbsent.begin}).block_shift, 21u);
  EXPECT_EQ(ept_.Map({0xA0000}).block_shift, 12u);
  EXPECT_EQ(ept_.Map({2 * kMByte}).block_shift, 21u);
}

TEST_P(Ept01Test, TheMostSplitsThatMtrrsCanMakeFindPages) {
  MtrrSettings types = FirmwareSettings();
  for (uint64_t i = 0; i < kVariableMtrrCount; ++i) {
    // A page of its own in a GByte of its own.
    types.variable[i] = {(3 + i) * kGByte + i * 2 * kMByte + kPageSize,
                         (PhysicalAddressMask(40) & ~kPageOffsetMask) | MtrrVariable::kV};
  }
  ept_.Fill(types);
  for (uint64_t i = 0; i < kVariableMtrrCount; ++i) {
    EXPECT_EQ(ept_.Map({types.variable[i].base}).block_shift, 12u);
    EXPECT_TRUE(ept_.Map({types.variable[i].base}).is_present());
  }
  EXPECT_TRUE(ept_.Map({kAbsent.end}).is_present());
}

TEST_P(Ept01Test, FillingAgainFollowsOtherMemoryTypes) {
  ept_.Fill(FirmwareSettings());
  MtrrSettings off = FirmwareSettings();
  off.default_type = 0;
  ept_.Fill(off);
  EXPECT_EQ(ept_.Map({0}).memory_type, MemoryType::kUncacheable);
  EXPECT_EQ(ept_.Map({0}).block_shift, GetParam() ? 30u : 21u);
  EXPECT_FALSE(ept_.Map({kAbsent.begin}).is_present());
}

TEST_P(Ept01Test, FillingAgainForTheSameTypesWritesNothing) {
  MtrrSettings types = FirmwareSettings();
  ept_.Fill(types);
  storage_[0].words[0] = 0;         // as only Fill() would undo
  types.variable[1] = {kGByte, 0};  // a range that is not valid
  ept_.Fill(types);
  EXPECT_EQ(storage_[0].words[0], 0u);
  types.variable[1].mask = MtrrVariable::kV | MtrrVariable::kAddress;
  ept_.Fill(types);
  EXPECT_NE(storage_[0].words[0], 0u);
}

TEST(EffectiveMtrrs, AreEqualIfAllTypesAre) {
  const MtrrSettings types = FirmwareSettings();
  MtrrSettings other = types;
  other.variable[3].base = kGByte;
  EXPECT_EQ(EffectiveMtrrs(other), EffectiveMtrrs(types)) << "not valid";
  other = types;
  other.fixed[1] = 0;
  EXPECT_NE(EffectiveMtrrs(other), EffectiveMtrrs(types));
  MtrrSettings without_fixed = types;
  without_fixed.default_type &= ~MtrrDefType::kFe;
  other.default_type = without_fixed.default_type;
  EXPECT_EQ(EffectiveMtrrs(other), EffectiveMtrrs(without_fixed));
  other.default_type = 0;
  EXPECT_EQ(EffectiveMtrrs(other), EffectiveMtrrs(MtrrSettings{}));
  EXPECT_NE(EffectiveMtrrs(MtrrSettings{}), EffectiveMtrrs());
}

TEST(EffectiveMtrrs, TypesEndAtTheBordersOfRanges) {
  const EffectiveMtrrs types(FirmwareSettings());
  EXPECT_EQ(types.SameTypeUntil(0), 0xA0000u) << "fixed ranges of one type";
  EXPECT_EQ(types.SameTypeUntil(0xA0000), 0xC0000u);
  EXPECT_EQ(types.SameTypeUntil(kMByte), 2 * kGByte);
  EXPECT_EQ(types.SameTypeUntil(2 * kGByte - 1), 2 * kGByte);
  EXPECT_GE(types.SameTypeUntil(2 * kGByte), 4 * kGByte);
  EXPECT_GT(EffectiveMtrrs(MtrrSettings{}).SameTypeUntil(0), Ept01::kSpan) << "MTRRs are off";
}

TEST(EffectiveMtrrs, UntilTheEndAllTypesAreTheSame) {
  MtrrSettings settings = FirmwareSettings();
  // A mask with gaps, and one that takes every address.
  settings.variable[1] = {5 * kPageSize | static_cast<uint64_t>(MemoryType::kWriteThrough),
                          0x100'5000 | MtrrVariable::kV};
  settings.variable[2] = {static_cast<uint64_t>(MemoryType::kWriteBack), MtrrVariable::kV};
  const EffectiveMtrrs types(settings);
  constexpr uint64_t kLast = 36 * kMByte;
  uint64_t borders = 0;
  for (uint64_t begin = 0; begin < kLast; ++borders) {
    const uint64_t end = types.SameTypeUntil(begin);
    ASSERT_GT(end, begin);
    ASSERT_EQ(end % kPageSize, 0u);
    for (uint64_t address = begin; address < end && address < kLast; address += kPageSize) {
      ASSERT_EQ(settings.TypeOf(address), settings.TypeOf(begin)) << address;
    }
    begin = end;
  }
  EXPECT_GT(borders, 1000u);
}

TEST_P(Ept01Test, AMaskWithGapsTakesPagesUntilNoneIsLeft) {
  MtrrSettings types = FirmwareSettings();
  types.variable[1] = {kPageSize, kPageSize | MtrrVariable::kV};
  ept_.Fill(types);
  EXPECT_TRUE(ept_.Map({kMByte}).is_present());
  EXPECT_EQ(ept_.Map({2 * kMByte + kPageSize}).memory_type, types.TypeOf(2 * kMByte + kPageSize));
  EXPECT_FALSE(ept_.Map({Ept01::kSpan - 1}).is_present());
  ept_.Fill(FirmwareSettings());
  EXPECT_TRUE(ept_.Map({Ept01::kSpan - 1}).is_present());
  EXPECT_FALSE(ept_.Map({kAbsent.begin}).is_present());
}

TEST_P(Ept01Test, ThePointerNamesTheFirstPageFourLevelsAndWriteBack) {
  EXPECT_EQ(ept_.pointer(), kAbsent.begin | 0x1E);
}

}  // namespace
}  // namespace nvmx::metal
