// SPDX-License-Identifier: Apache-2.0
//
// An L0 that is not in IA-32e mode, and so cannot offer it.
#include "core/nested/msr_access.h"
#include "core/nested/offered_cpuid.h"
#include "core/nested/vmcs01.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

constexpr uint32_t kIa32eMode = uint32_t{1} << 29;

class WithoutIa32eModeTest : public testing::Test {
 protected:
  void TakeIa32eMode() {
    Capabilities& offered = l1_.state.offered;
    offered.true_exit_ctls &= ~(uint64_t{VmExit::kHostAddressSpaceSize} << 32);
    offered.true_entry_ctls &= ~(uint64_t{VmEntry::kIa32eModeGuest} << 32);
  }
  uint32_t OfferedFeatures() {
    l1_.cpu.SetCpuid(0x80000000, 0, {0x80000008, 0, 0, 0});
    l1_.cpu.SetCpuid(0x80000001, 0, {0, 0, 0, kIa32eMode});
    return OfferedCpuid(l1_.vcpu(), 0x80000001, 0).edx;
  }
  bool SetsLme() {
    VmcsImage& vmcs01 = l1_.vmcs.vmcs01();
    vmcs01.Set<VmcsField::kGuestIa32Efer>(0);
    vmcs01.Set<VmcsField::kGuestCr0>(vmcs01.Get<VmcsField::kGuestCr0>() & ~Cr0::kPg);
    return WriteGuestMsr(l1_.vcpu(), Index(Msr::IA32_EFER), Efer::kLme);
  }

  FakeVcpu l1_;
};

TEST_F(WithoutIa32eModeTest, CpuidDoesNotHaveIt) {
  EXPECT_EQ(OfferedFeatures(), kIa32eMode);
  TakeIa32eMode();
  EXPECT_EQ(OfferedFeatures(), 0u);
}

TEST_F(WithoutIa32eModeTest, LmeIsAReservedBit) {
  EXPECT_TRUE(SetsLme());
  TakeIa32eMode();
  EXPECT_FALSE(SetsLme());
  EXPECT_TRUE(WriteGuestMsr(l1_.vcpu(), Index(Msr::IA32_EFER), Efer::kNxe));
}

TEST_F(WithoutIa32eModeTest, L1ExitsTo32Bits) {
  const auto has_bits = [this](VmcsField field, uint32_t bits) {
    return (l1_.vmcs.vmcs01().Read(field) & bits) == bits;
  };
  InitializeVmcs01Controls(l1_.vcpu());
  EXPECT_TRUE(has_bits(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize));
  EXPECT_TRUE(has_bits(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest));
  TakeIa32eMode();
  InitializeVmcs01Controls(l1_.vcpu());
  EXPECT_FALSE(has_bits(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize));
  EXPECT_FALSE(has_bits(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest));
  EXPECT_TRUE(has_bits(VmcsField::kVmExitControls, VmExit::kSaveIa32Efer));
}

}  // namespace
}  // namespace nvmx
