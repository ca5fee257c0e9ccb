// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cstdint>

#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/exception.h"
#include "core/x86/general_register.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(RegistersTest, BitsAreWhereTheSdmHasThem) {
  EXPECT_EQ(Cr0::kPe | Cr0::kNe | Cr0::kPg, 0x80000021u);
  EXPECT_EQ(Cr4::kVmxe, 0x2000u);
  EXPECT_EQ(Cr4::kPae, 0x20u);
  EXPECT_EQ(Cr4::kPcide, 0x20000u);
  EXPECT_EQ(Cr4::kCet, 0x800000u);
  EXPECT_EQ(Efer::kDefined, 0xD01u);
  EXPECT_EQ(Rflags::kArithmetic, 0x8D5u);
}

TEST(RflagsTest, EachBitIsDefinedOrReserved) {
  constexpr uint64_t kDefined = Rflags::kArithmetic | Rflags::kFixed1 | Rflags::kTf | Rflags::kIf |
                                Rflags::kDf | Rflags::kIopl | Rflags::kNt | Rflags::kRf |
                                Rflags::kVm | Rflags::kAc | Rflags::kVif | Rflags::kVip |
                                Rflags::kId;
  EXPECT_EQ(kDefined, ~Rflags::kReservedMustBe0);
}

TEST(AccessRightsTest, APresentLongModeCodeSegment) {
  constexpr AccessRights kCode{0xA09B};
  EXPECT_EQ(kCode.type(),
            AccessRights::kTypeCode | AccessRights::kTypeReadable | AccessRights::kTypeAccessed);
  EXPECT_TRUE(kCode.s());
  EXPECT_EQ(kCode.dpl(), 0u);
  EXPECT_TRUE(kCode.present());
  EXPECT_TRUE(kCode.l());
  EXPECT_FALSE(kCode.db());
  EXPECT_TRUE(kCode.g());
  EXPECT_FALSE(kCode.unusable());
  EXPECT_EQ(kCode.value & AccessRights::kReserved, 0u);
}

TEST(AccessRightsTest, AnUnusableUserDataSegment) {
  constexpr AccessRights kData{0x1C0F3};
  EXPECT_EQ(kData.dpl(), 3u);
  EXPECT_TRUE(kData.db());
  EXPECT_FALSE(kData.l());
  EXPECT_TRUE(kData.unusable());
}

TEST(AccessRightsTest, EachBitIsDefinedOrReserved) {
  constexpr uint32_t kDefined = AccessRights::kType | AccessRights::kS | AccessRights::kDpl |
                                AccessRights::kP | AccessRights::kAvl | AccessRights::kL |
                                AccessRights::kDb | AccessRights::kG | AccessRights::kUnusable;
  EXPECT_EQ(kDefined, ~AccessRights::kReserved);
}

TEST(VectorTest, EightExceptionsDeliverAnErrorCode) {
  uint64_t vectors = 0;
  for (unsigned vector = 0; vector < kFirstInterruptVector; ++vector) {
    if (DeliversErrorCode(static_cast<Vector>(vector))) vectors |= uint64_t{1} << vector;
  }
  EXPECT_EQ(vectors, 0x227D00u);
  EXPECT_EQ(std::popcount(vectors), 8);
  EXPECT_FALSE(DeliversErrorCode(static_cast<Vector>(255)));
}

TEST(VectorTest, NamesAreTheSdmMnemonics) {
  EXPECT_STREQ(Name(Vector::kDivideError), "#DE");
  EXPECT_STREQ(Name(Vector::kNmi), "NMI");
  EXPECT_STREQ(Name(Vector::kGeneralProtection), "#GP");
  EXPECT_STREQ(Name(Vector::kPageFault), "#PF");
  EXPECT_STREQ(Name(Vector::kMachineCheck), "#MC");
  EXPECT_STREQ(Name(Vector::kControlProtection), "#CP");
  EXPECT_STREQ(Name(static_cast<Vector>(15)), "reserved");
  EXPECT_STREQ(Name(static_cast<Vector>(31)), "reserved");
  EXPECT_STREQ(Name(static_cast<Vector>(32)), "interrupt");
}

TEST(RegisterNameTest, NumbersAreThoseOfTheInstructionFormat) {
  EXPECT_STREQ(Name(static_cast<GeneralRegister>(4)), "RSP");
  EXPECT_STREQ(Name(GeneralRegister::kR15), "R15");
  EXPECT_STREQ(Name(static_cast<SegmentRegister>(1)), "CS");
  EXPECT_STREQ(Name(SegmentRegister::kTr), "TR");
}

}  // namespace
}  // namespace nvmx
