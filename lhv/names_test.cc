// SPDX-License-Identifier: Apache-2.0
#include "lhv/names.h"

#include "core/vmx/controls.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "core/x86/mtrr.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::lhv {
namespace {

TEST(Names, EveryFieldIsFoundByItsName) {
  EXPECT_EQ(FieldNames().size(), kVmcsFieldCount);
  for (const VmcsFieldInformation& row : kVmcsFields) {
    EXPECT_EQ(FieldByName(FieldText(Encoding(row.field))), Encoding(row.field)) << row.name;
  }
}

TEST(Names, TheHighHalfOfA64BitFieldHasAName) {
  EXPECT_EQ(FieldText(0x2011), "TSC_OFFSET_HIGH");
  EXPECT_EQ(FieldByName("TSC_OFFSET_HIGH"), 0x2011u);
  EXPECT_EQ(FieldByName("GUEST_RIP_HIGH"), std::nullopt);
}

TEST(Names, AnUnknownEncodingIsANumber) {
  EXPECT_EQ(FieldText(0x7ffe), "0x7ffe");
  EXPECT_EQ(FieldByName("NO_SUCH_FIELD"), std::nullopt);
}

TEST(Names, MsrsOfBanksAreNumbered) {
  EXPECT_EQ(MsrByName("IA32_MTRR_PHYSMASK9"), Index(MtrrPhysMask(9)));
  EXPECT_EQ(MsrByName("IA32_MTRR_PHYSMASK10"), std::nullopt);
  EXPECT_EQ(MsrText(Index(MciStatus(3))), "IA32_MC3_STATUS");
  EXPECT_EQ(MsrText(0xdead), "0xdead");
}

TEST(Names, NoMsrHasTwoNames) {
  for (const std::string& name : MsrNames()) EXPECT_EQ(MsrText(*MsrByName(name)), name);
}

TEST(Names, ControlBitsBelongToTheirField) {
  const uint32_t pin = Encoding(VmcsField::kPinBasedControls);
  const uint32_t exit = Encoding(VmcsField::kVmExitControls);
  EXPECT_EQ(ControlBitByName(pin, "NMI_EXITING"), PinBased::kNmiExiting);
  EXPECT_EQ(ControlBitByName(exit, "NMI_EXITING"), std::nullopt);
  EXPECT_EQ(ControlBitByName(exit, "LOAD_IA32_PAT"), VmExit::kLoadIa32Pat);
  EXPECT_TRUE(IsControlField(pin));
  EXPECT_FALSE(IsControlField(Encoding(VmcsField::kGuestRip)));
  EXPECT_EQ(ControlFieldNames().size(), 7u);
}

TEST(Names, ControlBitsArePrintedByNameAndTheRestAsANumber) {
  const uint32_t pin = Encoding(VmcsField::kPinBasedControls);
  EXPECT_EQ(ControlBitsText(pin, 0x2A), "NMI_EXITING | VIRTUAL_NMIS | 0x2");
  EXPECT_EQ(ControlBitsText(pin, 0), "0");
}

TEST(Names, TheNearestNameIsOneThatAPersonMayHaveMeant) {
  EXPECT_EQ(NearestName("vmluanch", {"vmxon", "vmlaunch"}), "vmlaunch");
  EXPECT_EQ(NearestName("guest_rip", {"GUEST_RIP", "GUEST_RSP"}), "GUEST_RIP");
  EXPECT_EQ(NearestName("NMI_EXIT", {"VIRTUAL_NMIS", "NMI_EXITING"}), "NMI_EXITING");
  EXPECT_EQ(NearestName("banana", {"vmxon", "vmlaunch"}), "");
}

}  // namespace
}  // namespace nvmx::lhv
