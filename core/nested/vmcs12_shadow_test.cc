// SPDX-License-Identifier: Apache-2.0
//
// The shadow VMCS by which hardware serves L1's VMREAD and VMWRITE.
#include "core/nested/vmcs12_shadow.h"

#include <array>

#include "core/nested/vmcs12.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using enum VmcsField;

constexpr PhysicalAddress kPages{0x7E'0000'0000};
constexpr uint64_t kValue = 0x4321;

class Vmcs12ShadowTest : public testing::Test {
 protected:
  Vmcs12ShadowTest() {
    l1_.vcpu().shadow_pages = {pages_, kPages};
    InitializeShadowing(l1_.vcpu());
    l1_.log.clear();
  }
  bool IsOn() {
    const bool control = (l1_.vmcs.vmcs01().Get<kSecondaryProcessorBasedControls>() &
                          Secondary::kVmcsShadowing) != 0;
    const uint64_t link = l1_.vmcs.vmcs01().Get<kVmcsLinkPointer>();
    EXPECT_EQ(link, control ? kPages.value : kNoVmcs);
    return control;
  }
  // L1 executes VMWRITE, which does not exit.
  template <VmcsField F>
  void WriteByL1(uint64_t value) {
    ASSERT_TRUE(IsOn());
    ASSERT_TRUE(IsShadowedForWrite(F));
    l1_.vmcs.shadow().Set<F>(value);
  }
  void Launch() { l1_.Exit(ExitReason::kVmlaunch); }
  bool BitOf(size_t page, uint32_t encoding) const {
    return (pages_[page].words[encoding / 64] >> encoding % 64 & 1) != 0;
  }
  // VMREAD and VMWRITE that exit; the value is in RBX.
  VmxOutcome Access(ExitReason instruction, uint64_t encoding) {
    l1_.Register(GeneralRegister::kRcx) = encoding;
    return l1_.Execute(instruction, {.in_register = true,
                                     .register1 = GeneralRegister::kRbx,
                                     .register2 = GeneralRegister::kRcx});
  }

  FakeVcpu l1_;
  std::array<HostPage, 3> pages_{};
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(Vmcs12ShadowTest, WithoutPagesThereIsNone) {
  FakeVcpu l1;
  l1.MakeCurrentVmcs12(ValidVmcs12(l1.state.offered));
  EXPECT_EQ(l1.vmcs.vmcs01().Get<kVmcsLinkPointer>(), kNoVmcs);
  EXPECT_EQ(l1.state.shadowing, Shadowing::kAbsent);
}

TEST_F(Vmcs12ShadowTest, WithoutTheControlOrVmwriteToAnyFieldThereIsNone) {
  const Capabilities offered = l1_.state.offered;
  const auto is_there = [&] {
    l1_.state.shadowing = Shadowing::kAbsent;
    InitializeShadowing(l1_.vcpu());
    return l1_.state.shadowing != Shadowing::kAbsent;
  };
  EXPECT_TRUE(is_there());
  l1_.state.offered.misc &= ~VmxMisc::kVmwriteToAnyField;
  EXPECT_FALSE(is_there());
  l1_.state.offered = offered;
  l1_.state.offered.procbased_ctls2 &= ~(uint64_t{Secondary::kVmcsShadowing} << 32);
  EXPECT_FALSE(is_there());
}

TEST_F(Vmcs12ShadowTest, OnlyAccessesOfItsFieldsDoNotExit) {
  for (uint32_t encoding = 0; encoding < 0x8000; ++encoding) {
    const std::optional<VmcsField> field = IsHigh(encoding) ? std::nullopt : FieldOf(encoding);
    EXPECT_EQ(BitOf(1, encoding), !field || !IsShadowed(*field)) << encoding;
    EXPECT_EQ(BitOf(2, encoding), !field || !IsShadowedForWrite(*field)) << encoding;
  }
}

TEST_F(Vmcs12ShadowTest, L1WritesNothingThatIsReadOnlyOrStaysInVmcs02) {
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (IsShadowedForWrite(row.field)) {
      EXPECT_NE(Type(row.field), FieldType::kReadOnlyData) << row.name;
      EXPECT_TRUE(IsShadowed(row.field)) << row.name;
    }
    if (IsShadowed(row.field)) {
      EXPECT_FALSE(kRarelyReadGuestState.Has(row.field)) << row.name;
    }
  }
}

TEST_F(Vmcs12ShadowTest, ItIsOnWhileThereIsACurrentVmcs) {
  EXPECT_FALSE(IsOn());
  l1_.EnterVmxRoot();
  EXPECT_FALSE(IsOn());
  v_.Set<kGuestRip>(kValue);
  l1_.MakeCurrentVmcs12(v_);
  EXPECT_TRUE(IsOn());
  EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
  EXPECT_EQ(l1_.vmcs.shadow().Get<kGuestRip>(), kValue);
  EXPECT_TRUE(l1_.ExecuteWithPointer(ExitReason::kVmclear, FakeVcpu::kVmcs12Region).succeeded());
  EXPECT_FALSE(IsOn());
}

TEST_F(Vmcs12ShadowTest, VmclearAndVmxoffSaveWhatL1Wrote) {
  for (ExitReason instruction : {ExitReason::kVmclear, ExitReason::kVmxoff}) {
    l1_.MakeCurrentVmcs12(v_);
    WriteByL1<kGuestRsp>(kValue);
    EXPECT_TRUE(l1_.ExecuteWithPointer(instruction, FakeVcpu::kVmcs12Region).succeeded());
    EXPECT_FALSE(IsOn());
    EXPECT_EQ(l1_.memory.Peek<Vmcs12Region>(FakeVcpu::kVmcs12Region).fields.Get<kGuestRsp>(),
              kValue);
  }
}

TEST_F(Vmcs12ShadowTest, AnotherVmcsTakesItsPlace) {
  constexpr uint64_t kOther = 0x13000;
  VmcsImage other = v_;
  other.Set<kGuestRsp>(2 * kValue);
  l1_.memory.Poke(kOther, Vmcs12Region{kVmcs12Revision, 0, 0, other});
  l1_.MakeCurrentVmcs12(v_);
  WriteByL1<kGuestRsp>(kValue);
  EXPECT_TRUE(l1_.ExecuteWithPointer(ExitReason::kVmptrld, kOther).succeeded());
  EXPECT_TRUE(IsOn());
  EXPECT_EQ(l1_.vmcs.shadow().Get<kGuestRsp>(), 2 * kValue);
  EXPECT_EQ(l1_.memory.Peek<Vmcs12Region>(FakeVcpu::kVmcs12Region).fields.Get<kGuestRsp>(), kValue);
}

TEST_F(Vmcs12ShadowTest, VmEntryTakesWhatL1Wrote) {
  l1_.MakeCurrentVmcs12(v_);
  WriteByL1<kGuestRip>(kValue);
  Launch();
  ASSERT_TRUE(l1_.L2Runs());
  EXPECT_EQ(l1_.vmcs.vmcs02().Get<kGuestRip>(), kValue);
}

TEST_F(Vmcs12ShadowTest, VmEntryChecksWhatL1Wrote) {
  // NMI-window exiting needs virtual NMIs. SDM Vol. 3C, 27.2.1.1.
  v_.Set<kPinBasedControls>(v_.Get<kPinBasedControls>() & ~PinBased::kVirtualNmis);
  l1_.RunL2(v_);
  l1_.Exit(ExitReason::kVmcall);
  const uint32_t controls = l1_.vmcs.shadow().Get<kPrimaryProcessorBasedControls>();
  WriteByL1<kPrimaryProcessorBasedControls>(controls | PrimaryProcessorBased::kNmiWindowExiting);
  EXPECT_EQ(l1_.Execute(ExitReason::kVmresume),
            VmxOutcome::FailValid(VmInstructionError::kVmEntryWithInvalidControlFields));
  WriteByL1<kPrimaryProcessorBasedControls>(controls);
  l1_.Exit(ExitReason::kVmresume);
  EXPECT_TRUE(l1_.L2Runs());
}

TEST_F(Vmcs12ShadowTest, VmExitShowsWhyAndWhereL2Stands) {
  l1_.RunL2(v_);
  l1_.vmcs.vmcs02().Set<kGuestRip>(kValue);
  l1_.Exit(ExitReason::kVmcall, 7);
  ASSERT_FALSE(l1_.L2Runs());
  ASSERT_TRUE(IsOn());
  EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
  EXPECT_EQ(l1_.vmcs.shadow().Get<kExitReason>(), static_cast<uint32_t>(ExitReason::kVmcall));
  EXPECT_EQ(l1_.vmcs.shadow().Get<kExitQualification>(), 7u);
  EXPECT_EQ(l1_.vmcs.shadow().Get<kGuestRip>(), kValue);
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (!IsShadowed(row.field) || !Exists(row.field, l1_.state.offered)) continue;
    EXPECT_EQ(l1_.vmcs.shadow().Read(row.field), l1_.state.vmcs12.Read(row.field)) << row.name;
  }
}

TEST_F(Vmcs12ShadowTest, EntryFailureShowsWhy) {
  l1_.MakeCurrentVmcs12(v_);
  WriteByL1<kGuestRflags>(0);
  Launch();
  ASSERT_FALSE(l1_.L2Runs());
  EXPECT_EQ(
      l1_.vmcs.shadow().Get<kExitReason>(),
      uint32_t{1} << 31 | static_cast<uint32_t>(ExitReason::kVmEntryFailureInvalidGuestState));
  EXPECT_EQ(l1_.vmcs.shadow().Get<kGuestRflags>(), 0u);
}

TEST_F(Vmcs12ShadowTest, VmwriteThatExitsReachesItAndKeepsTheRest) {
  l1_.MakeCurrentVmcs12(v_);
  WriteByL1<kGuestRsp>(kValue);
  l1_.Register(GeneralRegister::kRbx) = 5;
  EXPECT_TRUE(Access(ExitReason::kVmwrite, Encoding(kExitQualification)).succeeded());
  EXPECT_EQ(l1_.vmcs.shadow().Get<kExitQualification>(), 5u);
  EXPECT_EQ(l1_.vmcs.shadow().Get<kGuestRsp>(), kValue);
  EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
}

TEST_F(Vmcs12ShadowTest, VmreadThatExitsFindsWhatL1Wrote) {
  l1_.MakeCurrentVmcs12(v_);
  WriteByL1<kGuestRsp>(kValue);
  EXPECT_TRUE(Access(ExitReason::kVmread, Encoding(kGuestRsp)).succeeded());
  EXPECT_EQ(l1_.Register(GeneralRegister::kRbx), kValue);
}

}  // namespace
}  // namespace nvmx
