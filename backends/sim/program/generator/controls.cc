// SPDX-License-Identifier: Apache-2.0
//
// The control fields, and the fields that a control needs.
#include "backends/sim/program/generator/topics.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"

namespace nvmx::sim {
namespace {

struct ControlBit {
  VmcsField field;
  uint64_t bit;
};

// Those that need no other field.
constexpr ControlBit kFreeBits[] = {
    {VmcsField::kPinBasedControls, PinBased::kExternalInterruptExiting},
    {VmcsField::kPinBasedControls, PinBased::kNmiExiting},
    {VmcsField::kPinBasedControls, PinBased::kVirtualNmis},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kInterruptWindowExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUseTscOffsetting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kHltExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kInvlpgExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kMwaitExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kRdpmcExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kRdtscExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kCr3LoadExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kCr3StoreExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kCr8LoadExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kCr8StoreExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kNmiWindowExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kMovDrExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kUnconditionalIoExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kMonitorTrapFlag},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kMonitorExiting},
    {VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kPauseExiting},
    {VmcsField::kSecondaryProcessorBasedControls, Secondary::kDescriptorTableExiting},
    {VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableRdtscp},
    {VmcsField::kSecondaryProcessorBasedControls, Secondary::kWbinvdExiting},
    {VmcsField::kSecondaryProcessorBasedControls, Secondary::kRdrandExiting},
    {VmcsField::kSecondaryProcessorBasedControls, Secondary::kRdseedExiting},
    {VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableInvpcid},
    {VmcsField::kVmExitControls, VmExit::kSaveDebugControls},
    {VmcsField::kVmExitControls, VmExit::kLoadIa32PerfGlobalCtrl},
    {VmcsField::kVmExitControls, VmExit::kAcknowledgeInterruptOnExit},
    {VmcsField::kVmExitControls, VmExit::kSaveIa32Pat},
    {VmcsField::kVmExitControls, VmExit::kLoadIa32Pat},
    {VmcsField::kVmExitControls, VmExit::kSaveIa32Efer},
    {VmcsField::kVmExitControls, VmExit::kLoadIa32Efer},
    {VmcsField::kVmEntryControls, VmEntry::kLoadDebugControls},
    {VmcsField::kVmEntryControls, VmEntry::kLoadIa32PerfGlobalCtrl},
    {VmcsField::kVmEntryControls, VmEntry::kLoadIa32Pat},
    {VmcsField::kVmEntryControls, VmEntry::kLoadIa32Efer},
};

constexpr VmcsField kControlFields[] = {
    VmcsField::kPinBasedControls, VmcsField::kPrimaryProcessorBasedControls,
    VmcsField::kSecondaryProcessorBasedControls, VmcsField::kVmExitControls,
    VmcsField::kVmEntryControls};

struct AddressField {
  VmcsField field;
  VmcsField control_field;
  uint64_t control;
};
constexpr AddressField kAddressFields[] = {
    {VmcsField::kIoBitmapAAddress, VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseIoBitmaps},
    {VmcsField::kIoBitmapBAddress, VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseIoBitmaps},
    {VmcsField::kMsrBitmapAddress, VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseMsrBitmaps},
    {VmcsField::kVirtualApicAddress, VmcsField::kPrimaryProcessorBasedControls,
     PrimaryProcessorBased::kUseTprShadow},
    {VmcsField::kApicAccessAddress, VmcsField::kSecondaryProcessorBasedControls,
     Secondary::kVirtualizeApicAccesses},
    {VmcsField::kVmreadBitmapAddress, VmcsField::kSecondaryProcessorBasedControls,
     Secondary::kVmcsShadowing},
    {VmcsField::kVmwriteBitmapAddress, VmcsField::kSecondaryProcessorBasedControls,
     Secondary::kVmcsShadowing},
    {VmcsField::kPmlAddress, VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnablePml},
    {VmcsField::kEptPointer, VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableEpt},
    {VmcsField::kEptpListAddress, VmcsField::kSecondaryProcessorBasedControls,
     Secondary::kEnableVmFunctions},
};

// A control with an address that may be bad.
void AddAddress(Random& random, ProgramBuilder& builder) {
  const AddressField& row = random.Of(kAddressFields);
  builder.SetControls(row.control_field, row.control);
  const uint64_t page = builder.AddressOf(builder.AddPages("page", 1));
  const uint64_t value = random.OneIn(3)   ? page
                         : random.OneIn(2) ? page ^ random.Bit(64)
                                           : random.Awkward(64);
  builder.Prelude(ProgramBuilder::Write(row.field, value));
}

void AddSmallField(Random& random, ProgramBuilder& builder) {
  static constexpr VmcsField kSmall[] = {
      VmcsField::kCr3TargetCount,         VmcsField::kVirtualProcessorIdentifier,
      VmcsField::kTprThreshold,           VmcsField::kVmFunctionControls,
      VmcsField::kExceptionBitmap,        VmcsField::kPageFaultErrorCodeMask,
      VmcsField::kPageFaultErrorCodeMatch, VmcsField::kTscMultiplier,
      VmcsField::kPmlIndex,               VmcsField::kCr0GuestHostMask,
      VmcsField::kCr4GuestHostMask,       VmcsField::kCr0ReadShadow,
      VmcsField::kCr4ReadShadow};
  const VmcsField field = random.Of(kSmall);
  if (field == VmcsField::kVirtualProcessorIdentifier) {
    builder.SetControls(VmcsField::kSecondaryProcessorBasedControls, Secondary::kEnableVpid);
  }
  const uint64_t value = random.OneIn(2) ? random.Below(8) : random.Awkward(64);
  builder.Prelude(ProgramBuilder::Write(field, value));
}

}  // namespace

void AddControls(Random& random, ProgramBuilder& builder) {
  const uint64_t changes = random.Between(1, 5);
  for (uint64_t i = 0; i < changes; ++i) {
    const ControlBit& row = random.Of(kFreeBits);
    if (random.OneIn(2)) {
      builder.SetControls(row.field, row.bit);
    } else {
      builder.ClearControls(row.field, row.bit);
    }
  }
  if (random.OneIn(4)) AddAddress(random, builder);
  if (random.OneIn(4)) AddSmallField(random, builder);
  if (random.OneIn(6)) {
    // Not adjusted to the capability MSR: reserved bits, or what must be 1 as 0.
    builder.Prelude(ProgramBuilder::Write(random.Of(kControlFields), random.Awkward(32)));
  }
  AddL2Instructions(random, builder, random.Between(1, 4));
}

}  // namespace nvmx::sim
