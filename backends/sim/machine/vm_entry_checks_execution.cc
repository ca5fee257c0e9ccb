// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 27.2.1.1 "VM-Execution Control Fields".
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

using P1 = PrimaryProcessorBased;
using P2 = Secondary;

// Where VTPR is on the virtual-APIC page. SDM Vol. 3C, 30.1.1 "Virtualized APIC Registers".
constexpr uint64_t kVtprOffset = 0x80;

// Bits 7:4 of VTPR.
uint32_t VirtualTaskPriorityClass(const EntryInput& in) {
  std::byte vtpr{};
  in.memory.ReadPhysical(in.Get<VmcsField::kVirtualApicAddress>() + kVtprOffset,
                         std::span(&vtpr, 1));
  return static_cast<uint32_t>(vtpr) >> 4;
}

constexpr EntryRule kRules[] = {
    {"pin-based controls: reserved bits",
     [](const EntryInput& in) {
       return AllowsControls(in.capabilities.PinBasedControls(),
                             in.Get<VmcsField::kPinBasedControls>());
     }},
    {"primary processor-based controls: reserved bits",
     [](const EntryInput& in) {
       return AllowsControls(in.capabilities.PrimaryProcessorBasedControls(),
                             in.Get<VmcsField::kPrimaryProcessorBasedControls>());
     }},
    {"secondary processor-based controls: reserved bits",
     [](const EntryInput& in) {
       return !in.Primary(P1::kActivateSecondaryControls) ||
              AllowsControls(in.capabilities.procbased_ctls2,
                             in.Get<VmcsField::kSecondaryProcessorBasedControls>());
     }},
    {"tertiary processor-based controls: reserved bits",
     [](const EntryInput& in) {
       return !in.Primary(P1::kActivateTertiaryControls) ||
              (in.Get<VmcsField::kTertiaryProcessorBasedControls>() &
               ~in.capabilities.procbased_ctls3) == 0;
     }},
    {"CR3-target count",
     [](const EntryInput& in) {
       return in.Get<VmcsField::kCr3TargetCount>() <= in.capabilities.Cr3TargetCount();
     }},
    {"I/O-bitmap addresses",
     [](const EntryInput& in) {
       return !in.Primary(P1::kUseIoBitmaps) ||
              (in.IsVmxPage(in.Get<VmcsField::kIoBitmapAAddress>()) &&
               in.IsVmxPage(in.Get<VmcsField::kIoBitmapBAddress>()));
     }},
    {"MSR-bitmap address",
     [](const EntryInput& in) {
       return !in.Primary(P1::kUseMsrBitmaps) ||
              in.IsVmxPage(in.Get<VmcsField::kMsrBitmapAddress>());
     }},
    {"virtual-APIC address",
     [](const EntryInput& in) {
       return !in.Primary(P1::kUseTprShadow) ||
              in.IsVmxPage(in.Get<VmcsField::kVirtualApicAddress>());
     }},
    {"TPR threshold: bits 31:4",
     [](const EntryInput& in) {
       return !in.Primary(P1::kUseTprShadow) || in.Secondary(P2::kVirtualInterruptDelivery) ||
              in.Get<VmcsField::kTprThreshold>() >> 4 == 0;
     }},
    {"TPR threshold above VTPR",
     [](const EntryInput& in) {
       return !in.Primary(P1::kUseTprShadow) || in.Secondary(P2::kVirtualizeApicAccesses) ||
              in.Secondary(P2::kVirtualInterruptDelivery) ||
              (in.Get<VmcsField::kTprThreshold>() & 0xF) <= VirtualTaskPriorityClass(in);
     }},
    {"virtual NMIs without NMI exiting",
     [](const EntryInput& in) {
       return !in.Pin(PinBased::kVirtualNmis) || in.Pin(PinBased::kNmiExiting);
     }},
    {"NMI-window exiting without virtual NMIs",
     [](const EntryInput& in) {
       return !in.Primary(P1::kNmiWindowExiting) || in.Pin(PinBased::kVirtualNmis);
     }},
    {"APIC-access address",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kVirtualizeApicAccesses) ||
              in.IsVmxPage(in.Get<VmcsField::kApicAccessAddress>());
     }},
    {"x2APIC mode, APIC registers or interrupt delivery virtualized without TPR shadow",
     [](const EntryInput& in) {
       return in.Primary(P1::kUseTprShadow) ||
              !in.Secondary(P2::kVirtualizeX2ApicMode | P2::kApicRegisterVirtualization |
                            P2::kVirtualInterruptDelivery);
     }},
    {"APIC accesses and x2APIC mode virtualized at once",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kVirtualizeX2ApicMode) ||
              !in.Secondary(P2::kVirtualizeApicAccesses);
     }},
    {"virtual-interrupt delivery without external-interrupt exiting",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kVirtualInterruptDelivery) ||
              in.Pin(PinBased::kExternalInterruptExiting);
     }},
    {"posted interrupts without virtual-interrupt delivery",
     [](const EntryInput& in) {
       return !in.Pin(PinBased::kProcessPostedInterrupts) ||
              in.Secondary(P2::kVirtualInterruptDelivery);
     }},
    {"posted interrupts without acknowledging interrupts on exit",
     [](const EntryInput& in) {
       return !in.Pin(PinBased::kProcessPostedInterrupts) ||
              in.Exit(VmExit::kAcknowledgeInterruptOnExit);
     }},
    {"posted-interrupt notification vector",
     [](const EntryInput& in) {
       return !in.Pin(PinBased::kProcessPostedInterrupts) ||
              in.Get<VmcsField::kPostedInterruptNotificationVector>() <= 0xFF;
     }},
    {"posted-interrupt descriptor address",
     [](const EntryInput& in) {
       constexpr uint64_t kAlignment = 64;
       const uint64_t address = in.Get<VmcsField::kPostedInterruptDescriptorAddress>();
       return !in.Pin(PinBased::kProcessPostedInterrupts) ||
              (IsAligned(address, kAlignment) && in.IsVmxAddress(address));
     }},
    {"VPID 0",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kEnableVpid) ||
              in.Get<VmcsField::kVirtualProcessorIdentifier>() != 0;
     }},
    {"EPTP",
     [](const EntryInput& in) {
       // A processor whose EPT has no capabilities does not look at EPTP.
       return !in.Secondary(P2::kEnableEpt) || in.capabilities.ept_vpid_cap == 0 ||
              IsEptpValid(in.Get<VmcsField::kEptPointer>(), in.capabilities);
     }},
    {"PML without EPT",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kEnablePml) || in.Secondary(P2::kEnableEpt);
     }},
    {"PML address",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kEnablePml) || in.IsVmxPage(in.Get<VmcsField::kPmlAddress>());
     }},
    {"unrestricted guest without EPT",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kUnrestrictedGuest) || in.Secondary(P2::kEnableEpt);
     }},
    {"mode-based execute control without EPT",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kModeBasedExecuteControlForEpt) || in.Secondary(P2::kEnableEpt);
     }},
    {"VM-function controls: reserved bits",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kEnableVmFunctions) ||
              (in.Get<VmcsField::kVmFunctionControls>() & ~in.capabilities.vmfunc) == 0;
     }},
    {"EPTP switching without EPT",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kEnableVmFunctions) ||
              (in.Get<VmcsField::kVmFunctionControls>() & VmFunction::kEptpSwitching) == 0 ||
              in.Secondary(P2::kEnableEpt);
     }},
    {"EPTP-list address",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kEnableVmFunctions) ||
              (in.Get<VmcsField::kVmFunctionControls>() & VmFunction::kEptpSwitching) == 0 ||
              in.IsVmxPage(in.Get<VmcsField::kEptpListAddress>());
     }},
    {"VMREAD-bitmap and VMWRITE-bitmap addresses",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kVmcsShadowing) ||
              (in.IsVmxPage(in.Get<VmcsField::kVmreadBitmapAddress>()) &&
               in.IsVmxPage(in.Get<VmcsField::kVmwriteBitmapAddress>()));
     }},
    {"virtualization-exception information address",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kEptViolationVe) ||
              in.IsVmxPage(in.Get<VmcsField::kVirtualizationExceptionInformationAddress>());
     }},
    {"TSC multiplier 0",
     [](const EntryInput& in) {
       return !in.Secondary(P2::kUseTscScaling) || in.Get<VmcsField::kTscMultiplier>() != 0;
     }},
};

}  // namespace

EntryRules ExecutionControlRules() { return {kRules, FirstBroken<kRules>}; }

}  // namespace nvmx::sim
