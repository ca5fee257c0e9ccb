// SPDX-License-Identifier: Apache-2.0
//
// What WRMSR of IA32_APIC_BASE refuses. SDM Vol. 3A, 11.4.4 "Local APIC Status and
// Location"; 11.12.5 "x2APIC State Transitions".
#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/machine/testing/processor_fixture.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kPage = 0xFEE0'0000;
constexpr uint64_t kXApic = kPage | ApicBase::kEnable;
constexpr uint64_t kX2Apic = kXApic | ApicBase::kEnableX2Apic;

class ApicBaseTest : public ProcessorTest {
 protected:
  bool Write(uint64_t value) { return cpu_.WriteMsr(Index(Msr::IA32_APIC_BASE), value); }
  uint64_t Read() { return *cpu_.ReadMsr(Index(Msr::IA32_APIC_BASE)); }
};

TEST_F(ApicBaseTest, AfterResetItIsOn) { EXPECT_EQ(Read(), kXApic); }

TEST_F(ApicBaseTest, ReservedBitsAre0) {
  for (unsigned bit : {0u, 1u, 2u, 3u, 4u, 5u, 6u, 7u, 9u}) {
    EXPECT_FALSE(Write(kXApic | uint64_t{1} << bit)) << bit;
  }
  EXPECT_EQ(Read(), kXApic);
  EXPECT_TRUE(Write(kXApic | ApicBase::kBsp));
}

TEST_F(ApicBaseTest, TheAddressIsWithinTheWidth) {
  const uint64_t width = SimulatedCapabilities().physical_address_width;
  EXPECT_FALSE(Write(kXApic | uint64_t{1} << width));
  EXPECT_TRUE(Write(kXApic | uint64_t{1} << (width - 1)));
}

TEST_F(ApicBaseTest, X2ApicModeIsEnteredFromXApicMode) {
  EXPECT_TRUE(Write(kX2Apic));
  EXPECT_EQ(Read(), kX2Apic);
}

TEST_F(ApicBaseTest, ADisabledApicDoesNotEnterX2ApicMode) {
  ASSERT_TRUE(Write(kPage));
  EXPECT_FALSE(Write(kX2Apic));
  EXPECT_TRUE(Write(kXApic));
}

TEST_F(ApicBaseTest, X2ApicModeIsNotWithoutTheApic) {
  EXPECT_FALSE(Write(kPage | ApicBase::kEnableX2Apic));
  ASSERT_TRUE(Write(kX2Apic));
  EXPECT_FALSE(Write(kPage | ApicBase::kEnableX2Apic));
}

TEST_F(ApicBaseTest, X2ApicModeIsLeftByDisabling) {
  ASSERT_TRUE(Write(kX2Apic));
  EXPECT_FALSE(Write(kXApic));
  EXPECT_TRUE(Write(kPage));
  EXPECT_TRUE(Write(kXApic));
}

}  // namespace
}  // namespace nvmx::sim
