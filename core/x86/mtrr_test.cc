// SPDX-License-Identifier: Apache-2.0
#include "core/x86/mtrr.h"

#include <cstdint>
#include <initializer_list>
#include <optional>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr unsigned kWidth = 36;  // the physical-address width of the tests
constexpr uint32_t kDefType = Index(Msr::IA32_MTRR_DEF_TYPE);
constexpr uint64_t kUc = 0;
constexpr uint64_t kWc = 1;
constexpr uint64_t kWt = 4;
constexpr uint64_t kWp = 5;
constexpr uint64_t kWb = 6;
constexpr uint64_t kMByte = 1 << 20;
constexpr uint64_t kFarAbove = 64 * kMByte;  // outside every range of the tests

constexpr uint32_t kFixedMsrs[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26A,
                                   0x26B, 0x26C, 0x26D, 0x26E, 0x26F};

// MTRRs enabled, fixed ranges disabled, the given default type.
MtrrSettings Enabled(uint64_t default_type) {
  MtrrSettings settings;
  settings.default_type = MtrrDefType::kE | default_type;
  return settings;
}

// Variable range `n` covers [base, base + size), the size a power of two.
void SetVariable(MtrrSettings& settings, unsigned n, uint64_t base, uint64_t size, uint64_t type) {
  settings.variable[n] = {base | type,
                          (PhysicalAddressMask(kWidth) & ~(size - 1)) | MtrrVariable::kV};
}

TEST(MtrrRegisterTest, TheRegistersAreTenPairsElevenFixedAndTwoMore) {
  unsigned count = 0;
  for (uint32_t msr = 0; msr < 0x1000; ++msr) count += MtrrSettings::IsMtrr(msr);
  EXPECT_EQ(count, 2u * kVariableMtrrCount + kFixedMtrrCount + 2u);
}

TEST(MtrrRegisterTest, TheLastVariablePairIsTheTenth) {
  EXPECT_TRUE(MtrrSettings::IsMtrr(0x200));
  EXPECT_TRUE(MtrrSettings::IsMtrr(0x213));
  EXPECT_FALSE(MtrrSettings::IsMtrr(0x1FF));
  EXPECT_FALSE(MtrrSettings::IsMtrr(0x214));
  EXPECT_FALSE(MtrrSettings::IsValidWrite(0x214, kWb, kWidth));
  EXPECT_EQ(MtrrSettings().Read(0x214), std::nullopt);
}

TEST(MtrrRegisterTest, ThePatIsNotAnMtrr) { EXPECT_FALSE(MtrrSettings::IsMtrr(0x277)); }

TEST(MtrrRegisterTest, EachRegisterReadsBackWhatWasWrittenAndNoOtherChanges) {
  for (uint32_t msr = 0x200; msr < 0x300; ++msr) {
    if (!MtrrSettings::IsMtrr(msr)) continue;
    MtrrSettings settings;
    settings.Write(msr, 0x0606060606060606);
    for (uint32_t other = 0x200; other < 0x300; ++other) {
      if (!MtrrSettings::IsMtrr(other)) continue;
      EXPECT_EQ(settings.Read(other), other == msr ? 0x0606060606060606 : 0) << msr << other;
    }
  }
}

TEST(MtrrRegisterTest, MtrrcapTellsTenRangesFixedRangesAndWriteCombining) {
  EXPECT_EQ(MtrrSettings().Read(Index(Msr::IA32_MTRRCAP)), 0x50Au);
}

TEST(MtrrRegisterTest, MtrrcapIsReadOnly) {
  EXPECT_FALSE(MtrrSettings::IsValidWrite(Index(Msr::IA32_MTRRCAP), kMtrrCap, kWidth));
  MtrrSettings settings;
  settings.Write(Index(Msr::IA32_MTRRCAP), 0);
  EXPECT_EQ(settings, MtrrSettings());
}

TEST(MtrrWriteTest, DefTypeTakesTypeAndTwoEnableBits) {
  for (uint64_t type : {kUc, kWc, kWt, kWp, kWb}) {
    EXPECT_TRUE(MtrrSettings::IsValidWrite(kDefType, type | 0xC00, kWidth)) << type;
  }
}

TEST(MtrrWriteTest, DefTypeRefusesEveryReservedBit) {
  for (unsigned bit = 8; bit < 64; ++bit) {
    const bool defined = bit == 10 || bit == 11;
    EXPECT_EQ(MtrrSettings::IsValidWrite(kDefType, kWb | uint64_t{1} << bit, kWidth), defined)
        << bit;
  }
}

TEST(MtrrWriteTest, DefTypeRefusesReservedMemoryTypes) {
  for (uint64_t type : {2, 3, 7, 8, 0xFF}) {
    EXPECT_FALSE(MtrrSettings::IsValidWrite(kDefType, type, kWidth)) << type;
  }
}

TEST(MtrrWriteTest, EachByteOfAFixedRangeRegisterIsAMemoryType) {
  for (uint32_t msr : kFixedMsrs) {
    EXPECT_TRUE(MtrrSettings::IsValidWrite(msr, 0x0605040100060504, kWidth));
    for (unsigned byte = 0; byte < 8; ++byte) {
      EXPECT_FALSE(MtrrSettings::IsValidWrite(msr, uint64_t{2} << (8 * byte), kWidth))
          << msr << " " << byte;
      EXPECT_FALSE(MtrrSettings::IsValidWrite(msr, uint64_t{7} << (8 * byte), kWidth))
          << msr << " " << byte;
    }
  }
}

TEST(MtrrWriteTest, PhysBaseRefusesReservedBitsAndTheBitsBeyondThePhysicalAddressWidth) {
  for (unsigned bit = 8; bit < 64; ++bit) {
    const bool defined = bit >= 12 && bit < kWidth;
    for (uint32_t msr : {0x200, 0x212}) {
      EXPECT_EQ(MtrrSettings::IsValidWrite(msr, kWb | uint64_t{1} << bit, kWidth), defined) << bit;
    }
  }
}

TEST(MtrrWriteTest, PhysBaseRefusesReservedMemoryTypes) {
  EXPECT_TRUE(MtrrSettings::IsValidWrite(0x200, kWc, kWidth));
  for (uint64_t type : {2, 3, 7, 8, 0xFF}) {
    EXPECT_FALSE(MtrrSettings::IsValidWrite(0x200, type, kWidth)) << type;
  }
}

TEST(MtrrWriteTest, PhysMaskRefusesReservedBitsAndTheBitsBeyondThePhysicalAddressWidth) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const bool defined = bit >= 11 && bit < kWidth;
    for (uint32_t msr : {0x201, 0x213}) {
      EXPECT_EQ(MtrrSettings::IsValidWrite(msr, uint64_t{1} << bit, kWidth), defined) << bit;
    }
  }
}

TEST(MtrrTypeTest, EverythingIsUncacheableWhileMtrrsAreDisabled) {
  MtrrSettings settings = Enabled(kWb);
  SetVariable(settings, 0, 2 * kMByte, kMByte, kWt);
  settings.default_type = MtrrDefType::kFe | kWb;
  for (uint64_t& fixed : settings.fixed) fixed = 0x0606060606060606;
  for (uint64_t address : {uint64_t{0}, 2 * kMByte, kFarAbove}) {
    EXPECT_EQ(settings.TypeOf(address), MemoryType::kUncacheable);
  }
}

TEST(MtrrTypeTest, TheDefaultTypeIsForAddressesInNoRange) {
  MtrrSettings settings = Enabled(kWp);
  SetVariable(settings, 0, 2 * kMByte, kMByte, kWb);
  EXPECT_EQ(settings.TypeOf(2 * kMByte - 1), MemoryType::kWriteProtected);
  EXPECT_EQ(settings.TypeOf(3 * kMByte), MemoryType::kWriteProtected);
}

TEST(MtrrTypeTest, AVariableRangeCoversItsFirstToItsLastByte) {
  MtrrSettings settings = Enabled(kUc);
  SetVariable(settings, kVariableMtrrCount - 1, 2 * kMByte, kMByte, kWb);
  EXPECT_EQ(settings.TypeOf(2 * kMByte), MemoryType::kWriteBack);
  EXPECT_EQ(settings.TypeOf(3 * kMByte - 1), MemoryType::kWriteBack);
}

TEST(MtrrTypeTest, AVariableRangeThatIsNotValidDoesNotCount) {
  MtrrSettings settings = Enabled(kUc);
  SetVariable(settings, 0, 2 * kMByte, kMByte, kWb);
  settings.variable[0].mask &= ~MtrrVariable::kV;
  EXPECT_EQ(settings.TypeOf(2 * kMByte), MemoryType::kUncacheable);
}

TEST(MtrrTypeTest, AMaskWithHolesSelectsEveryAddressThatMatches) {
  MtrrSettings settings = Enabled(kUc);
  settings.variable[0] = {kWb, kMByte | MtrrVariable::kV};  // addresses whose bit 20 is 0
  EXPECT_EQ(settings.TypeOf(0), MemoryType::kWriteBack);
  EXPECT_EQ(settings.TypeOf(kMByte), MemoryType::kUncacheable);
  EXPECT_EQ(settings.TypeOf(2 * kMByte), MemoryType::kWriteBack);
}

// What two overlapping ranges give, in either order of the pairs, and with a third pair that does
// not match.
MemoryType Overlap(uint64_t type, uint64_t other_type) {
  MtrrSettings settings = Enabled(kWb);
  SetVariable(settings, 0, 0, 16 * kMByte, type);
  SetVariable(settings, 1, 2 * kMByte, kMByte, other_type);
  SetVariable(settings, 2, kFarAbove, kMByte, kUc);
  MtrrSettings swapped = settings;
  swapped.variable[0] = settings.variable[1];
  swapped.variable[1] = settings.variable[0];
  EXPECT_EQ(settings.TypeOf(2 * kMByte), swapped.TypeOf(2 * kMByte));
  return settings.TypeOf(2 * kMByte);
}

TEST(MtrrPrecedenceTest, EqualTypesGiveThatType) {
  EXPECT_EQ(Overlap(kUc, kUc), MemoryType::kUncacheable);
  EXPECT_EQ(Overlap(kWc, kWc), MemoryType::kWriteCombining);
  EXPECT_EQ(Overlap(kWt, kWt), MemoryType::kWriteThrough);
  EXPECT_EQ(Overlap(kWp, kWp), MemoryType::kWriteProtected);
  EXPECT_EQ(Overlap(kWb, kWb), MemoryType::kWriteBack);
}

TEST(MtrrPrecedenceTest, UncacheableWinsOverEveryType) {
  for (uint64_t type : {kWc, kWt, kWp, kWb}) {
    EXPECT_EQ(Overlap(kUc, type), MemoryType::kUncacheable) << type;
  }
}

TEST(MtrrPrecedenceTest, WriteThroughWinsOverWriteBack) {
  EXPECT_EQ(Overlap(kWt, kWb), MemoryType::kWriteThrough);
}

TEST(MtrrPrecedenceTest, WhatTheSdmLeavesUndefinedIsUncacheable) {
  EXPECT_EQ(Overlap(kWc, kWb), MemoryType::kUncacheable);
  EXPECT_EQ(Overlap(kWc, kWt), MemoryType::kUncacheable);
  EXPECT_EQ(Overlap(kWp, kWb), MemoryType::kUncacheable);
  EXPECT_EQ(Overlap(kWp, kWt), MemoryType::kUncacheable);
  EXPECT_EQ(Overlap(kWp, kWc), MemoryType::kUncacheable);
}

TEST(MtrrPrecedenceTest, AThirdRangeTakesPartToo) {
  MtrrSettings settings = Enabled(kWb);
  SetVariable(settings, 0, 0, 16 * kMByte, kWt);
  SetVariable(settings, 4, 0, 8 * kMByte, kWb);
  EXPECT_EQ(settings.TypeOf(0), MemoryType::kWriteThrough);
  SetVariable(settings, 9, 0, 4 * kMByte, kUc);
  EXPECT_EQ(settings.TypeOf(0), MemoryType::kUncacheable);
  EXPECT_EQ(settings.TypeOf(4 * kMByte), MemoryType::kWriteThrough);
}

TEST(MtrrFixedTest, FixedRangesTakePriorityOverVariableRangesBelow1MByte) {
  MtrrSettings settings = Enabled(kUc);
  settings.default_type |= MtrrDefType::kFe;
  for (uint64_t& fixed : settings.fixed) fixed = 0x0606060606060606;
  SetVariable(settings, 0, 0, 2 * kMByte, kUc);
  EXPECT_EQ(settings.TypeOf(0), MemoryType::kWriteBack);
  EXPECT_EQ(settings.TypeOf(kMByte - 1), MemoryType::kWriteBack);
  EXPECT_EQ(settings.TypeOf(kMByte), MemoryType::kUncacheable);
}

TEST(MtrrFixedTest, TheFirstByteFrom1MByteOnIsInNoFixedRange) {
  MtrrSettings settings = Enabled(kWp);
  settings.default_type |= MtrrDefType::kFe;
  EXPECT_EQ(settings.TypeOf(kMByte - 1), MemoryType::kUncacheable);
  EXPECT_EQ(settings.TypeOf(kMByte), MemoryType::kWriteProtected);
}

TEST(MtrrFixedTest, FixedRangesDoNotCountWhileDisabled) {
  MtrrSettings settings = Enabled(kWp);
  for (uint64_t& fixed : settings.fixed) fixed = 0x0606060606060606;
  EXPECT_EQ(settings.TypeOf(0xA0000), MemoryType::kWriteProtected);
}

// All 88 fixed ranges: the range is given a type of its own in its register and byte, and exactly
// its addresses take it. Mirrored or shifted indices fail here.
TEST(MtrrFixedTest, EachByteGivesItsTypeToExactlyItsRange) {
  uint64_t start = 0;
  for (unsigned range = 0; range < 8 * kFixedMtrrCount; ++range) {
    const uint64_t size = start < 0x80000 ? 0x10000 : start < 0xC0000 ? 0x4000 : 0x1000;
    MtrrSettings settings = Enabled(kUc);
    settings.Write(kDefType, MtrrDefType::kE | MtrrDefType::kFe | kUc);
    settings.Write(kFixedMsrs[range / 8], kWp << (8 * (range % 8)));
    for (uint64_t address = 0; address < kMByte; address += 0x1000) {
      const bool inside = address >= start && address < start + size;
      ASSERT_EQ(settings.TypeOf(address),
                inside ? MemoryType::kWriteProtected : MemoryType::kUncacheable)
          << "range " << range << " address " << address;
      ASSERT_EQ(settings.TypeOf(address), settings.TypeOf(address + 0xFFF));
    }
    start += size;
  }
  EXPECT_EQ(start, kMByte);
}

}  // namespace
}  // namespace nvmx
