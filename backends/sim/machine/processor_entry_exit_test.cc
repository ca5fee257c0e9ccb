// SPDX-License-Identifier: Apache-2.0
//
// What VM entries load, what VM exits save and load, and which VM entries are refused.
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>

#include "backends/sim/machine/testing/processor_fixture.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"

namespace nvmx::sim {
namespace {

using ProcessorEntryExit = ProcessorTest;

constexpr uint32_t kSwitchingExit = VmExit::kSaveDebugControls | VmExit::kSaveIa32Pat |
                                    VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                                    VmExit::kLoadIa32Efer;
constexpr uint32_t kSwitchingEntry =
    VmEntry::kLoadDebugControls | VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer;

// Gives every guest-state field that a register holds a value of its own.
void FillGuestState(Processor& cpu) {
  uint64_t value = 0x1000;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (Type(row.field) != FieldType::kGuestState) continue;
    switch (row.field) {
      case VmcsField::kGuestCr0:
      case VmcsField::kGuestCr4:
      case VmcsField::kGuestActivityState:
      case VmcsField::kGuestInterruptibilityState:
        continue;
      case VmcsField::kGuestIa32Efer:
        cpu.VmcsWrite(row.field, Efer::kLme | Efer::kLma | Efer::kNxe);
        continue;
      case VmcsField::kGuestRflags:
        // An instruction that exits saves RF as 0.
        cpu.VmcsWrite(row.field, Rflags::kFixed1 | Rflags::kDf);
        continue;
      default:
        cpu.VmcsWrite(row.field, value);
        value += 0x1000;
    }
  }
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
                                  VmcsField::kGuestIa32SysenterEip,
                                  VmcsField::kGuestPendingDebugExceptions};
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
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(Read(VmcsField::kVmEntryInterruptionInformation), 0x21u);
}

TEST_F(ProcessorEntryExit, BlockingByStiAndMovSsIsLoadedAndSaved) {
  for (uint32_t blocking : {Interruptibility::kBlockingBySti, Interruptibility::kBlockingByMovSs}) {
    Write(VmcsField::kGuestInterruptibilityState, blocking);
    cpu_.EnterGuest();
    Write(VmcsField::kGuestInterruptibilityState, 0);
    ExitByVmcall();
    EXPECT_EQ(Read(VmcsField::kGuestInterruptibilityState), blocking);
    EXPECT_EQ(state().blocking_by_sti, 0u);
    EXPECT_EQ(state().blocking_by_mov_ss, 0u);
  }
}

// SDM Vol. 3C, 27.7.1 "Interruptibility State", 27.7.2 "Activity State".
TEST_F(ProcessorEntryExit, AVectoringEntryEndsHltAndBlockingByStiAndMovSs) {
  Write(VmcsField::kGuestInterruptibilityState, Interruptibility::kBlockingByMovSs);
  Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kHlt));
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::ExternalInterrupt(0x21).value());
  cpu_.EnterGuest();
  EXPECT_EQ(state().blocking_by_mov_ss, 0u);
  EXPECT_TRUE(cpu_.IsActive());
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

// --- Entries that are refused.

struct Refusal {
  const char* rule;
  // Breaks it in a VMCS that was fine.
  void (*break_it)(Processor& cpu);
  // The nearest thing that must pass.
  void (*neighbour)(Processor& cpu);
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.rule; }

void Or(Processor& cpu, VmcsField field, uint64_t bits) {
  cpu.VmcsWrite(field, cpu.VmcsRead(field) | bits);
}
void Clear(Processor& cpu, VmcsField field, uint64_t bits) {
  cpu.VmcsWrite(field, cpu.VmcsRead(field) & ~bits);
}
void ActivateSecondary(Processor& cpu, uint64_t controls) {
  Or(cpu, VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kActivateSecondaryControls);
  cpu.VmcsWrite(VmcsField::kSecondaryProcessorBasedControls, controls);
}
void SetVirtualNmis(Processor& cpu) {
  Or(cpu, VmcsField::kPinBasedControls, PinBased::kNmiExiting | PinBased::kVirtualNmis);
}
void InjectNmi(Processor& cpu) {
  cpu.VmcsWrite(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
}
void SetActivity(Processor& cpu, uint64_t activity) {
  cpu.VmcsWrite(VmcsField::kGuestActivityState, activity);
}

const Refusal kRefusals[] = {
    {"pin-based controls: reserved bits",
     [](Processor& cpu) { Clear(cpu, VmcsField::kPinBasedControls, 2); },
     [](Processor& cpu) { SetVirtualNmis(cpu); }},
    {"pin-based controls: reserved bits",
     [](Processor& cpu) {
       Or(cpu, VmcsField::kPinBasedControls, PinBased::kExternalInterruptExiting);
     },
     [](Processor& cpu) { Or(cpu, VmcsField::kPinBasedControls, PinBased::kNmiExiting); }},
    {"primary processor-based controls: reserved bits",
     [](Processor& cpu) {
       Or(cpu, VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseMsrBitmaps);
     },
     [](Processor& cpu) {
       Or(cpu, VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kHltExiting);
     }},
    {"secondary processor-based controls: reserved bits",
     [](Processor& cpu) { ActivateSecondary(cpu, Secondary::kEnableVpid); },
     [](Processor& cpu) { ActivateSecondary(cpu, Secondary::kEnableEpt); }},
    {"unrestricted guest without EPT",
     [](Processor& cpu) { ActivateSecondary(cpu, Secondary::kUnrestrictedGuest); },
     [](Processor& cpu) {
       cpu.VmcsWrite(VmcsField::kSecondaryProcessorBasedControls, Secondary::kUnrestrictedGuest);
     }},
    {"VM-exit controls: reserved bits",
     [](Processor& cpu) {
       Or(cpu, VmcsField::kVmExitControls, VmExit::kAcknowledgeInterruptOnExit);
     },
     [](Processor& cpu) { Or(cpu, VmcsField::kVmExitControls, VmExit::kSaveIa32Pat); }},
    {"VM-entry controls: reserved bits",
     [](Processor& cpu) { Or(cpu, VmcsField::kVmEntryControls, VmEntry::kEntryToSmm); },
     [](Processor& cpu) { Clear(cpu, VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls); }},
    {"virtual NMIs without NMI exiting",
     [](Processor& cpu) { Or(cpu, VmcsField::kPinBasedControls, PinBased::kVirtualNmis); },
     [](Processor& cpu) { SetVirtualNmis(cpu); }},
    {"NMI-window exiting without virtual NMIs",
     [](Processor& cpu) {
       Or(cpu, VmcsField::kPinBasedControls, PinBased::kNmiExiting);
       Or(cpu, VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kNmiWindowExiting);
     },
     [](Processor& cpu) {
       SetVirtualNmis(cpu);
       Or(cpu, VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kNmiWindowExiting);
     }},
    {"guest CR0: fixed bits", [](Processor& cpu) { Clear(cpu, VmcsField::kGuestCr0, Cr0::kPg); },
     [](Processor& cpu) { Clear(cpu, VmcsField::kGuestCr0, Cr0::kEt); }},
    {"guest CR0: fixed bits",
     [](Processor& cpu) {
       ActivateSecondary(cpu, Secondary::kEnableEpt | Secondary::kUnrestrictedGuest);
       Clear(cpu, VmcsField::kGuestCr0, Cr0::kNe);
     },
     [](Processor& cpu) {
       ActivateSecondary(cpu, Secondary::kEnableEpt | Secondary::kUnrestrictedGuest);
       Clear(cpu, VmcsField::kGuestCr0, Cr0::kPe | Cr0::kPg);
     }},
    {"guest CR4: fixed bits", [](Processor& cpu) { Clear(cpu, VmcsField::kGuestCr4, Cr4::kVmxe); },
     [](Processor& cpu) { Or(cpu, VmcsField::kGuestCr4, Cr4::kPge); }},
    {"injected NMI while virtual NMIs are blocked",
     [](Processor& cpu) {
       SetVirtualNmis(cpu);
       InjectNmi(cpu);
       cpu.VmcsWrite(VmcsField::kGuestInterruptibilityState, Interruptibility::kBlockingByNmi);
     },
     [](Processor& cpu) {
       InjectNmi(cpu);
       cpu.VmcsWrite(VmcsField::kGuestInterruptibilityState, Interruptibility::kBlockingByNmi);
     }},
    {"guest activity state", [](Processor& cpu) { SetActivity(cpu, 4); },
     [](Processor& cpu) { SetActivity(cpu, 3); }},
    {"injected event in wait-for-SIPI",
     [](Processor& cpu) {
       InjectNmi(cpu);
       SetActivity(cpu, 3);
     },
     [](Processor& cpu) {
       InjectNmi(cpu);
       SetActivity(cpu, 2);
     }},
};

class EntryRule : public ProcessorTest, public testing::WithParamInterface<Refusal> {};

TEST_P(EntryRule, RefusesTheEntryAndChangesNothing) {
  GetParam().break_it(cpu_);
  const ProcessorState before = state();
  cpu_.EnterGuest();
  ASSERT_EQ(root_.refusals.size(), 1u);
  EXPECT_EQ(root_.refusals[0], GetParam().rule);
  EXPECT_EQ(std::memcmp(&before, &state(), sizeof before), 0);
}

TEST_P(EntryRule, LetsItsNeighbourPass) {
  GetParam().neighbour(cpu_);
  cpu_.EnterGuest();
  EXPECT_TRUE(root_.refusals.empty()) << root_.refusals[0];
  EXPECT_TRUE(cpu_.in_guest());
}
INSTANTIATE_TEST_SUITE_P(Rules, EntryRule, testing::ValuesIn(kRefusals));

TEST(SimulatedCapabilities, AnActivityStateThatIsNotReportedIsRefused) {
  Memory memory(1);
  RootSoftware root;
  Capabilities capabilities = SimulatedCapabilities();
  capabilities.misc &= ~VmxMisc::kActivityStateShutdown;
  Processor cpu(memory, root, capabilities);
  cpu.MakeCurrent(VmcsRole::kVmcs01);
  for (const auto& [field, value] : std::initializer_list<std::pair<VmcsField, uint64_t>>{
           {VmcsField::kPinBasedControls, PinBased::kDefault1},
           {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kDefault1},
           {VmcsField::kVmExitControls, VmExit::kDefault1},
           {VmcsField::kVmEntryControls, VmEntry::kDefault1},
           {VmcsField::kGuestCr0, capabilities.cr0_fixed0},
           {VmcsField::kGuestCr4, capabilities.cr4_fixed0}}) {
    cpu.VmcsWrite(field, value);
  }
  cpu.VmcsWrite(VmcsField::kGuestActivityState, 1);
  cpu.EnterGuest();
  EXPECT_TRUE(root.refusals.empty());
  cpu.VmcsWrite(VmcsField::kGuestActivityState, 2);
  cpu.EnterGuest();
  ASSERT_EQ(root.refusals.size(), 1u);
  EXPECT_EQ(root.refusals[0], "guest activity state");
}

}  // namespace
}  // namespace nvmx::sim
