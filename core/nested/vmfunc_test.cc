// SPDX-License-Identifier: Apache-2.0
//
// VMFUNC by L2. SDM Vol. 3C, 26.5.6.2 "General Operation of the VMFUNC Instruction", 26.5.6.3 "EPTP
// Switching".
#include "core/testing/nested_paging_fixture.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

class VmfuncTest : public NestedPagingTest {
 protected:
  static constexpr uint64_t kList = 0x32'0000;
  VmfuncTest() {
    UseSecondary(Secondary::kEnableVmFunctions);
    v_.Set<VmcsField::kVmFunctionControls>(VmFunction::kEptpSwitching);
    v_.Set<VmcsField::kEptpListAddress>(kList);
    ept12_.Map(kL2, kL1);
    other_.Map(kL2, kL1 + 0x1000);
    SetList(0, ept12_.Eptp());
    SetList(1, other_.Eptp());
    SetList(511, other_.Eptp(kFlags));
  }
  void SetList(uint64_t index, uint64_t eptp) { l1_.memory.Poke(kList + 8 * index, eptp); }
  void Vmfunc(uint64_t eax, uint64_t ecx) {
    VmcsImage& vmcs02 = l1_.vmcs.vmcs02();
    rip_ = vmcs02.Get<VmcsField::kGuestRip>();
    vmcs02.Set<VmcsField::kVmExitInstructionLength>(3);
    l1_.Register(GeneralRegister::kRax) = eax;
    l1_.Register(GeneralRegister::kRcx) = ecx;
    l1_.Exit(ExitReason::kVmfunc);
  }
  void ExpectSwitchedTo(uint64_t eptp12) {
    ASSERT_TRUE(l1_.L2Runs());
    EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kEptPointer>(), eptp12);
    EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kGuestRip>(), rip_ + 3);
  }
  // The exit leaves the EPT pointer alone.
  void ExpectExitOfL1() {
    ExpectExit(ExitReason::kVmfunc, 0, 0, 0);
    EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kGuestRip>(), rip_);
    EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kVmExitInstructionLength>(), 3u);
    EXPECT_EQ(l1_.state.vmcs12.Get<VmcsField::kEptPointer>(), ept12_.Eptp());
  }
  uint64_t rip_ = 0;
};

TEST_F(VmfuncTest, SwitchesTheEptPointer) {
  RunL2();
  ASSERT_TRUE(Access(kL2, EptEntry::kRead));
  const uint64_t flags = l1_.vmcs.vmcs02().Get<VmcsField::kGuestRflags>();
  Vmfunc(0, 1);
  ExpectSwitchedTo(other_.Eptp());
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kGuestRflags>(), flags);
  EXPECT_EQ(Find(kL2), std::nullopt) << "another EPT, that has not been used";
  ASSERT_TRUE(Access(kL2, EptEntry::kRead));
  EXPECT_EQ(Find(kL2)->address(), kL1 + 0x1000);
}

TEST_F(VmfuncTest, BackAgainEverythingIsStillMapped) {
  RunL2();
  ASSERT_TRUE(Access(kL2, EptEntry::kRead));
  const uint64_t eptp02 = Eptp02();
  const size_t invalidations = l1_.cpu.invalidations().size();
  Vmfunc(0, 1);
  Vmfunc(0, 0);
  ExpectSwitchedTo(ept12_.Eptp());
  EXPECT_EQ(Eptp02(), eptp02);
  EXPECT_TRUE(Find(kL2).has_value());
  EXPECT_EQ(l1_.cpu.invalidations().size(), invalidations);
}

TEST_F(VmfuncTest, TheListHas512Entries) {
  RunL2();
  Vmfunc(0, 511);
  ExpectSwitchedTo(other_.Eptp(kFlags));
  EXPECT_NE(Eptp02() & Eptp::kAccessedAndDirty, 0u);
  l1_.Exit(ExitReason::kVmcall);
  RunL2();
  SetList(512, other_.Eptp());
  Vmfunc(0, 512);
  ExpectExitOfL1();
}

TEST_F(VmfuncTest, OnlyTheLow32BitsOfTheRegistersCount) {
  RunL2();
  Vmfunc(uint64_t{1} << 32, uint64_t{1} << 32 | 1);
  ExpectSwitchedTo(other_.Eptp());
}

TEST_F(VmfuncTest, AnEptPointerThatVmEntryRefusesIsAnExit) {
  for (uint64_t eptp : {uint64_t{0}, other_.Eptp() | 1 << 7, kOtherRoot | 3 << 3 | 1}) {
    SetList(1, eptp);
    RunL2();
    Vmfunc(0, 1);
    ExpectExitOfL1();
  }
}

TEST_F(VmfuncTest, AListThatNoMemoryBacksIsAnExit) {
  l1_.memory.RemovePage(kList);
  RunL2();
  Vmfunc(0, 1);
  ExpectExitOfL1();
}

TEST_F(VmfuncTest, AFunctionThatIsNotEnabledIsAnExit) {
  for (uint64_t function : {1, 63}) {
    RunL2();
    Vmfunc(function, 1);
    ExpectExitOfL1();
  }
  v_.Set<VmcsField::kVmFunctionControls>(0);
  RunL2();
  Vmfunc(0, 1);
  ExpectExitOfL1();
}

// Without the control in VMCS02 the instruction would be undefined, with the function it would not
// exit.
TEST_F(VmfuncTest, Vmcs02MakesTheInstructionExit) {
  RunL2();
  const VmcsImage& vmcs02 = l1_.vmcs.vmcs02();
  const uint32_t control = Secondary::kEnableVmFunctions;
  EXPECT_EQ(vmcs02.Get<VmcsField::kSecondaryProcessorBasedControls>() & control, control);
  EXPECT_EQ(vmcs02.Get<VmcsField::kVmFunctionControls>(), 0u);
}

TEST_F(VmfuncTest, WithoutTheControlOfL1ItIsUndefinedInL2) {
  v_.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kEnableEpt);
  RunL2();
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<VmcsField::kSecondaryProcessorBasedControls>() &
                Secondary::kEnableVmFunctions,
            0u);
}

TEST_F(VmfuncTest, AStepOverItIsPending) {
  RunL2();
  l1_.vmcs.vmcs02().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kTf);
  Vmfunc(0, 1);
  EXPECT_NE(l1_.vmcs.vmcs02().Get<VmcsField::kGuestPendingDebugExceptions>(), 0u);
}

}  // namespace
}  // namespace nvmx
