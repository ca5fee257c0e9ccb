// SPDX-License-Identifier: Apache-2.0
//
// What VM entry reads beside VMCS12.
#include "core/nested/entry_surroundings.h"

#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/x86/efer.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint64_t kPage = 0x30000;

class EntrySurroundingsTest : public testing::Test {
 protected:
  EntrySurroundingsTest() { l1_.MakeCurrentVmcs12(ValidVmcs12(l1_.state.offered)); }
  EntrySurroundings Read() { return ReadEntrySurroundings(l1_.vcpu()); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  void UseTprShadow(uint64_t page) {
    Vmcs12().Set<VmcsField::kPrimaryProcessorBasedControls>(
        Vmcs12().Get<VmcsField::kPrimaryProcessorBasedControls>() |
        PrimaryProcessorBased::kUseTprShadow);
    Vmcs12().Set<VmcsField::kVirtualApicAddress>(page);
  }

  FakeVcpu l1_;
};

TEST_F(EntrySurroundingsTest, TheModeIsThatOfL1) {
  EXPECT_TRUE(Read().l1_in_ia32e_mode);
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestIa32Efer>(Efer::kLme);
  EXPECT_FALSE(Read().l1_in_ia32e_mode);
}

TEST_F(EntrySurroundingsTest, TheCurrentVmcsIsL1s) {
  EXPECT_EQ(Read().current_vmcs, FakeVcpu::kVmcs12Region);
}

TEST_F(EntrySurroundingsTest, TheVtprIsAt80HOfTheVirtualApicPage) {
  l1_.memory.Poke(kPage + 0x80, uint32_t{0xABCDEF57});
  EXPECT_EQ(Read().vtpr, 0u);
  UseTprShadow(kPage);
  EXPECT_EQ(Read().vtpr, 0x57u);
}

TEST_F(EntrySurroundingsTest, WhereNoMemoryAnswersTheVtprReadsAllOnes) {
  UseTprShadow(FakeVcpu::kMemorySize);
  EXPECT_EQ(Read().vtpr, 0xFFu);
}

TEST_F(EntrySurroundingsTest, AnAddressThatTheChecksRefuseIsNotRead) {
  UseTprShadow(kPage + 8);
  l1_.log.clear();
  EXPECT_EQ(Read().vtpr, 0u);
  EXPECT_EQ(std::count(l1_.log.begin(), l1_.log.end(), "read memory"), 0);
}

TEST_F(EntrySurroundingsTest, TheRevisionIsThatOfTheLinkedRegion) {
  l1_.memory.Poke(kPage, uint32_t{0x12345678});
  EXPECT_EQ(Read().linked_revision, 0u);
  Vmcs12().Set<VmcsField::kVmcsLinkPointer>(kPage);
  EXPECT_EQ(Read().linked_revision, 0x12345678u);
}

TEST_F(EntrySurroundingsTest, TheCountersAreAskedForIfTheirMsrIsLoaded) {
  l1_.cpu.SetCpuid(0xA, 0, {0x0830'0402, 0, 0, 0x603});
  EXPECT_EQ(Read().perf_global_ctrl_reserved, ~uint64_t{0});
  Vmcs12().Set<VmcsField::kVmEntryControls>(Vmcs12().Get<VmcsField::kVmEntryControls>() |
                                            VmEntry::kLoadIa32PerfGlobalCtrl);
  EXPECT_EQ(Read().perf_global_ctrl_reserved, ~uint64_t{0x7'0000'000F});
}

TEST_F(EntrySurroundingsTest, WithoutVersion2ThereIsNoCounterToEnable) {
  l1_.cpu.SetCpuid(0xA, 0, {0x0830'0401, 0, 0, 0x603});
  Vmcs12().Set<VmcsField::kVmExitControls>(Vmcs12().Get<VmcsField::kVmExitControls>() |
                                           VmExit::kLoadIa32PerfGlobalCtrl);
  EXPECT_EQ(Read().perf_global_ctrl_reserved, ~uint64_t{0});
}

}  // namespace
}  // namespace nvmx
