// SPDX-License-Identifier: Apache-2.0
//
// What the SDM leaves open is no defect, and nothing else is excused by it.
#include "backends/sim/machine/left_open.h"

#include <string>

#include "backends/sim/program/comparison.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::sim {
namespace {

// L1 with L2 on EPT; what `run` and `l2` hold follows the setup.
ProgramResult RunOnReference(const std::string& run, const std::string& l2) {
  const std::string text = R"(
name: left open
cpus:
  - memory:
      vmxon: {at: 0x10000, bytes: 4096}
      vmcs: {at: 0x11000, bytes: 4096}
      other: {at: 0x12000, bytes: 4096}
      ept: {at: 0x20000, ept: {identity: 2M}}
    setup:
      - enter_vmx: vmxon
      - baseline_vmcs: vmcs
      - use_ept: ept
    run:
)" + run + "    l2:\n" + l2;
  absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble("test.yaml", text, 1);
  EXPECT_TRUE(program.ok()) << program.status();
  NativeMachine machine(1, TlbPolicy::kEvictAtOnce);
  ProgramResult result;
  machine.Run(*program, result);
  return result;
}

TEST(LeftOpenTest, AnOrdinaryProgramLeavesNothingOpen) {
  const ProgramResult result =
      RunOnReference("      - vmlaunch\n      - observe_exit\n", "      - vmcall\n");
  EXPECT_EQ(result.left_open, LeftOpen::kNothing);
  EXPECT_TRUE(result.left_open_at.empty());
}

TEST(LeftOpenTest, APagingFlagInATableOfEpt) {
  // The EPT PML4 table, seen as L2's: its entries lack the accessed flag of paging.
  const ProgramResult result =
      RunOnReference("      - vmwrite: {field: GUEST_CR3, address_of: ept}\n      - vmlaunch\n",
                     "      - vmcall\n");
  EXPECT_EQ(result.left_open, LeftOpen::kPagingFlagInEptTable);
}

TEST(LeftOpenTest, APagingStructureInTheApicAccessPage) {
  const ProgramResult result = RunOnReference(
      "      - use_apic_access_page: other\n"
      "      - vmwrite: {field: GUEST_CR3, address_of: other}\n      - vmlaunch\n",
      "      - vmcall\n");
  EXPECT_EQ(result.left_open, LeftOpen::kPagingStructureInApicAccessPage);
}

TEST(LeftOpenTest, AWriteToTheRegionOfAnActiveVmcs) {
  const ProgramResult result = RunOnReference(
      "      - vmread: GUEST_RIP\n"
      "      - write_memory: {address_of: vmcs, width: 4, value: 0}\n",
      "      - vmcall\n");
  EXPECT_EQ(result.left_open, LeftOpen::kRegionOfActiveVmcsWritten);
  // After the observation of the VMREAD.
  ASSERT_EQ(result.left_open_at.size(), 1u);
  EXPECT_EQ(result.left_open_at[0], 1u);
}

TEST(LeftOpenTest, ARegionThatVmclearHasReleasedMayBeWritten) {
  const ProgramResult result = RunOnReference(
      "      - vmclear: vmcs\n"
      "      - write_memory: {address_of: vmcs, width: 4, value: 0}\n",
      "      - vmcall\n");
  EXPECT_EQ(result.left_open, LeftOpen::kNothing);
}

TEST(LeftOpenTest, AVmcsThatVmclearHasNotInitialized) {
  const std::string load = "      - initialize_vmx_region: other\n      - vmptrld: other\n";
  EXPECT_EQ(RunOnReference(load, "      - vmcall\n").left_open, LeftOpen::kVmcsNotInitialized);
  EXPECT_EQ(RunOnReference("      - vmclear: other\n" + load, "      - vmcall\n").left_open,
            LeftOpen::kNothing);
}

TEST(LeftOpenTest, AVmcsWhoseDataIsWrittenAfterVmclear) {
  EXPECT_EQ(
      RunOnReference("      - initialize_vmx_region: other\n      - vmclear: other\n"
                     "      - write_memory: {address_of: other, offset: 64, width: 8, value: 1}\n"
                     "      - vmptrld: other\n",
                     "      - vmcall\n")
          .left_open,
      LeftOpen::kVmcsNotInitialized);
}

TEST(LeftOpenTest, TheNextRunBeginsWithNothing) {
  NativeMachine machine(1, TlbPolicy::kEvictAtOnce);
  const auto run = [&](const std::string& operation) {
    ProgramResult result;
    machine.Run(*lhv::Assemble("test.yaml",
                               "name: x\ncpus:\n  - memory: {vmxon: {bytes: 4096}, vmcs: {bytes: "
                               "4096}}\n    setup:\n      - enter_vmx: vmxon\n      - "
                               "baseline_vmcs: vmcs\n    run:\n      - " +
                                   operation,
                               1),
                result);
    return result.left_open;
  };
  EXPECT_EQ(run("write_memory: {address_of: vmcs, width: 4, value: 0}"),
            LeftOpen::kRegionOfActiveVmcsWritten);
  EXPECT_EQ(run("nop"), LeftOpen::kNothing);
}

// The shrunk input of a fuzzer: the VMCS's header turns into that of a shadow VMCS while the VMCS
// is active. The processor may notice or not.
TEST(LeftOpenTest, ADifferenceBehindItIsExcused) {
  absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble("test.yaml", R"(
name: header of an active VMCS
cpus:
  - memory:
      vmxon: {bytes: 4096}
      vmcs: {bytes: 4096}
      other: {bytes: 4096}
    setup:
      - enter_vmx: vmxon
      - baseline_vmcs: vmcs
    run:
      - write_memory: {address_of: vmcs, offset: 3, width: 1, value: 0xee}
      - initialize_vmx_region: other
      - vmclear: other
      - vmptrld: other
      - vmptrld: vmcs
      - vmlaunch
    l2:
      - vmcall
)",
                                                            1);
  ASSERT_TRUE(program.ok()) << program.status();
  Comparer comparer(1);
  Comparison comparison;
  comparer.Compare(*program, comparison);
  EXPECT_EQ(comparison.likeness, Likeness::kLeftOpen) << Name(comparison.likeness);
}

// The same place in the log decides: a difference that came before is a defect.
TEST(LeftOpenTest, ADifferenceBeforeItIsNot) {
  Comparison comparison;
  comparison.keep.cpus.resize(1);
  comparison.difference.emplace();
  comparison.difference->position = 3;
  comparison.evict.left_open = LeftOpen::kRegionOfActiveVmcsWritten;
  comparison.evict.left_open_at = {4};
  EXPECT_FALSE(IsLeftOpen(comparison));
  comparison.evict.left_open_at = {3};
  EXPECT_TRUE(IsLeftOpen(comparison));
}

}  // namespace
}  // namespace nvmx::sim
