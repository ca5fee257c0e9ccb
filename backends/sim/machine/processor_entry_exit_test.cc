// SPDX-License-Identifier: Apache-2.0
//
// What VM entries load, what VM exits save and load, and which VM entries are refused.
#include <cstring>

#include "backends/sim/machine/testing/processor_fixture.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

using ProcessorEntryExit = ProcessorTest;

constexpr uint32_t kSwitchingExit = VmExit::kSaveDebugControls | VmExit::kSaveIa32Pat |
                                    VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                                    VmExit::kLoadIa32Efer;
constexpr uint32_t kSwitchingEntry =
    VmEntry::kLoadDebugControls | VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer;

// Gives guest-state fields that a register holds values of their own, as far as VM entry lets them.
void FillGuestState(Processor& cpu) {
  uint64_t value = 0x1000;
  for (VmcsField field :
       {VmcsField::kGuestCr3, VmcsField::kGuestRsp, VmcsField::kGuestRip, VmcsField::kGuestEsBase,
        VmcsField::kGuestCsBase, VmcsField::kGuestSsBase, VmcsField::kGuestDsBase,
        VmcsField::kGuestFsBase, VmcsField::kGuestGsBase, VmcsField::kGuestLdtrBase,
        VmcsField::kGuestTrBase, VmcsField::kGuestGdtrBase, VmcsField::kGuestGdtrLimit,
        VmcsField::kGuestIdtrBase, VmcsField::kGuestIdtrLimit, VmcsField::kGuestIa32SysenterCs,
        VmcsField::kGuestIa32SysenterEsp, VmcsField::kGuestIa32SysenterEip}) {
    cpu.VmcsWrite(field, value);
    value += 0x1000;
  }
  for (VmcsField selector :
       {VmcsField::kGuestEsSelector, VmcsField::kGuestCsSelector, VmcsField::kGuestSsSelector,
        VmcsField::kGuestDsSelector, VmcsField::kGuestFsSelector, VmcsField::kGuestGsSelector,
        VmcsField::kGuestTrSelector, VmcsField::kGuestLdtrSelector}) {
    cpu.VmcsWrite(selector, value);
    value += 0x100;
  }
  cpu.VmcsWrite(VmcsField::kGuestSsLimit, 0xFFFFF);
  cpu.VmcsWrite(VmcsField::kGuestSsAccessRights, 0x4097);
  cpu.VmcsWrite(VmcsField::kGuestTrLimit, 0x168);
  cpu.VmcsWrite(VmcsField::kGuestDr7, Dr7::kInit | Dr7::kGe);
  cpu.VmcsWrite(VmcsField::kGuestIa32Debugctl, DebugCtl::kBtf);
  cpu.VmcsWrite(VmcsField::kGuestIa32Pat, 0x0606060606060606);
  cpu.VmcsWrite(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma | Efer::kNxe);
  cpu.VmcsWrite(VmcsField::kGuestRflags, Rflags::kFixed1 | Rflags::kCf | Rflags::kId);
}

TEST_F(ProcessorEntryExit, AnExitSavesEveryRegisterThatTheEntryLoaded) {
  Add(VmcsField::kVmExitControls, kSwitchingExit);
  Add(VmcsField::kVmEntryControls, kSwitchingEntry);
  FillGuestState(cpu_);
  const VmcsImage before = state().vmcs[0].fields;
  cpu_.EnterGuest();
  // What is saved must come from the registers, not be what was never overwritten.
  const SwitchedRegisters loaded = state().switched;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Type(row.field) == FieldType::kGuestState) Write(row.field, 0);
  }
  Write(VmcsField::kVmEntryControls, Read(VmcsField::kVmEntryControls) & ~VmEntry::kIa32eModeGuest);
  ExitByVmcall();
  EXPECT_EQ(loaded.tr.base, before.Get<VmcsField::kGuestTrBase>());
  constexpr VmcsField kSaved[] = {VmcsField::kGuestRip,
                                  VmcsField::kGuestRsp,
                                  VmcsField::kGuestRflags,
                                  VmcsField::kGuestCr0,
                                  VmcsField::kGuestCr3,
                                  VmcsField::kGuestCr4,
                                  VmcsField::kGuestDr7,
                                  VmcsField::kGuestIa32Debugctl,
                                  VmcsField::kGuestIa32Efer,
                                  VmcsField::kGuestIa32Pat,
                                  VmcsField::kGuestEsSelector,
                                  VmcsField::kGuestCsBase,
                                  VmcsField::kGuestSsLimit,
                                  VmcsField::kGuestDsAccessRights,
                                  VmcsField::kGuestFsBase,
                                  VmcsField::kGuestGsBase,
                                  VmcsField::kGuestLdtrSelector,
                                  VmcsField::kGuestTrLimit,
                                  VmcsField::kGuestGdtrBase,
                                  VmcsField::kGuestGdtrLimit,
                                  VmcsField::kGuestIdtrBase,
                                  VmcsField::kGuestIdtrLimit,
                                  VmcsField::kGuestIa32SysenterCs,
                                  VmcsField::kGuestIa32SysenterEsp,
                                  VmcsField::kGuestIa32SysenterEip};
  for (VmcsField field : kSaved) EXPECT_EQ(Read(field), before.Read(field)) << Name(field);
  EXPECT_NE(Read(VmcsField::kVmEntryControls) & VmEntry::kIa32eModeGuest, 0u)
      << "the control follows IA32_EFER.LMA";
}

TEST_F(ProcessorEntryExit, WithoutTheControlsDebugEferAndPatAreNeitherLoadedNorSaved) {
  Remove(VmcsField::kVmExitControls, kSwitchingExit);
  Remove(VmcsField::kVmEntryControls, kSwitchingEntry);
  state().switched.pat = 4;
  state().switched.efer = Efer::kNxe;
  state().switched.debugctl = 1;
  Write(VmcsField::kGuestIa32Pat, 5);
  Write(VmcsField::kGuestIa32Efer, Efer::kSce);
  Write(VmcsField::kGuestIa32Debugctl, 2);
  cpu_.EnterGuest();
  EXPECT_EQ(state().switched.pat, 4u);
  EXPECT_EQ(state().switched.efer, Efer::kNxe | Efer::kLme | Efer::kLma)
      << "LMA and LME follow the mode of the guest";
  EXPECT_EQ(state().switched.debugctl, 1u);
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kGuestIa32Pat), 5u);
  EXPECT_EQ(Read(VmcsField::kGuestIa32Efer), Efer::kSce);
  EXPECT_EQ(Read(VmcsField::kGuestIa32Debugctl), 2u);
  EXPECT_EQ(state().switched.pat, 4u) << "the host has what the guest left";
  EXPECT_EQ(state().switched.efer, Efer::kNxe | Efer::kLme | Efer::kLma);
}

TEST_F(ProcessorEntryExit, AnExitLoadsTheHostState) {
  Add(VmcsField::kVmExitControls, kSwitchingExit);
  Write(VmcsField::kHostRsp, 0x8000);
  Write(VmcsField::kHostCr3, 0x9000);
  Write(VmcsField::kHostFsBase, 0xA000);
  Write(VmcsField::kHostGsBase, 0xB000);
  Write(VmcsField::kHostIa32SysenterEip, 0xC000);
  Write(VmcsField::kHostIa32Efer, Efer::kNxe);
  Write(VmcsField::kHostIa32Pat, 6);
  Write(VmcsField::kGuestRflags, Rflags::kFixed1 | Rflags::kIf);
  cpu_.EnterGuest();
  state().switched.debugctl = 1;
  ExitByVmcall();
  const SwitchedRegisters& r = state().switched;
  EXPECT_EQ(r.rip, kHostRip);
  EXPECT_EQ(r.rsp, 0x8000u);
  EXPECT_EQ(r.rflags, Rflags::kFixed1);
  EXPECT_EQ(r.cr3, 0x9000u);
  EXPECT_EQ(r.fs.base, 0xA000u);
  EXPECT_EQ(r.gs.base, 0xB000u);
  EXPECT_EQ(r.sysenter_eip, 0xC000u);
  EXPECT_EQ(r.efer, Efer::kNxe | Efer::kLme | Efer::kLma);
  EXPECT_EQ(r.pat, 6u);
  EXPECT_EQ(r.dr7, Dr7::kInit);
  EXPECT_EQ(r.debugctl, 0u);
  EXPECT_FALSE(cpu_.in_guest());
}

TEST_F(ProcessorEntryExit, AHostWithout64BitModeHasNeitherLongModeNorPcids) {
  Remove(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize);
  Write(VmcsField::kHostCr4, Cr4::kVmxe | Cr4::kPcide);
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(state().switched.cr4, Cr4::kVmxe);
  EXPECT_EQ(state().switched.efer & (Efer::kLme | Efer::kLma), 0u);
}

TEST_F(ProcessorEntryExit, TheVmcssKeepTheirGuestsApart) {
  Write(VmcsField::kGuestRsp, 0x1111);
  cpu_.MakeCurrent(VmcsRole::kVmcs02);
  Write(VmcsField::kGuestRsp, 0x2222);
  cpu_.EnterGuest();
  EXPECT_EQ(state().switched.rsp, 0x2222u);
  ExitByVmcall();
  cpu_.MakeCurrent(VmcsRole::kVmcs01);
  EXPECT_EQ(Read(VmcsField::kGuestRsp), 0x1111u);
}

TEST_F(ProcessorEntryExit, AnEntryMarksTheVmcsLaunched) {
  cpu_.EnterGuest();
  EXPECT_EQ(state().vmcs[0].launched, 1u);
  EXPECT_EQ(state().vmcs[1].launched, 0u);
}

TEST_F(ProcessorEntryExit, AnEntryWipesTheExitInformationOfTheExitBefore) {
  cpu_.EnterGuest();
  ExitByVmcall();
  ASSERT_NE(Read(VmcsField::kExitReason), 0u);
  SkipInstructionAndEnter();
  EXPECT_EQ(Read(VmcsField::kExitReason), 0u);
  EXPECT_EQ(Read(VmcsField::kVmExitInstructionLength), 0u);
}

TEST_F(ProcessorEntryExit, AnExitClearsTheValidBitOfTheInjectedEvent) {
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::ExternalInterrupt(0x21).value());
  Write(VmcsField::kGuestRflags, Rflags::kFixed1 | Rflags::kIf);
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kVmEntryInterruptionInformation), 0x21u);
}

TEST_F(ProcessorEntryExit, BlockingByStiAndMovSsIsLoadedAndSaved) {
  for (uint32_t blocking : {Interruptibility::kBlockingBySti, Interruptibility::kBlockingByMovSs}) {
    Write(VmcsField::kGuestInterruptibilityState, blocking);
    Write(VmcsField::kGuestRflags, Rflags::kFixed1 | Rflags::kIf);
    cpu_.EnterGuest();
    Write(VmcsField::kGuestInterruptibilityState, 0);
    ExitByVmcall();
    EXPECT_EQ(Read(VmcsField::kGuestInterruptibilityState), blocking);
    EXPECT_EQ(state().blocking_by_sti, 0u);
    EXPECT_EQ(state().blocking_by_mov_ss, 0u);
  }
}

// SDM Vol. 3C, 27.7.1 "Interruptibility State", 27.7.2 "Activity State".
TEST_F(ProcessorEntryExit, AVectoringEntryEndsHlt) {
  Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kHlt));
  Write(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
  cpu_.EnterGuest();
  EXPECT_TRUE(cpu_.IsActive());
}

TEST_F(ProcessorEntryExit, AVectoringEntryEndsBlockingByMovSs) {
  Write(VmcsField::kGuestInterruptibilityState, Interruptibility::kBlockingByMovSs);
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value());
  cpu_.EnterGuest();
  EXPECT_EQ(state().blocking_by_mov_ss, 0u);
}

TEST_F(ProcessorEntryExit, AnInjectedExceptionHasItsErrorCode) {
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::HardwareException(Vector::kGeneralProtection).value());
  Write(VmcsField::kVmEntryExceptionErrorCode, 0x18);
  cpu_.EnterGuest();
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL1HandlerBase, 13));
  EXPECT_TRUE(cpu_.TopFrame(0).has_error_code);
  EXPECT_EQ(cpu_.TopFrame(0).error_code, 0x18u);
  EXPECT_EQ(cpu_.TopFrame(0).rip, kGuestRip);
}

TEST_F(ProcessorEntryExit, TheHandlersOfL2AreNotThoseOfL1) {
  cpu_.MakeCurrent(VmcsRole::kVmcs02);
  Write(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
  cpu_.EnterGuest();
  EXPECT_EQ(cpu_.Rip(), lhv::HandlerAddress(lhv::kL2HandlerBase, 2));
}

// The rules are those of vm_entry_checks.h.
TEST_F(ProcessorEntryExit, ABrokenRuleRefusesTheEntryAndChangesNothing) {
  Remove(VmcsField::kGuestCr4, Cr4::kVmxe);
  const ProcessorState before = state();
  cpu_.EnterGuest();
  ASSERT_EQ(root_.refusals.size(), 1u);
  EXPECT_EQ(root_.refusals[0], "guest CR4: fixed bits");
  EXPECT_EQ(std::memcmp(&before, &state(), sizeof before), 0);
}

// What L0 is, and what its host state holds, is not the processor's business.
TEST_F(ProcessorEntryExit, TheHostStateOfL0IsNotChecked) {
  Write(VmcsField::kHostTrSelector, 0);
  cpu_.EnterGuest();
  EXPECT_TRUE(cpu_.in_non_root());
}

}  // namespace
}  // namespace nvmx::sim
