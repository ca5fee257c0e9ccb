// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_needs.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/sim/machine/processor_profile.h"
#include "core/nested/offered_capabilities.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class ProgramNeedsTest : public testing::Test {
 protected:
  // What the program misses that has these operations in its setup, on a processor from which
  // `remove` has taken something.
  template <typename Remove>
  std::vector<std::string> Missing(const std::string& operations, Remove remove) {
    Capabilities hardware = SimulatedCapabilities();
    remove(hardware);
    const absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble(
        "test.yaml",
        absl::StrCat(
            "name: test\ncpus:\n  - memory:\n      vmxon: {bytes: 4096}\n      vmcs: {bytes: "
            "4096}\n      ept: {ept: {identity: 1G}}\n      small: {ept: {identity: 2M}}\n"
            "    setup:\n      - enter_vmx: vmxon\n      - baseline_vmcs: vmcs\n",
            operations),
        1);
    EXPECT_TRUE(program.ok()) << program.status();
    if (!program.ok()) return {};
    return MissingCapabilities(*program, OfferedCapabilities(SimulatedCapabilities()),
                               OfferedCapabilities(hardware));
  }
  static void RemoveSecondary(Capabilities& c, uint32_t bits) {
    c.procbased_ctls2 &= ~(uint64_t{bits} << 32);
  }
};

constexpr auto kNothing = [](Capabilities&) {};

TEST_F(ProgramNeedsTest, NothingIsMissingOnTheSimulatedProcessor) {
  EXPECT_THAT(Missing("      - use_ept: {eptp_of: ept, accessed_dirty: true}\n", kNothing),
              IsEmpty());
}

TEST_F(ProgramNeedsTest, AControlThatTheProgramWants) {
  const auto remove = [](Capabilities& c) { RemoveSecondary(c, Secondary::kWbinvdExiting); };
  EXPECT_THAT(Missing("      - add_controls: {secondary: [WBINVD_EXITING]}\n", remove),
              ElementsAre("WBINVD_EXITING"));
  EXPECT_THAT(Missing("      - add_controls: {secondary: [RDRAND_EXITING]}\n", remove), IsEmpty());
}

TEST_F(ProgramNeedsTest, AFieldThatTheProgramReads) {
  const auto remove = [](Capabilities& c) { RemoveSecondary(c, Secondary::kUseTscScaling); };
  EXPECT_THAT(Missing("      - vmread: TSC_MULTIPLIER\n", remove), ElementsAre("TSC_MULTIPLIER"));
  EXPECT_THAT(Missing("      - vmread: TSC_OFFSET\n", remove), IsEmpty());
}

TEST_F(ProgramNeedsTest, EptPointersThatNoVmEntryAcceptsNameNoTables) {
  const auto remove = [](Capabilities& c) { c.ept_vpid_cap &= ~EptVpidCap::k1GByteMapping; };
  for (const char* value : {"0xffffffffffffffff", "0xfffffffffffff01e", "0x0", "0xe"}) {
    EXPECT_THAT(Missing(absl::StrCat("      - vmwrite: {field: EPT_POINTER, value: ", value, "}\n"),
                        remove),
                IsEmpty())
        << value;
  }
}

TEST_F(ProgramNeedsTest, FlagsOfEpt) {
  const auto remove = [](Capabilities& c) {
    c.ept_vpid_cap &= ~EptVpidCap::kAccessedAndDirtyFlags;
  };
  EXPECT_THAT(Missing("      - use_ept: {eptp_of: ept, accessed_dirty: true}\n", remove),
              ElementsAre("accessed and dirty flags of EPT"));
  EXPECT_THAT(Missing("      - use_ept: ept\n", remove), IsEmpty());
}

TEST_F(ProgramNeedsTest, LargePagesOfEpt) {
  const auto remove = [](Capabilities& c) { c.ept_vpid_cap &= ~EptVpidCap::k1GByteMapping; };
  EXPECT_THAT(Missing("      - use_ept: ept\n", remove), ElementsAre("1-GByte pages of EPT"));
  EXPECT_THAT(Missing("      - use_ept: small\n", remove), IsEmpty());
}

TEST_F(ProgramNeedsTest, ABitOfCr4) {
  const auto remove = [](Capabilities& c) { c.cr4_fixed1 &= ~Cr4::kSmep; };
  EXPECT_THAT(
      Missing("      - vmwrite: {field: GUEST_CR4, value: {cr4: [PAE, VMXE, SMEP]}}\n", remove),
      ElementsAre("bit 20 of CR4"));
  EXPECT_THAT(Missing("      - vmwrite: {field: GUEST_CR4, value: {cr4: [PAE, VMXE]}}\n", remove),
              IsEmpty());
}

TEST_F(ProgramNeedsTest, ATypeOfInvvpid) {
  const auto remove = [](Capabilities& c) {
    c.ept_vpid_cap &= ~EptVpidCap::kInvvpidIndividualAddress;
  };
  EXPECT_THAT(Missing("      - invvpid: {type: individual_address, vpid: 1, address: 0}\n", remove),
              ElementsAre("this type of invvpid"));
  EXPECT_THAT(Missing("      - invvpid: {type: all_contexts}\n", remove), IsEmpty());
}

TEST_F(ProgramNeedsTest, L0NeedsVirtualNmis) {
  Capabilities hardware = SimulatedCapabilities();
  EXPECT_THAT(MissingForL0(hardware), IsEmpty());
  hardware.pinbased_ctls = hardware.true_pinbased_ctls =
      hardware.true_pinbased_ctls & ~(uint64_t{PinBased::kVirtualNmis} << 32);
  EXPECT_THAT(MissingForL0(hardware), ElementsAre("VIRTUAL_NMIS"));
}

}  // namespace
}  // namespace nvmx::sim
