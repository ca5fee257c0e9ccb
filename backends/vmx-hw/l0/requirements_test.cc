// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/requirements.h"

#include "core/testing/builders.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

TEST(WhyVmxIsOff, SaysWhatAPersonCanDo) {
  EXPECT_NE(WhyVmxIsOff(false, 0), "");
  EXPECT_NE(WhyVmxIsOff(true, FeatureControl::kLock), "");
  EXPECT_EQ(WhyVmxIsOff(true, FeatureControl::kLock | FeatureControl::kEnableVmxOutsideSmx), "");
  EXPECT_EQ(WhyVmxIsOff(true, 0), "") << "L0 turns it on and locks it";
}

void Remove(uint64_t& capability_msr, uint32_t control) {
  capability_msr &= ~(uint64_t{control} << 32);
}

TEST(WhatIsMissing, NothingOfACompleteProcessor) {
  EXPECT_EQ(WhatIsMissing(BuildHardwareCapabilities()), "");
}

TEST(WhatIsMissing, NamesEachThing) {
  Capabilities c = BuildHardwareCapabilities();
  Remove(c.procbased_ctls2, Secondary::kEnableEpt);
  EXPECT_EQ(WhatIsMissing(c), "EPT");
  c = BuildHardwareCapabilities();
  Remove(c.procbased_ctls2, Secondary::kUnrestrictedGuest);
  EXPECT_EQ(WhatIsMissing(c), "unrestricted guest");
  c = BuildHardwareCapabilities();
  Remove(c.true_pinbased_ctls, PinBased::kVirtualNmis);
  EXPECT_EQ(WhatIsMissing(c), "virtual NMIs");
  c = BuildHardwareCapabilities();
  Remove(c.true_procbased_ctls, PrimaryProcessorBased::kUseMsrBitmaps);
  EXPECT_EQ(WhatIsMissing(c), "MSR bitmaps");
  c = BuildHardwareCapabilities();
  c.misc &= ~VmxMisc::kActivityStateWaitForSipi;
  EXPECT_EQ(WhatIsMissing(c), "the activity state wait-for-SIPI");
  c = BuildHardwareCapabilities();
  c.ept_vpid_cap &= ~EptVpidCap::kInveptAllContext;
  EXPECT_EQ(WhatIsMissing(c), "EPT with 2-MByte pages, WB and INVEPT");
}

}  // namespace
}  // namespace nvmx::metal
