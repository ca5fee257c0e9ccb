// SPDX-License-Identifier: Apache-2.0
#include "backends/variants/variant.h"
#include "core/smp/system.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

// The cell of the pending NMIs also says that EPT01 may have changed.
TEST(SwallowedWindowTest, OnlyAnNmiAsksForTheWindow) {
  const Variant* variant = FindVariant("swallowed-window");
  ASSERT_NE(variant, nullptr);
  FakeVcpu l1;
  const auto window = [&] {
    return (l1.vmcs.vmcs01().Get<VmcsField::kPrimaryProcessorBasedControls>() &
            PrimaryProcessorBased::kNmiWindowExiting) != 0;
  };
  l1.own.guest_nmis_pending.Store(l1.cpu, kEpt01Suspected);
  variant->choreography.DeliverGuestNmi(l1.vcpu());
  EXPECT_FALSE(window());
  l1.own.guest_nmis_pending.Store(l1.cpu, kEpt01Suspected + 1);
  variant->choreography.DeliverGuestNmi(l1.vcpu());
  EXPECT_TRUE(window());
}

}  // namespace
}  // namespace nvmx
