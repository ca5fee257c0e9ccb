// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs02_controls.h"

#include "core/nested/choreography.h"
#include "core/nested/entry_conditions.h"
#include "core/nested/hardware_address.h"
#include "core/nested/nested_paging.h"
#include "core/nested/tsc.h"
#include "core/nested/vpid02.h"
#include "core/vmx/controls.h"
#include "core/vmx/ept.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

constexpr uint64_t kReadOnly = EptEntry::kRead;
constexpr uint64_t kReadWrite = EptEntry::kRead | EptEntry::kWrite;

// The page that VMCS12 names in the field, as hardware is to find it.
std::optional<uint64_t> HardwarePage(const Vcpu& vcpu, VmcsField field, uint64_t rights) {
  const GuestPhysicalAddress page{vcpu.state.vmcs12.Read(field)};
  const std::optional<PhysicalAddress> address = TranslateForHardware(vcpu, page, rights);
  if (!address) return std::nullopt;
  return address->value;
}

bool IoBitmapsAreReachable(const Vcpu& vcpu) {
  return HardwarePage(vcpu, VmcsField::kIoBitmapAAddress, kReadOnly) &&
         HardwarePage(vcpu, VmcsField::kIoBitmapBAddress, kReadOnly);
}

// The page that is L2's APIC-access page. Where EPT01 does not let L1 reach the one that VMCS12
// names, it is a page of L0's: no access of L2 leads there, and what else the control means, above
// all for the TPR threshold, stays. SDM Vol. 3C, 27.2.1.1 "VM-Execution Control Fields".
std::optional<uint64_t> ApicAccessPage(const Vcpu& vcpu) {
  if (const auto page = HardwarePage(vcpu, VmcsField::kApicAccessAddress, kReadWrite)) return page;
  if (vcpu.host_pages.pages.empty()) return std::nullopt;
  return vcpu.host_pages.AddressOf(kMsrBitmapPage).value;
}

// Without a page for APIC accesses there is no shadow either: its threshold would be checked.
bool HasPagesForTprShadow(const Vcpu& vcpu) {
  return HardwarePage(vcpu, VmcsField::kVirtualApicAddress, kReadWrite) &&
         (!HasSecondary(vcpu.state.vmcs12, Secondary::kVirtualizeApicAccesses) ||
          ApicAccessPage(vcpu));
}

// Where EPT01 does not let L1 reach the page that a control is about, the control cannot be given
// to hardware. What it would do with memory that does not answer, reading all ones, is then done
// without it: all I/O exits; CR8 exits.
uint32_t PrimaryControls(const Vcpu& vcpu) {
  const VmcsImage& v = vcpu.state.vmcs12;
  uint32_t controls = v.Get<VmcsField::kPrimaryProcessorBasedControls>();
  if (vcpu.host_pages.pages.empty()) controls &= ~PrimaryProcessorBased::kUseMsrBitmaps;
  if (HasPrimary(v, PrimaryProcessorBased::kUseIoBitmaps) && !IoBitmapsAreReachable(vcpu)) {
    controls &= ~PrimaryProcessorBased::kUseIoBitmaps;
    controls |= PrimaryProcessorBased::kUnconditionalIoExiting;
  }
  if (HasPrimary(v, PrimaryProcessorBased::kUseTprShadow) && !HasPagesForTprShadow(vcpu)) {
    controls &= ~PrimaryProcessorBased::kUseTprShadow;
    controls |= PrimaryProcessorBased::kCr8LoadExiting | PrimaryProcessorBased::kCr8StoreExiting;
  }
  // Reading the counter is transparent only if no view is between.
  controls |= vcpu.state.vmcs01_inputs.primary & PrimaryProcessorBased::kUseTscOffsetting;
  if (vcpu.state.offered.SupportsPrimary(PrimaryProcessorBased::kActivateSecondaryControls)) {
    controls |= PrimaryProcessorBased::kActivateSecondaryControls;
  }
  return controls;
}

// VMCS shadowing is done by software: the shadow VMCS has a format of ours. A page-modification log
// is written by software too.
uint32_t SecondaryControls(const Vcpu& vcpu) {
  constexpr uint32_t kNotForHardware = Secondary::kVmcsShadowing | Secondary::kEnablePml |
                                       Secondary::kEnableEpt | Secondary::kEnableVpid |
                                       Secondary::kEnableVmFunctions;
  const VmcsImage& v = vcpu.state.vmcs12;
  const auto secondary01 = static_cast<uint32_t>(vcpu.state.vmcs01_inputs.secondary);
  uint32_t controls = HasSecondary(v, 0) ? v.Get<VmcsField::kSecondaryProcessorBasedControls>() : 0;
  controls &= ~kNotForHardware;
  if (HasSecondary(v, Secondary::kVirtualizeApicAccesses) && !ApicAccessPage(vcpu)) {
    controls &= ~Secondary::kVirtualizeApicAccesses;
  }
  if (!HasPrimary(v, PrimaryProcessorBased::kUseTscOffsetting)) {
    controls &= ~Secondary::kUseTscScaling;
  }
  if ((PrimaryControls(vcpu) & PrimaryProcessorBased::kUseTprShadow) == 0) {
    controls &= ~Secondary::kVirtualizeX2ApicMode;
  }
  controls |= secondary01 & Secondary::kUseTscScaling;
  return controls | TranslationControls02(vcpu, secondary01);
}

// IA32_PERF_GLOBAL_CTRL is loaded by software: by hardware it would be loaded again after each exit
// that L0 keeps. What L1's timer has left is L0's to know (preemption_timer.h).
uint32_t ExitControls(const Vcpu& vcpu) {
  return (vcpu.state.vmcs12.Get<VmcsField::kVmExitControls>() |
          L0ExitControls(vcpu.state.offered)) &
         ~(VmExit::kLoadIa32PerfGlobalCtrl | VmExit::kSaveVmxPreemptionTimerValue);
}

TscView TscOf01(const Vcpu& vcpu) {
  const Vmcs01Inputs& inputs = vcpu.state.vmcs01_inputs;
  return {inputs.tsc_multiplier, inputs.tsc_offset};
}

TscView TscOf12(const Vcpu& vcpu) {
  const VmcsImage& v = vcpu.state.vmcs12;
  if (!HasPrimary(v, PrimaryProcessorBased::kUseTscOffsetting)) return {};
  return {HasSecondary(v, Secondary::kUseTscScaling) ? v.Get<VmcsField::kTscMultiplier>()
                                                     : TscView::kUnscaled,
          v.Get<VmcsField::kTscOffset>()};
}

// The bits of CR4 that L1 was not offered are L0's: L2 finds them 0, and an attempt to set one
// exits, so that it can raise #GP as it does on a processor without the feature.
uint64_t L0Cr4Bits(const Vcpu& vcpu) { return ~vcpu.state.offered.cr4_fixed1; }

struct Dependency {
  VmcsField field;
  uint64_t bits;
  FieldSet affected;
};
constexpr uint64_t kAnyBit = ~uint64_t{0};
constexpr FieldSet kTsc = {VmcsField::kTscOffset, VmcsField::kTscMultiplier};
constexpr FieldSet kProcessorBased = {VmcsField::kPrimaryProcessorBasedControls,
                                      VmcsField::kSecondaryProcessorBasedControls};
constexpr Dependency kDependencies[] = {
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTscOffsetting,
     kTsc | kProcessorBased},
    {VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kActivateSecondaryControls | PrimaryProcessorBased::kUseTprShadow,
     kTsc | kProcessorBased},
    {VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kActivateSecondaryControls,
     {VmcsField::kVirtualProcessorIdentifier, VmcsField::kApicAccessAddress}},
    {VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseIoBitmaps,
     {VmcsField::kIoBitmapAAddress, VmcsField::kIoBitmapBAddress}},
    {VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseTprShadow,
     {VmcsField::kVirtualApicAddress}},
    {VmcsField::kSecondaryProcessorBasedControls,
     Secondary::kEnableVpid,
     {VmcsField::kVirtualProcessorIdentifier}},
    {VmcsField::kSecondaryProcessorBasedControls,
     Secondary::kVirtualizeApicAccesses,
     {VmcsField::kApicAccessAddress}},
    {VmcsField::kSecondaryProcessorBasedControls, Secondary::kUseTscScaling, kTsc},
    {VmcsField::kTscMultiplier, kAnyBit, {VmcsField::kTscOffset}},
    {VmcsField::kIoBitmapAAddress, kAnyBit, {VmcsField::kPrimaryProcessorBasedControls}},
    {VmcsField::kIoBitmapBAddress, kAnyBit, {VmcsField::kPrimaryProcessorBasedControls}},
    {VmcsField::kVirtualApicAddress, kAnyBit, kProcessorBased},
    {VmcsField::kApicAccessAddress, kAnyBit, kProcessorBased},
    {VmcsField::kCr4GuestHostMask, kAnyBit, {VmcsField::kCr4ReadShadow}},
};

consteval FieldSet FieldsWithDependents() {
  FieldSet fields;
  for (const Dependency& row : kDependencies) fields.Add(row.field);
  return fields;
}
constexpr FieldSet kWithDependents = FieldsWithDependents();

}  // namespace

constinit const FieldSet kControlsThatDependOnVmcs01 = kTsc | kProcessorBased;

constinit const FieldSet kControlsThatDependOnEpt01 =
    kProcessorBased | FieldSet{VmcsField::kIoBitmapAAddress, VmcsField::kIoBitmapBAddress,
                               VmcsField::kVirtualApicAddress, VmcsField::kApicAccessAddress};

FieldSet ControlsThatDependOn(VmcsField field, uint64_t changed_bits) {
  FieldSet affected;
  if (!kWithDependents.Has(field)) return affected;
  for (const Dependency& row : kDependencies) {
    if (row.field == field && (row.bits & changed_bits) != 0) affected |= row.affected;
  }
  return affected;
}

Vmcs01Inputs ReadVmcs01Inputs(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  Vmcs01Inputs inputs{};
  inputs.tsc_multiplier = TscView::kUnscaled;
  inputs.primary = vmcs.Read(VmcsField::kPrimaryProcessorBasedControls);
  if ((inputs.primary & PrimaryProcessorBased::kActivateSecondaryControls) != 0) {
    inputs.secondary = vmcs.Read(VmcsField::kSecondaryProcessorBasedControls);
  }
  if ((inputs.primary & PrimaryProcessorBased::kUseTscOffsetting) != 0) {
    inputs.tsc_offset = vmcs.Read(VmcsField::kTscOffset);
    if ((inputs.secondary & Secondary::kUseTscScaling) != 0) {
      inputs.tsc_multiplier = vmcs.Read(VmcsField::kTscMultiplier);
    }
  }
  // The rest of these controls is L1's own affair.
  inputs.primary &= PrimaryProcessorBased::kUseTscOffsetting;
  inputs.secondary &= Secondary::kUseTscScaling | Secondary::kEnableEpt;
  return inputs;
}

std::optional<uint64_t> MergedControl(const Vcpu& vcpu, VmcsField field) {
  const VmcsImage& v = vcpu.state.vmcs12;
  const auto if_primary = [&](uint32_t control, uint64_t rights) {
    return HasPrimary(v, control) ? HardwarePage(vcpu, field, rights) : std::nullopt;
  };
  switch (field) {
    case VmcsField::kPinBasedControls:
      return vcpu.choreography.Vmcs02PinBasedControls(v.Get<VmcsField::kPinBasedControls>());
    case VmcsField::kPrimaryProcessorBasedControls:
      return PrimaryControls(vcpu);
    case VmcsField::kSecondaryProcessorBasedControls:
      return SecondaryControls(vcpu);
    case VmcsField::kVmExitControls:
      return ExitControls(vcpu);
    case VmcsField::kVmEntryControls:
      return (v.Get<VmcsField::kVmEntryControls>() | kL0EntryControls) &
             ~VmEntry::kLoadIa32PerfGlobalCtrl;
    case VmcsField::kIoBitmapAAddress:
    case VmcsField::kIoBitmapBAddress:
      return if_primary(PrimaryProcessorBased::kUseIoBitmaps, kReadOnly);
    case VmcsField::kVirtualApicAddress:
      return if_primary(PrimaryProcessorBased::kUseTprShadow, kReadWrite);
    case VmcsField::kApicAccessAddress:
      return HasSecondary(v, Secondary::kVirtualizeApicAccesses) ? ApicAccessPage(vcpu)
                                                                 : std::nullopt;
    case VmcsField::kMsrBitmapAddress:
      if (vcpu.host_pages.pages.empty()) return std::nullopt;
      return vcpu.host_pages.AddressOf(kMsrBitmapPage).value;
    case VmcsField::kVirtualProcessorIdentifier:
      return Vpid02(Vpid12(v));
    case VmcsField::kTscOffset:
      return Compose(TscOf01(vcpu), TscOf12(vcpu)).offset;
    case VmcsField::kTscMultiplier:
      return Compose(TscOf01(vcpu), TscOf12(vcpu)).multiplier;
    case VmcsField::kCr4GuestHostMask:
      return v.Get<VmcsField::kCr4GuestHostMask>() | L0Cr4Bits(vcpu);
    case VmcsField::kCr4ReadShadow:
      return v.Get<VmcsField::kCr4ReadShadow>() &
             (v.Get<VmcsField::kCr4GuestHostMask>() | ~L0Cr4Bits(vcpu));
    case VmcsField::kCr0GuestHostMask:
    case VmcsField::kCr0ReadShadow:
    case VmcsField::kExceptionBitmap:
    case VmcsField::kPageFaultErrorCodeMask:
    case VmcsField::kPageFaultErrorCodeMatch:
      return v.Read(field);
    default:
      return std::nullopt;
  }
}

}  // namespace nvmx
