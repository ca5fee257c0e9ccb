// SPDX-License-Identifier: Apache-2.0
#include "core/vmx/interruption_info.h"

#include <cstdint>

#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(InterruptionInformationTest, AnNmiIs80000202) {
  EXPECT_EQ(InterruptionInformation::Nmi().value(), 0x80000202u);
  EXPECT_TRUE(InterruptionInformation::Nmi().IsNmi());
}

TEST(InterruptionInformationTest, AnExternalInterruptIsType0) {
  EXPECT_EQ(InterruptionInformation::ExternalInterrupt(0x30).value(), 0x80000030u);
}

TEST(InterruptionInformationTest, APageFaultDeliversAnErrorCode) {
  constexpr auto kFault = InterruptionInformation::HardwareException(Vector::kPageFault);
  EXPECT_EQ(kFault.value(), 0x80000B0Eu);
  EXPECT_TRUE(kFault.deliver_error_code());
  EXPECT_TRUE(kFault.IsHardwareException(Vector::kPageFault));
  EXPECT_FALSE(kFault.IsHardwareException(Vector::kGeneralProtection));
}

TEST(InterruptionInformationTest, AnInvalidOpcodeDeliversNoErrorCode) {
  EXPECT_EQ(InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value(),
            0x80000306u);
}

TEST(InterruptionInformationTest, APendingMonitorTrapFlagIsOtherEvent0) {
  EXPECT_EQ(InterruptionInformation::MonitorTrapFlag().value(), 0x80000700u);
}

TEST(InterruptionInformationTest, FieldsAreWhereTheSdmHasThem) {
  constexpr InterruptionInformation kInformation(0x80001E80);
  EXPECT_TRUE(kInformation.valid());
  EXPECT_EQ(kInformation.vector(), 0x80u);
  EXPECT_EQ(kInformation.type(), InterruptionType::kSoftwareException);
  EXPECT_TRUE(kInformation.deliver_error_code());
  EXPECT_TRUE(kInformation.nmi_unblocking());
}

TEST(InterruptionInformationTest, NmiUnblockingIsBit12) {
  constexpr auto kInformation =
      InterruptionInformation::HardwareException(Vector::kGeneralProtection).WithNmiUnblocking();
  EXPECT_EQ(kInformation.value(), 0x80001B0Du);
}

TEST(InterruptionInformationTest, WithoutTheValidBitThereIsNoEvent) {
  constexpr InterruptionInformation kInformation(0x202);
  EXPECT_FALSE(kInformation.valid());
  EXPECT_FALSE(kInformation.IsNmi());
  EXPECT_FALSE(InterruptionInformation(0x30E).IsHardwareException(Vector::kPageFault));
  EXPECT_FALSE(InterruptionInformation().valid());
}

TEST(InterruptionInformationTest, VmEntryReservesBits30To12) {
  EXPECT_EQ(InterruptionInformation::kReservedOnEntry,
            ~(InterruptionInformation::kValid | InterruptionInformation::kVectorMask |
              InterruptionInformation::kTypeMask | InterruptionInformation::kErrorCode));
}

}  // namespace
}  // namespace nvmx
