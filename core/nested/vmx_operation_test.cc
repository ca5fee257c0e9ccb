// SPDX-License-Identifier: Apache-2.0
//
// VMXON, VMXOFF, VMCALL, INVEPT, INVVPID, and what all VMX instructions have in common.
// SDM Vol. 3C, 31.3 "VMX Instructions".
#include "core/nested/embedder.h"
#include "core/nested/vmcs01.h"
#include "core/nested/vmcs12_region.h"
#include "core/nested/vmx_instructions.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

const VmxOutcome kUndefined = VmxOutcome::Fault(Vector::kInvalidOpcode);
const VmxOutcome kGeneralProtection = VmxOutcome::Fault(Vector::kGeneralProtection);
constexpr uint64_t kMemoryEnd = FakeVcpu::kMemorySize;

void SetCpl(FakeVcpu& l1, uint32_t cpl) {
  l1.vmcs.vmcs01().Set<VmcsField::kGuestSsAccessRights>(0xC093 | cpl << AccessRights::kDplShift);
}

class EveryVmxInstructionTest : public testing::TestWithParam<ExitReason> {
 protected:
  EveryVmxInstructionTest() { l1_.MakeCurrentVmcs12(ValidVmcs12(l1_.state.offered)); }
  VmxOutcome Execute() { return l1_.ExecuteWithPointer(GetParam(), FakeVcpu::kVmcs12Region); }
  void ExpectFaultAndNoEffect(const VmxOutcome& fault) {
    const VcpuState before = l1_.state;
    EXPECT_EQ(Execute(), fault);
    EXPECT_EQ(__builtin_memcmp(&before, &l1_.state, sizeof before), 0);
  }
  bool IsVmxon() const { return GetParam() == ExitReason::kVmxon; }

  FakeVcpu l1_;
};

TEST_P(EveryVmxInstructionTest, OutsideVmxOperationIsUndefined) {
  if (IsVmxon()) GTEST_SKIP() << "VMXON is for outside";
  l1_.state.operation = VmxOperation::kOff;
  ExpectFaultAndNoEffect(kUndefined);
}

TEST_P(EveryVmxInstructionTest, WithoutProtectedModeIsUndefined) {
  VmcsImage& image = l1_.vmcs.vmcs01();
  image.Set<VmcsField::kGuestCr0>(image.Get<VmcsField::kGuestCr0>() & ~Cr0::kPe);
  ExpectFaultAndNoEffect(kUndefined);
}

TEST_P(EveryVmxInstructionTest, InVirtual8086ModeIsUndefined) {
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kVm);
  ExpectFaultAndNoEffect(kUndefined);
}

TEST_P(EveryVmxInstructionTest, InCompatibilityModeIsUndefined) {
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestCsAccessRights>(0xC09B);
  ExpectFaultAndNoEffect(kUndefined);
}

TEST_P(EveryVmxInstructionTest, AboveCpl0IsGeneralProtection) {
  for (uint32_t cpl = 1; cpl <= 3; ++cpl) {
    SetCpl(l1_, cpl);
    ExpectFaultAndNoEffect(kGeneralProtection);
  }
}

TEST_P(EveryVmxInstructionTest, UndefinedComesBeforeGeneralProtection) {
  SetCpl(l1_, 3);
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestCsAccessRights>(0xC09B);
  ExpectFaultAndNoEffect(kUndefined);
}

INSTANTIATE_TEST_SUITE_P(
    Instructions, EveryVmxInstructionTest,
    testing::Values(ExitReason::kVmxon, ExitReason::kVmxoff, ExitReason::kVmclear,
                    ExitReason::kVmptrld, ExitReason::kVmptrst, ExitReason::kVmread,
                    ExitReason::kVmwrite, ExitReason::kVmlaunch, ExitReason::kVmresume,
                    ExitReason::kVmcall, ExitReason::kInvept, ExitReason::kInvvpid),
    [](const testing::TestParamInfo<ExitReason>& info) { return std::string(Name(info.param)); });

class VmxonTest : public testing::Test {
 protected:
  VmxonTest() { l1_.memory.Poke(FakeVcpu::kVmxonRegion, kVmcs12Revision); }
  VmxOutcome Vmxon(uint64_t region = FakeVcpu::kVmxonRegion) {
    return l1_.ExecuteWithPointer(ExitReason::kVmxon, region);
  }
  template <VmcsField F>
  void Flip(uint64_t bits) {
    l1_.vmcs.vmcs01().Set<F>(l1_.vmcs.vmcs01().Get<F>() ^ bits);
  }

  FakeVcpu l1_;
};

TEST_F(VmxonTest, EntersRootOperationWithoutACurrentVmcs) {
  EXPECT_EQ(Vmxon(), VmxOutcome::Succeed());
  EXPECT_EQ(l1_.state.operation, VmxOperation::kRoot);
  EXPECT_EQ(l1_.state.vmxon_region, FakeVcpu::kVmxonRegion);
  EXPECT_EQ(l1_.state.current_vmcs, kNoVmcs);
}

TEST_F(VmxonTest, WithoutCr4VmxeIsUndefined) {
  WriteL1Cr4(l1_.vcpu(), ReadL1Cr4(l1_.vcpu()) & ~Cr4::kVmxe);
  EXPECT_EQ(Vmxon(), kUndefined);
  EXPECT_EQ(l1_.state.operation, VmxOperation::kOff);
}

TEST_F(VmxonTest, AboveCpl0IsGeneralProtection) {
  SetCpl(l1_, 3);
  EXPECT_EQ(Vmxon(), kGeneralProtection);
  EXPECT_EQ(l1_.state.operation, VmxOperation::kOff);
}

TEST_F(VmxonTest, Cr0AndCr4HonourTheFixedBits) {
  const uint64_t cr0 = ReadL1Cr0(l1_.vcpu());
  WriteL1Cr0(l1_.vcpu(), cr0 & ~Cr0::kNe);
  EXPECT_EQ(Vmxon(), kGeneralProtection);
  WriteL1Cr0(l1_.vcpu(), cr0 ^ Cr0::kWp);
  EXPECT_EQ(Vmxon(), VmxOutcome::Succeed());
}

TEST_F(VmxonTest, TheRegionIsAlignedWithinTheWidthAndBackedByMemory) {
  EXPECT_EQ(Vmxon(FakeVcpu::kVmxonRegion + 8), VmxOutcome::FailInvalid());
  EXPECT_EQ(Vmxon(FakeVcpu::kVmxonRegion | uint64_t{1} << 39), VmxOutcome::FailInvalid());
  EXPECT_EQ(Vmxon(kMemoryEnd), VmxOutcome::FailInvalid());
  EXPECT_EQ(l1_.state.operation, VmxOperation::kOff);
}

TEST_F(VmxonTest, TheRegionHasTheRevisionIdentifier) {
  l1_.memory.Poke(FakeVcpu::kVmxonRegion, kVmcs12Revision + 1);
  EXPECT_EQ(Vmxon(), VmxOutcome::FailInvalid());
  l1_.memory.Poke(FakeVcpu::kVmxonRegion, kVmcs12Revision | 0x80000000);
  EXPECT_EQ(Vmxon(), VmxOutcome::FailInvalid());
}

TEST_F(VmxonTest, InRootOperationIsVmfail15) {
  ASSERT_EQ(Vmxon(), VmxOutcome::Succeed());
  EXPECT_EQ(Vmxon(), VmxOutcome::FailInvalid());
  l1_.MakeCurrentVmcs12(VmcsImage());
  EXPECT_EQ(Vmxon(), VmxOutcome::FailValid(VmInstructionError::kVmxonInVmxRootOperation));
  EXPECT_EQ(l1_.state.current_vmcs, FakeVcpu::kVmcs12Region);
}

TEST_F(VmxonTest, AFaultOfItsOperandIsL1s) {
  EXPECT_EQ(l1_.Execute(ExitReason::kVmxon, {.displacement = kMemoryEnd}),
            VmxOutcome::Fault(Vector::kPageFault, 0));
  EXPECT_EQ(l1_.state.operation, VmxOperation::kOff);
}

TEST(VmxoffTest, LeavesVmxOperationAndWritesTheCurrentVmcsBack) {
  FakeVcpu l1;
  l1.MakeCurrentVmcs12(VmcsImage());
  l1.state.vmcs12.Set<VmcsField::kGuestRip>(0x1234);
  EXPECT_EQ(l1.Execute(ExitReason::kVmxoff), VmxOutcome::Succeed());
  EXPECT_EQ(l1.state.operation, VmxOperation::kOff);
  EXPECT_EQ(l1.state.vmxon_region, kNoVmcs);
  EXPECT_EQ(l1.state.current_vmcs, kNoVmcs);
  const auto region = l1.memory.Peek<Vmcs12Region>(FakeVcpu::kVmcs12Region);
  EXPECT_EQ(region.fields.Get<VmcsField::kGuestRip>(), 0x1234u);
  EXPECT_EQ(l1.Execute(ExitReason::kVmxoff), kUndefined);
}

TEST(VmcallTest, InRootOperationIsVmfail1) {
  FakeVcpu l1;
  l1.EnterVmxRoot();
  EXPECT_EQ(l1.Execute(ExitReason::kVmcall), VmxOutcome::FailInvalid());
  l1.MakeCurrentVmcs12(VmcsImage());
  EXPECT_EQ(l1.Execute(ExitReason::kVmcall),
            VmxOutcome::FailValid(VmInstructionError::kVmcallInVmxRootOperation));
}

TEST(VmcallTest, OutsideVmxOperationIsUndefined) {
  FakeVcpu l1;
  EXPECT_EQ(l1.Execute(ExitReason::kVmcall), kUndefined);
}

TEST(VmcallTest, ACallThatTheEmbedderServesSucceeds) {
  class Serving final : public Embedder {
   public:
    bool HandleVmcall(Vcpu& vcpu) const override {
      ++vcpu.state.registers[0];
      return true;
    }
  };
  const Serving embedder;
  FakeVcpu l1;
  l1.SetEmbedder(embedder);
  l1.Register(GeneralRegister::kRax) = 5;
  EXPECT_EQ(l1.Execute(ExitReason::kVmcall), VmxOutcome::Succeed());
  EXPECT_EQ(l1.Register(GeneralRegister::kRax), 6u);
}

TEST(VmxOutcomeInRegistersTest, SuccessClearsTheArithmeticFlagsAndNoOther) {
  FakeVcpu l1;
  l1.EnterVmxRoot();
  const uint64_t kept = Rflags::kFixed1 | Rflags::kIf | Rflags::kDf | Rflags::kAc;
  l1.vmcs.vmcs01().Set<VmcsField::kGuestRflags>(kept | Rflags::kArithmetic);
  EXPECT_EQ(l1.Execute(ExitReason::kVmxoff), VmxOutcome::Succeed());
  EXPECT_EQ(l1.vmcs.vmcs01().Get<VmcsField::kGuestRflags>(), kept);
}

TEST(VmxOutcomeInRegistersTest, FailureSetsOneFlagAndClearsTheOthers) {
  FakeVcpu l1;
  l1.EnterVmxRoot();
  l1.vmcs.vmcs01().Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kArithmetic);
  EXPECT_EQ(l1.Execute(ExitReason::kVmlaunch), VmxOutcome::FailInvalid());
  EXPECT_EQ(l1.vmcs.vmcs01().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1 | Rflags::kCf);
  l1.MakeCurrentVmcs12(ValidVmcs12(l1.state.offered));
  EXPECT_EQ(l1.Execute(ExitReason::kVmresume),
            VmxOutcome::FailValid(VmInstructionError::kVmresumeWithNonLaunchedVmcs));
  EXPECT_EQ(l1.vmcs.vmcs01().Get<VmcsField::kGuestRflags>(), Rflags::kFixed1 | Rflags::kZf);
}

TEST(VmxOutcomeInRegistersTest, ACompletedInstructionEndsBlockingByStiAndMovSsOnly) {
  FakeVcpu l1;
  l1.EnterVmxRoot();
  constexpr uint32_t kAll = Interruptibility::kBlockingBySti | Interruptibility::kBlockingByMovSs |
                            Interruptibility::kBlockingByNmi;
  l1.vmcs.vmcs01().Set<VmcsField::kGuestInterruptibilityState>(kAll);
  EXPECT_EQ(l1.Execute(ExitReason::kVmxoff), VmxOutcome::Succeed());
  EXPECT_EQ(l1.vmcs.vmcs01().Get<VmcsField::kGuestInterruptibilityState>(),
            Interruptibility::kBlockingByNmi);
  l1.vmcs.vmcs01().Set<VmcsField::kGuestInterruptibilityState>(kAll);
  EXPECT_EQ(l1.Execute(ExitReason::kVmxoff), kUndefined);
  EXPECT_EQ(l1.vmcs.vmcs01().Get<VmcsField::kGuestInterruptibilityState>(), kAll);
}

TEST(EmulateVmxInstructionTest, AnotherExitIsLeftAlone) {
  FakeVcpu l1;
  EXPECT_FALSE(EmulateVmxInstruction(l1.vcpu(), ExitReason::kHlt));
  EXPECT_TRUE(l1.log.empty());
}

}  // namespace
}  // namespace nvmx
