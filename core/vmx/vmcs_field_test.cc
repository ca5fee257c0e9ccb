// SPDX-License-Identifier: Apache-2.0
#include "core/vmx/vmcs_field.h"

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

static_assert(std::is_same_v<FieldValue<VmcsField::kHostCsSelector>, uint16_t>);
static_assert(std::is_same_v<FieldValue<VmcsField::kVirtualProcessorIdentifier>, uint16_t>);
static_assert(std::is_same_v<FieldValue<VmcsField::kExitReason>, uint32_t>);
static_assert(std::is_same_v<FieldValue<VmcsField::kGuestCsAccessRights>, uint32_t>);
static_assert(std::is_same_v<FieldValue<VmcsField::kGuestIa32Efer>, uint64_t>);
static_assert(std::is_same_v<FieldValue<VmcsField::kHostRip>, uint64_t>);

struct Expected {
  VmcsField field;
  uint32_t encoding;
};

// From the tables of Appendix B.
constexpr Expected kExpected[] = {
    {VmcsField::kVirtualProcessorIdentifier, 0x0000},
    {VmcsField::kPostedInterruptNotificationVector, 0x0002},
    {VmcsField::kEptpIndex, 0x0004},
    {VmcsField::kGuestEsSelector, 0x0800},
    {VmcsField::kGuestTrSelector, 0x080E},
    {VmcsField::kGuestInterruptStatus, 0x0810},
    {VmcsField::kPmlIndex, 0x0812},
    {VmcsField::kHostEsSelector, 0x0C00},
    {VmcsField::kHostCsSelector, 0x0C02},
    {VmcsField::kHostTrSelector, 0x0C0C},
    {VmcsField::kIoBitmapAAddress, 0x2000},
    {VmcsField::kMsrBitmapAddress, 0x2004},
    {VmcsField::kVmExitMsrStoreAddress, 0x2006},
    {VmcsField::kVmExitMsrLoadAddress, 0x2008},
    {VmcsField::kVmEntryMsrLoadAddress, 0x200A},
    {VmcsField::kTscOffset, 0x2010},
    {VmcsField::kVirtualApicAddress, 0x2012},
    {VmcsField::kApicAccessAddress, 0x2014},
    {VmcsField::kVmFunctionControls, 0x2018},
    {VmcsField::kEptPointer, 0x201A},
    {VmcsField::kEoiExitBitmap0, 0x201C},
    {VmcsField::kEoiExitBitmap3, 0x2022},
    {VmcsField::kEptpListAddress, 0x2024},
    {VmcsField::kXssExitingBitmap, 0x202C},
    {VmcsField::kTscMultiplier, 0x2032},
    {VmcsField::kTertiaryProcessorBasedControls, 0x2034},
    {VmcsField::kHlatPointer, 0x2040},
    {VmcsField::kGuestPhysicalAddress, 0x2400},
    {VmcsField::kVmcsLinkPointer, 0x2800},
    {VmcsField::kGuestIa32Debugctl, 0x2802},
    {VmcsField::kGuestIa32Pat, 0x2804},
    {VmcsField::kGuestIa32Efer, 0x2806},
    {VmcsField::kGuestPdpte0, 0x280A},
    {VmcsField::kGuestPdpte3, 0x2810},
    {VmcsField::kGuestIa32Pkrs, 0x2818},
    {VmcsField::kHostIa32Pat, 0x2C00},
    {VmcsField::kHostIa32Efer, 0x2C02},
    {VmcsField::kHostIa32PerfGlobalCtrl, 0x2C04},
    {VmcsField::kPinBasedControls, 0x4000},
    {VmcsField::kPrimaryProcessorBasedControls, 0x4002},
    {VmcsField::kExceptionBitmap, 0x4004},
    {VmcsField::kCr3TargetCount, 0x400A},
    {VmcsField::kVmExitControls, 0x400C},
    {VmcsField::kVmExitMsrStoreCount, 0x400E},
    {VmcsField::kVmExitMsrLoadCount, 0x4010},
    {VmcsField::kVmEntryControls, 0x4012},
    {VmcsField::kVmEntryMsrLoadCount, 0x4014},
    {VmcsField::kVmEntryInterruptionInformation, 0x4016},
    {VmcsField::kVmEntryExceptionErrorCode, 0x4018},
    {VmcsField::kVmEntryInstructionLength, 0x401A},
    {VmcsField::kTprThreshold, 0x401C},
    {VmcsField::kSecondaryProcessorBasedControls, 0x401E},
    {VmcsField::kVmInstructionError, 0x4400},
    {VmcsField::kExitReason, 0x4402},
    {VmcsField::kVmExitInterruptionInformation, 0x4404},
    {VmcsField::kIdtVectoringInformation, 0x4408},
    {VmcsField::kVmExitInstructionInformation, 0x440E},
    {VmcsField::kGuestEsLimit, 0x4800},
    {VmcsField::kGuestIdtrLimit, 0x4812},
    {VmcsField::kGuestEsAccessRights, 0x4814},
    {VmcsField::kGuestTrAccessRights, 0x4822},
    {VmcsField::kGuestInterruptibilityState, 0x4824},
    {VmcsField::kGuestActivityState, 0x4826},
    {VmcsField::kGuestSmbase, 0x4828},
    {VmcsField::kGuestIa32SysenterCs, 0x482A},
    {VmcsField::kVmxPreemptionTimerValue, 0x482E},
    {VmcsField::kHostIa32SysenterCs, 0x4C00},
    {VmcsField::kCr0GuestHostMask, 0x6000},
    {VmcsField::kCr3TargetValue3, 0x600E},
    {VmcsField::kExitQualification, 0x6400},
    {VmcsField::kIoRip, 0x6408},
    {VmcsField::kGuestLinearAddress, 0x640A},
    {VmcsField::kGuestCr0, 0x6800},
    {VmcsField::kGuestCr3, 0x6802},
    {VmcsField::kGuestEsBase, 0x6806},
    {VmcsField::kGuestIdtrBase, 0x6818},
    {VmcsField::kGuestDr7, 0x681A},
    {VmcsField::kGuestRsp, 0x681C},
    {VmcsField::kGuestRip, 0x681E},
    {VmcsField::kGuestRflags, 0x6820},
    {VmcsField::kGuestPendingDebugExceptions, 0x6822},
    {VmcsField::kGuestIa32SysenterEip, 0x6826},
    {VmcsField::kGuestIa32InterruptSspTableAddress, 0x682C},
    {VmcsField::kHostCr0, 0x6C00},
    {VmcsField::kHostFsBase, 0x6C06},
    {VmcsField::kHostIdtrBase, 0x6C0E},
    {VmcsField::kHostIa32SysenterEip, 0x6C12},
    {VmcsField::kHostRsp, 0x6C14},
    {VmcsField::kHostRip, 0x6C16},
    {VmcsField::kHostIa32InterruptSspTableAddress, 0x6C1C},
};

TEST(VmcsFieldTest, EncodingsAreThoseOfAppendixB) {
  for (const Expected& expected : kExpected) {
    EXPECT_EQ(Encoding(expected.field), expected.encoding) << Name(expected.field);
  }
}

TEST(VmcsFieldTest, EncodingsAndNamesAreUnique) {
  std::set<uint32_t> encodings;
  std::set<std::string> names;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    EXPECT_TRUE(encodings.insert(Encoding(row.field)).second) << row.name;
    EXPECT_TRUE(names.insert(row.name).second) << row.name;
  }
  EXPECT_EQ(encodings.size(), kVmcsFieldCount);
}

TEST(VmcsFieldTest, EncodingsHaveNoReservedBitAndAreOfTheFullField) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    EXPECT_EQ(Encoding(row.field) & FieldEncoding::kReserved, 0u) << row.name;
    EXPECT_FALSE(IsHigh(Encoding(row.field))) << row.name;
  }
}

TEST(VmcsFieldTest, RowsAreInTheOrderOfTheirEncodings) {
  for (size_t slot = 1; slot < kVmcsFieldCount; ++slot) {
    EXPECT_LT(Encoding(FieldAt(slot - 1)), Encoding(FieldAt(slot)));
  }
}

TEST(VmcsFieldTest, WidthTypeAndIndexComeFromTheEncoding) {
  EXPECT_EQ(Width(VmcsField::kHostTrSelector), FieldWidth::k16);
  EXPECT_EQ(Width(VmcsField::kEptPointer), FieldWidth::k64);
  EXPECT_EQ(Width(VmcsField::kExitReason), FieldWidth::k32);
  EXPECT_EQ(Width(VmcsField::kGuestRip), FieldWidth::kNatural);
  EXPECT_EQ(Type(VmcsField::kEptPointer), FieldType::kControl);
  EXPECT_EQ(Type(VmcsField::kExitReason), FieldType::kReadOnlyData);
  EXPECT_EQ(Type(VmcsField::kGuestRip), FieldType::kGuestState);
  EXPECT_EQ(Type(VmcsField::kHostTrSelector), FieldType::kHostState);
  EXPECT_EQ(Index(VmcsField::kEptPointer), 13u);
  EXPECT_EQ(Index(VmcsField::kVmxPreemptionTimerValue), 23u);
  EXPECT_EQ(Index(uint32_t{0x2B}), 0x15u);
}

TEST(VmcsFieldTest, AValueIsAsWideAsItsField) {
  EXPECT_EQ(ValueMask(VmcsField::kHostTrSelector), 0xFFFFu);
  EXPECT_EQ(ValueMask(VmcsField::kExitReason), 0xFFFFFFFFu);
  EXPECT_EQ(ValueMask(VmcsField::kEptPointer), ~uint64_t{0});
  EXPECT_EQ(ValueMask(VmcsField::kGuestRip), ~uint64_t{0});
}

TEST(SlotTest, SlotsAndFieldsAreABijection) {
  for (size_t slot = 0; slot < kVmcsFieldCount; ++slot) {
    EXPECT_EQ(Slot(FieldAt(slot)), slot);
    EXPECT_EQ(SlotOf(Encoding(FieldAt(slot))), slot);
    EXPECT_EQ(FieldOf(Encoding(FieldAt(slot))), FieldAt(slot));
  }
}

TEST(SlotTest, OnlyEncodingsOfTheTableHaveASlot) {
  std::set<uint32_t> encodings;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    encodings.insert(Encoding(row.field));
    if (Width(row.field) == FieldWidth::k64) encodings.insert(Encoding(row.field) + 1);
  }
  for (uint32_t encoding = 0; encoding < 0x20000; ++encoding) {
    EXPECT_EQ(SlotOf(encoding).has_value(), encodings.contains(encoding)) << std::hex << encoding;
  }
}

TEST(SlotTest, TheHighHalfOfA64BitFieldHasTheSlotOfTheField) {
  EXPECT_EQ(SlotOf(0x201B), Slot(VmcsField::kEptPointer));
  EXPECT_TRUE(IsHigh(0x201B));
}

TEST(SlotTest, FieldsOfOtherWidthsHaveNoHighHalf) {
  EXPECT_EQ(SlotOf(0x0801), std::nullopt);
  EXPECT_EQ(SlotOf(0x4403), std::nullopt);
  EXPECT_EQ(SlotOf(0x681F), std::nullopt);
}

TEST(SlotTest, EachReservedBitOfAnEncodingMatters) {
  for (unsigned bit = 0; bit < 32; ++bit) {
    const uint32_t mask = uint32_t{1} << bit;
    if ((FieldEncoding::kReserved & mask) == 0) continue;
    EXPECT_EQ(SlotOf(Encoding(VmcsField::kGuestRip) | mask), std::nullopt) << bit;
  }
}

TEST(PolicyTest, EveryReadOnlyDataFieldButTheIoRegistersIsExitInformationAndNoOtherIs) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    const bool is_for_smm = row.field == VmcsField::kIoRcx || row.field == VmcsField::kIoRsi ||
                            row.field == VmcsField::kIoRdi || row.field == VmcsField::kIoRip;
    EXPECT_EQ(Type(row.field) == FieldType::kReadOnlyData && !is_for_smm,
              row.policy == Vmcs02Policy::kExitInformation)
        << row.name;
  }
}

TEST(PolicyTest, TheWholeHostStateAreaIsHostOwned) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Type(row.field) != FieldType::kHostState) continue;
    EXPECT_EQ(row.policy, Vmcs02Policy::kHostOwned) << row.name;
  }
}

TEST(PolicyTest, OnlyControlFieldsNameAddressesOfL1) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy != Vmcs02Policy::kTranslateAddress) continue;
    EXPECT_EQ(Type(row.field), FieldType::kControl) << row.name;
    EXPECT_EQ(Width(row.field), FieldWidth::k64) << row.name;
  }
}

TEST(PolicyTest, VmFunctionControlsAreABitMaskAndNotAnAddress) {
  EXPECT_NE(Policy(VmcsField::kVmFunctionControls), Vmcs02Policy::kTranslateAddress);
}

TEST(PolicyTest, MsrListsOfVmcs02AreL0sOwn) {
  for (VmcsField field : {VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrLoadAddress,
                          VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmExitMsrStoreCount,
                          VmcsField::kVmExitMsrLoadCount, VmcsField::kVmEntryMsrLoadCount}) {
    EXPECT_EQ(Policy(field), Vmcs02Policy::kHostOwned) << Name(field);
  }
}

}  // namespace
}  // namespace nvmx
