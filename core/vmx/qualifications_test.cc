// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 28.2.1, tables "Exit Qualification for Control-Register Accesses" and "Exit
// Qualification for I/O Instructions".
#include "core/vmx/qualifications.h"

#include "core/vmx/interruptibility.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(QualificationsTest, AnIoAccessHasAPortASizeAndADirection) {
  const IoAccess in(0x0CF8'000B);
  EXPECT_EQ(in.port(), 0xCF8u);
  EXPECT_EQ(in.bytes(), 4u);
  EXPECT_TRUE(in.in());
  const IoAccess out = IoAccess::Make(0x80, 1, /*in=*/false);
  EXPECT_EQ(out.value(), 0x0080'0000u);
  EXPECT_FALSE(out.in());
}

TEST(QualificationsTest, AControlRegisterAccessHasANumberATypeARegisterAndASource) {
  const ControlRegisterAccess access(0x1234'0A30 | 3);
  EXPECT_EQ(access.control_register(), 3u);
  EXPECT_EQ(access.type(), ControlRegisterAccess::Type::kLmsw);
  EXPECT_EQ(static_cast<unsigned>(access.general_register()), 10u);
  EXPECT_EQ(access.lmsw_source(), 0x1234u);
}

// SDM Vol. 3C, 25.4.2 "Guest Non-Register State".
TEST(ActivityStateTest, EachHasItsName) {
  EXPECT_STREQ(Name(ActivityState::kActive), "active");
  EXPECT_STREQ(Name(ActivityState::kHlt), "HLT");
  EXPECT_STREQ(Name(ActivityState::kShutdown), "shutdown");
  EXPECT_STREQ(Name(ActivityState::kWaitForSipi), "wait-for-SIPI");
  EXPECT_STREQ(Name(static_cast<ActivityState>(4)), "reserved");
}

}  // namespace
}  // namespace nvmx
