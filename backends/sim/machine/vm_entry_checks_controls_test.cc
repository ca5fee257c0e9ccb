// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/testing/vm_entry_fixture.h"

namespace nvmx::sim {
namespace {

using F = EntryFixture;
using P1 = PrimaryProcessorBased;
using P2 = Secondary;
using Type = InterruptionType;

const EntryCase kCases[] = {
    // --- SDM Vol. 3C, 27.2.1.1 "VM-Execution Control Fields".
    {"pin-based controls: reserved bits",
     [](F& f) { f.Clear(VmcsField::kPinBasedControls, uint64_t{1} << 1); },
     [](F& f) { f.Pin(PinBased::kNmiExiting); }},
    {"pin-based controls: reserved bits", [](F& f) { f.Pin(uint64_t{1} << 8); },
     [](F& f) { f.Pin(PinBased::kActivateVmxPreemptionTimer); }},
    {"primary processor-based controls: reserved bits",
     [](F& f) { f.Clear(VmcsField::kPrimaryProcessorBasedControls, uint64_t{1} << 1); },
     [](F& f) { f.Clear(VmcsField::kPrimaryProcessorBasedControls, P1::kCr3LoadExiting); }},
    {"primary processor-based controls: reserved bits", [](F& f) { f.Primary(1); },
     [](F& f) { f.Primary(P1::kHltExiting); }},
    {"secondary processor-based controls: reserved bits",
     [](F& f) { f.Secondary(P2::kInstructionTimeout); },
     [](F& f) { f.Set(VmcsField::kSecondaryProcessorBasedControls, P2::kInstructionTimeout); }},
    {"tertiary processor-based controls: reserved bits",
     [](F& f) {
       f.capabilities.true_procbased_ctls |= uint64_t{P1::kActivateTertiaryControls} << 32;
       f.Primary(P1::kActivateTertiaryControls);
       f.Set(VmcsField::kTertiaryProcessorBasedControls, 1);
     },
     [](F& f) { f.Set(VmcsField::kTertiaryProcessorBasedControls, 1); }},
    {"CR3-target count", [](F& f) { f.Set(VmcsField::kCr3TargetCount, 5); },
     [](F& f) { f.Set(VmcsField::kCr3TargetCount, 4); }},
    {"I/O-bitmap addresses",
     [](F& f) {
       f.Primary(P1::kUseIoBitmaps);
       f.Set(VmcsField::kIoBitmapAAddress, F::kPage + 1);
     },
     [](F& f) { f.Set(VmcsField::kIoBitmapAAddress, F::kPage + 1); }},
    {"I/O-bitmap addresses",
     [](F& f) {
       f.Primary(P1::kUseIoBitmaps);
       f.Set(VmcsField::kIoBitmapBAddress, F::kBeyondWidth);
     },
     [](F& f) {
       f.Primary(P1::kUseIoBitmaps);
       f.Set(VmcsField::kIoBitmapBAddress, F::kBeyondWidth - 0x1000);
     }},
    {"I/O-bitmap addresses",
     [](F& f) {
       f.capabilities.basic |= VmxBasic::kAddressesLimitedTo32Bits;
       f.Primary(P1::kUseIoBitmaps);
       f.Set(VmcsField::kIoBitmapBAddress, uint64_t{1} << 32);
     },
     [](F& f) {
       f.Primary(P1::kUseIoBitmaps);
       f.Set(VmcsField::kIoBitmapBAddress, uint64_t{1} << 32);
     }},
    {"MSR-bitmap address",
     [](F& f) {
       f.Primary(P1::kUseMsrBitmaps);
       f.Set(VmcsField::kMsrBitmapAddress, 0x800);
     },
     [](F& f) { f.Set(VmcsField::kMsrBitmapAddress, 0x800); }},
    {"MSR-bitmap address",
     [](F& f) {
       f.Primary(P1::kUseMsrBitmaps);
       f.Set(VmcsField::kMsrBitmapAddress, F::kBeyondWidth);
     },
     [](F& f) {
       f.Primary(P1::kUseMsrBitmaps);
       f.Set(VmcsField::kMsrBitmapAddress, F::kPage);
     }},
    {"virtual-APIC address",
     [](F& f) {
       f.UseTprShadow();
       f.Set(VmcsField::kVirtualApicAddress, F::kPage + 8);
     },
     [](F& f) { f.UseTprShadow(); }},
    {"virtual-APIC address",
     [](F& f) {
       f.UseTprShadow();
       f.Set(VmcsField::kVirtualApicAddress, F::kBeyondWidth);
     },
     [](F& f) { f.Set(VmcsField::kVirtualApicAddress, F::kBeyondWidth); }},
    {"TPR threshold: bits 31:4", [](F& f) { f.UseTprShadow(0x10, 0xFF); },
     [](F& f) {
       f.UseVirtualInterruptDelivery();
       f.Set(VmcsField::kTprThreshold, 0x10);
     }},
    {"TPR threshold above VTPR", [](F& f) { f.UseTprShadow(5, 0x4F); },
     [](F& f) { f.UseTprShadow(5, 0x50); }},
    {"TPR threshold above VTPR", [](F& f) { f.UseTprShadow(5, 0x4F); },
     [](F& f) {
       f.UseTprShadow(5, 0x4F);
       f.Secondary(P2::kVirtualizeApicAccesses);
     }},
    {"virtual NMIs without NMI exiting", [](F& f) { f.Pin(PinBased::kVirtualNmis); },
     [](F& f) { f.Pin(PinBased::kVirtualNmis | PinBased::kNmiExiting); }},
    {"NMI-window exiting without virtual NMIs",
     [](F& f) {
       f.Pin(PinBased::kNmiExiting);
       f.Primary(P1::kNmiWindowExiting);
     },
     [](F& f) {
       f.Pin(PinBased::kVirtualNmis | PinBased::kNmiExiting);
       f.Primary(P1::kNmiWindowExiting);
     }},
    {"APIC-access address",
     [](F& f) {
       f.Secondary(P2::kVirtualizeApicAccesses);
       f.Set(VmcsField::kApicAccessAddress, F::kPage + 1);
     },
     [](F& f) {
       f.Secondary(P2::kVirtualizeApicAccesses);
       f.Set(VmcsField::kApicAccessAddress, F::kPage);
     }},
    {"APIC-access address",
     [](F& f) {
       f.Secondary(P2::kVirtualizeApicAccesses);
       f.Set(VmcsField::kApicAccessAddress, F::kBeyondWidth);
     },
     [](F& f) { f.Set(VmcsField::kApicAccessAddress, F::kBeyondWidth); }},
    {"x2APIC mode, APIC registers or interrupt delivery virtualized without TPR shadow",
     [](F& f) { f.Secondary(P2::kVirtualizeX2ApicMode); },
     [](F& f) {
       f.UseTprShadow();
       f.Secondary(P2::kVirtualizeX2ApicMode);
     }},
    {"x2APIC mode, APIC registers or interrupt delivery virtualized without TPR shadow",
     [](F& f) { f.Secondary(P2::kApicRegisterVirtualization); },
     [](F& f) {
       f.UseTprShadow();
       f.Secondary(P2::kApicRegisterVirtualization);
     }},
    {"x2APIC mode, APIC registers or interrupt delivery virtualized without TPR shadow",
     [](F& f) {
       f.Pin(PinBased::kExternalInterruptExiting);
       f.Secondary(P2::kVirtualInterruptDelivery);
     },
     [](F& f) { f.UseVirtualInterruptDelivery(); }},
    {"APIC accesses and x2APIC mode virtualized at once",
     [](F& f) {
       f.UseTprShadow();
       f.Secondary(P2::kVirtualizeX2ApicMode | P2::kVirtualizeApicAccesses);
     },
     [](F& f) {
       f.UseTprShadow();
       f.Secondary(P2::kVirtualizeApicAccesses);
     }},
    {"virtual-interrupt delivery without external-interrupt exiting",
     [](F& f) {
       f.UseVirtualInterruptDelivery();
       f.Clear(VmcsField::kPinBasedControls, PinBased::kExternalInterruptExiting);
     },
     [](F& f) { f.UseVirtualInterruptDelivery(); }},
    {"posted interrupts without virtual-interrupt delivery",
     [](F& f) {
       f.UsePostedInterrupts();
       f.Clear(VmcsField::kSecondaryProcessorBasedControls, P2::kVirtualInterruptDelivery);
     },
     [](F& f) { f.UsePostedInterrupts(); }},
    {"posted interrupts without acknowledging interrupts on exit",
     [](F& f) {
       f.UsePostedInterrupts();
       f.Clear(VmcsField::kVmExitControls, VmExit::kAcknowledgeInterruptOnExit);
     },
     [](F& f) { f.UsePostedInterrupts(); }},
    {"posted-interrupt notification vector",
     [](F& f) {
       f.UsePostedInterrupts();
       f.Set(VmcsField::kPostedInterruptNotificationVector, 0x100);
     },
     [](F& f) {
       f.UsePostedInterrupts();
       f.Set(VmcsField::kPostedInterruptNotificationVector, 0xFF);
     }},
    {"posted-interrupt descriptor address",
     [](F& f) {
       f.UsePostedInterrupts();
       f.Set(VmcsField::kPostedInterruptDescriptorAddress, F::kPage + 32);
     },
     [](F& f) { f.UsePostedInterrupts(); }},
    {"posted-interrupt descriptor address",
     [](F& f) {
       f.UsePostedInterrupts();
       f.Set(VmcsField::kPostedInterruptDescriptorAddress, F::kBeyondWidth);
     },
     [](F& f) {
       f.UsePostedInterrupts();
       f.Set(VmcsField::kPostedInterruptDescriptorAddress, F::kBeyondWidth - 64);
     }},
    {"VPID 0", [](F& f) { f.Secondary(P2::kEnableVpid); },
     [](F& f) {
       f.Secondary(P2::kEnableVpid);
       f.Set(VmcsField::kVirtualProcessorIdentifier, 1);
     }},
    {"EPTP", [](F& f) { f.Secondary(P2::kEnableEpt); }, [](F& f) { f.UseEpt(); }},
    {"PML without EPT", [](F& f) { f.Secondary(P2::kEnablePml); },
     [](F& f) {
       f.UseEpt();
       f.Secondary(P2::kEnablePml);
     }},
    {"PML address",
     [](F& f) {
       f.UseEpt();
       f.Secondary(P2::kEnablePml);
       f.Set(VmcsField::kPmlAddress, F::kPage + 8);
     },
     [](F& f) { f.Set(VmcsField::kPmlAddress, F::kPage + 8); }},
    {"PML address",
     [](F& f) {
       f.UseEpt();
       f.Secondary(P2::kEnablePml);
       f.Set(VmcsField::kPmlAddress, F::kBeyondWidth);
     },
     [](F& f) {
       f.UseEpt();
       f.Secondary(P2::kEnablePml);
       f.Set(VmcsField::kPmlAddress, F::kPage);
     }},
    {"unrestricted guest without EPT", [](F& f) { f.Secondary(P2::kUnrestrictedGuest); },
     [](F& f) { f.UseUnrestrictedGuest(); }},
    {"mode-based execute control without EPT",
     [](F& f) { f.Secondary(P2::kModeBasedExecuteControlForEpt); },
     [](F& f) {
       f.UseEpt();
       f.Secondary(P2::kModeBasedExecuteControlForEpt);
     }},
    {"VM-function controls: reserved bits",
     [](F& f) {
       f.UseEptpSwitching();
       f.Or(VmcsField::kVmFunctionControls, 2);
     },
     [](F& f) { f.Set(VmcsField::kVmFunctionControls, 2); }},
    {"EPTP switching without EPT",
     [](F& f) {
       f.UseEptpSwitching();
       f.Clear(VmcsField::kSecondaryProcessorBasedControls, P2::kEnableEpt);
     },
     [](F& f) { f.Secondary(P2::kEnableVmFunctions); }},
    {"EPTP-list address",
     [](F& f) {
       f.UseEptpSwitching();
       f.Set(VmcsField::kEptpListAddress, F::kPage + 8);
     },
     [](F& f) {
       f.UseEptpSwitching();
       f.Set(VmcsField::kEptpListAddress, F::kPage + 8);
       f.Set(VmcsField::kVmFunctionControls, 0);
     }},
    {"VMREAD-bitmap and VMWRITE-bitmap addresses",
     [](F& f) {
       f.Secondary(P2::kVmcsShadowing);
       f.Set(VmcsField::kVmreadBitmapAddress, F::kPage + 8);
     },
     [](F& f) { f.Set(VmcsField::kVmreadBitmapAddress, F::kPage + 8); }},
    {"VMREAD-bitmap and VMWRITE-bitmap addresses",
     [](F& f) {
       f.Secondary(P2::kVmcsShadowing);
       f.Set(VmcsField::kVmwriteBitmapAddress, F::kBeyondWidth);
     },
     [](F& f) {
       f.Secondary(P2::kVmcsShadowing);
       f.Set(VmcsField::kVmwriteBitmapAddress, F::kPage);
     }},
    {"virtualization-exception information address",
     [](F& f) {
       f.Secondary(P2::kEptViolationVe);
       f.Set(VmcsField::kVirtualizationExceptionInformationAddress, F::kPage + 8);
     },
     [](F& f) { f.Secondary(P2::kEptViolationVe); }},
    {"TSC multiplier 0", [](F& f) { f.Secondary(P2::kUseTscScaling); },
     [](F& f) {
       f.Secondary(P2::kUseTscScaling);
       f.Set(VmcsField::kTscMultiplier, 1);
     }},

    // --- SDM Vol. 3C, 27.2.1.2 "VM-Exit Control Fields".
    {"VM-exit controls: reserved bits", [](F& f) { f.Exit(VmExit::kClearIa32Bndcfgs); },
     [](F& f) { f.Clear(VmcsField::kVmExitControls, VmExit::kSaveDebugControls); }},
    {"VM-exit controls: reserved bits", [](F& f) { f.Clear(VmcsField::kVmExitControls, 1); },
     [](F& f) { f.Exit(VmExit::kSaveIa32Pat); }},
    {"secondary VM-exit controls: reserved bits",
     [](F& f) {
       f.capabilities.true_exit_ctls |= uint64_t{VmExit::kActivateSecondaryControls} << 32;
       f.Exit(VmExit::kActivateSecondaryControls);
       f.Set(VmcsField::kSecondaryVmExitControls, 1);
     },
     [](F& f) { f.Set(VmcsField::kSecondaryVmExitControls, 1); }},
    {"VMX-preemption timer saved without being activated",
     [](F& f) { f.Exit(VmExit::kSaveVmxPreemptionTimerValue); },
     [](F& f) {
       f.Exit(VmExit::kSaveVmxPreemptionTimerValue);
       f.Pin(PinBased::kActivateVmxPreemptionTimer);
     }},
    {"VM-exit MSR-store address",
     [](F& f) {
       f.Set(VmcsField::kVmExitMsrStoreCount, 1);
       f.Set(VmcsField::kVmExitMsrStoreAddress, 8);
     },
     [](F& f) { f.Set(VmcsField::kVmExitMsrStoreAddress, 8); }},
    {"VM-exit MSR-store address",
     [](F& f) {
       f.Set(VmcsField::kVmExitMsrStoreCount, 2);
       f.Set(VmcsField::kVmExitMsrStoreAddress, F::kBeyondWidth - 16);
     },
     [](F& f) {
       f.Set(VmcsField::kVmExitMsrStoreCount, 1);
       f.Set(VmcsField::kVmExitMsrStoreAddress, F::kBeyondWidth - 16);
     }},
    {"VM-exit MSR-store address", [](F& f) { f.Set(VmcsField::kVmExitMsrStoreCount, 513); },
     [](F& f) { f.Set(VmcsField::kVmExitMsrStoreCount, 512); }},
    {"VM-exit MSR-load address",
     [](F& f) {
       f.Set(VmcsField::kVmExitMsrLoadCount, 1);
       f.Set(VmcsField::kVmExitMsrLoadAddress, F::kBeyondWidth);
     },
     [](F& f) { f.Set(VmcsField::kVmExitMsrLoadCount, 1); }},

    // --- SDM Vol. 3C, 27.2.1.3 "VM-Entry Control Fields".
    {"VM-entry controls: reserved bits", [](F& f) { f.Entry(VmEntry::kLoadIa32Bndcfgs); },
     [](F& f) { f.Clear(VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls); }},
    {"VM-entry controls: reserved bits", [](F& f) { f.Clear(VmcsField::kVmEntryControls, 1); },
     [](F& f) { f.Entry(VmEntry::kLoadIa32Pat); }},
    {"injected event: type", [](F& f) { f.Inject(Type::kReserved, 0x21); },
     [](F& f) { f.InjectInterrupt(); }},
    {"injected event: type",
     [](F& f) {
       f.capabilities.true_procbased_ctls &= ~(uint64_t{P1::kMonitorTrapFlag} << 32);
       f.Inject(Type::kOtherEvent, 0);
     },
     [](F& f) { f.Inject(Type::kOtherEvent, 0); }},
    {"injected event: vector", [](F& f) { f.Inject(Type::kNmi, 3); },
     [](F& f) { f.Inject(Type::kNmi, 2); }},
    {"injected event: vector", [](F& f) { f.Inject(Type::kHardwareException, 32); },
     [](F& f) { f.Inject(Type::kHardwareException, 31); }},
    {"injected event: vector", [](F& f) { f.Inject(Type::kOtherEvent, 1); },
     [](F& f) { f.Inject(Type::kOtherEvent, 0); }},
    {"injected event: deliver error code", [](F& f) { f.Inject(Type::kHardwareException, 13); },
     [](F& f) { f.Inject(Type::kHardwareException, 13, true); }},
    {"injected event: deliver error code",
     [](F& f) { f.Inject(Type::kHardwareException, 6, true); },
     [](F& f) { f.Inject(Type::kHardwareException, 6); }},
    {"injected event: deliver error code", [](F& f) { f.Inject(Type::kNmi, 2, true); },
     [](F& f) { f.InjectNmi(); }},
    {"injected event: deliver error code",
     [](F& f) { f.Inject(Type::kSoftwareException, 13, true); },
     [](F& f) { f.Inject(Type::kSoftwareException, 13); }},
    // Though the guest state is invalid too.
    {"injected event: deliver error code",
     [](F& f) {
       f.Clear(VmcsField::kGuestCr0, Cr0::kPe);
       f.Inject(Type::kHardwareException, 13, true);
     },
     [](F& f) { f.Inject(Type::kHardwareException, 13, true); }},
    {"injected event: deliver error code",
     [](F& f) {
       f.MakeRealModeGuest();
       f.Inject(Type::kHardwareException, 13, true);
     },
     [](F& f) {
       f.MakeRealModeGuest();
       f.Inject(Type::kHardwareException, 13);
     }},
    {"injected event: deliver error code",
     [](F& f) {
       f.capabilities.cr4_fixed1 &= ~Cr4::kCet;
       f.Inject(Type::kHardwareException, 21, true);
     },
     [](F& f) { f.Inject(Type::kHardwareException, 21, true); }},
    {"injected event: deliver error code", [](F& f) { f.Inject(Type::kHardwareException, 13); },
     [](F& f) {
       f.capabilities.basic |= VmxBasic::kAnyHardwareExceptionErrorCode;
       f.Inject(Type::kHardwareException, 13);
     }},
    {"injected event: reserved bits",
     [](F& f) {
       f.InjectNmi();
       f.Or(VmcsField::kVmEntryInterruptionInformation, 1 << 12);
     },
     [](F& f) { f.Set(VmcsField::kVmEntryInterruptionInformation, 0x7FFFFFFF); }},
    {"injected event: error code",
     [](F& f) {
       f.Inject(Type::kHardwareException, 13, true);
       f.Set(VmcsField::kVmEntryExceptionErrorCode, 0x10000);
     },
     [](F& f) {
       f.Inject(Type::kHardwareException, 13, true);
       f.Set(VmcsField::kVmEntryExceptionErrorCode, 0xFFFF);
     }},
    {"injected event: error code",
     [](F& f) {
       f.Inject(Type::kHardwareException, 14, true);
       f.Set(VmcsField::kVmEntryExceptionErrorCode, 0x80000000);
     },
     [](F& f) {
       f.InjectNmi();
       f.Set(VmcsField::kVmEntryExceptionErrorCode, 0x80000000);
     }},
    {"injected event: instruction length",
     [](F& f) {
       f.Inject(Type::kSoftwareInterrupt, 0x80);
       f.Set(VmcsField::kVmEntryInstructionLength, 16);
     },
     [](F& f) {
       f.Inject(Type::kSoftwareInterrupt, 0x80);
       f.Set(VmcsField::kVmEntryInstructionLength, 15);
     }},
    {"injected event: instruction length",
     [](F& f) {
       f.capabilities.misc &= ~VmxMisc::kInstructionLengthZero;
       f.Inject(Type::kSoftwareException, 3);
     },
     [](F& f) { f.Inject(Type::kSoftwareException, 3); }},
    {"injected event: instruction length",
     [](F& f) {
       f.Inject(Type::kPrivilegedSoftwareException, 1);
       f.Set(VmcsField::kVmEntryInstructionLength, 16);
     },
     [](F& f) {
       f.InjectNmi();
       f.Set(VmcsField::kVmEntryInstructionLength, 16);
     }},
    {"VM-entry MSR-load address",
     [](F& f) {
       f.Set(VmcsField::kVmEntryMsrLoadCount, 512);
       f.Set(VmcsField::kVmEntryMsrLoadAddress, F::kBeyondWidth - 16 * uint64_t{511});
     },
     [](F& f) {
       f.Set(VmcsField::kVmEntryMsrLoadCount, 512);
       f.Set(VmcsField::kVmEntryMsrLoadAddress, F::kBeyondWidth - 16 * uint64_t{512});
     }},
    {"entry to SMM or deactivation of dual-monitor treatment outside SMM",
     [](F& f) { f.Entry(VmEntry::kEntryToSmm); }, [](F& f) { f.Entry(VmEntry::kLoadIa32Efer); }},
};

class ControlRule : public testing::TestWithParam<EntryCase> {};
TEST_P(ControlRule, IsVmfail7AndItsNeighbourPasses) { ExpectCase(GetParam(), InvalidControls); }
INSTANTIATE_TEST_SUITE_P(Rules, ControlRule, testing::ValuesIn(kCases));

TEST(ControlRules, EachHasACase) {
  ExpectEveryRuleHasACase({ExecutionControlRules(), ExitControlRules(), EntryControlRules()},
                          kCases);
}

TEST(ControlRules, TprThresholdIsComparedWithMemoryThatMayNotBeThere) {
  EntryFixture f;
  f.UseTprShadow(15);
  f.Set(VmcsField::kVirtualApicAddress, 0x77'0000);
  EXPECT_TRUE(f.Check().entered()) << "VTPR reads as all ones";
}

// SDM Vol. 3C, 25.6.11 "Extended-Page-Table Pointer (EPTP)".
TEST(ControlRules, AnEptpIsWhatTheCapabilitySays) {
  Capabilities all = EverythingCapabilities();
  all.ept_vpid_cap |= EptVpidCap::kPageWalkLength5 | EptVpidCap::kAccessedAndDirtyFlags |
                      EptVpidCap::kSupervisorShadowStackControl;
  constexpr uint64_t kEptp = EntryFixture::kEptp;
  const struct {
    uint64_t eptp;
    uint64_t needs;  // with these capabilities it is valid, without them not
  } kNeeding[] = {{kEptp, EptVpidCap::kWriteBack},
                  {kEptp, EptVpidCap::kPageWalkLength4},
                  {kEptp & ~uint64_t{7}, EptVpidCap::kUncacheable},
                  {kEptp + (1 << 3), EptVpidCap::kPageWalkLength5},
                  {kEptp | 1 << 6, EptVpidCap::kAccessedAndDirtyFlags},
                  {kEptp | 1 << 7, EptVpidCap::kSupervisorShadowStackControl}};
  for (const auto& c : kNeeding) {
    EXPECT_TRUE(IsEptpValid(c.eptp, all)) << std::hex << c.eptp;
    Capabilities without = all;
    without.ept_vpid_cap &= ~c.needs;
    EXPECT_FALSE(IsEptpValid(c.eptp, without)) << std::hex << c.eptp;
  }
  for (uint64_t bad :
       {kEptp ^ 6 ^ 1, kEptp ^ 6 ^ 4, kEptp ^ 6 ^ 5, kEptp ^ 6 ^ 7, kEptp - (1 << 3),
        kEptp + (2 << 3), kEptp | 1 << 8, kEptp | 1 << 11, kEptp | EntryFixture::kBeyondWidth}) {
    EXPECT_FALSE(IsEptpValid(bad, all)) << std::hex << bad;
  }
  EXPECT_TRUE(IsEptpValid(kEptp | uint64_t{1} << 39, all));
}

}  // namespace
}  // namespace nvmx::sim
