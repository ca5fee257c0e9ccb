// SPDX-License-Identifier: Apache-2.0
#include "core/testing/builders.h"

#include "core/nested/entry_checks.h"
#include "core/nested/nested_entry.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

TEST(BuildersTest, ValidVmcs12PassesEveryCheck) {
  const Capabilities offered = BuildOfferedCapabilities();
  const VmcsImage vmcs12 = ValidVmcs12(offered);
  EXPECT_EQ(CheckControlsAndHostState(vmcs12, offered), std::nullopt);
  EXPECT_EQ(CheckGuestState(vmcs12, offered), std::nullopt);
}

TEST(FakeVcpuTest, L1EntersL2WithTheValidVmcs12) {
  FakeVcpu l1;
  l1.MakeCurrentVmcs12(ValidVmcs12(l1.state.offered));
  EXPECT_THAT(EnterL2(l1.vcpu(), /*launch=*/true), Enters());
  EXPECT_TRUE(l1.L2Runs());
}

}  // namespace
}  // namespace nvmx
