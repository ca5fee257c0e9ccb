// SPDX-License-Identifier: Apache-2.0
#include "core/nested/offered_capabilities.h"

#include "core/nested/vmcs12_region.h"
#include "core/vmx/controls.h"

namespace nvmx {
namespace {

// The optional 1-settings that the core carries through to L2 correctly.
constexpr uint32_t kPinBased = PinBased::kNmiExiting | PinBased::kVirtualNmis;
constexpr uint32_t kPrimary =
    PrimaryProcessorBased::kHltExiting | PrimaryProcessorBased::kNmiWindowExiting;
constexpr uint32_t kExit = VmExit::kSaveDebugControls | VmExit::kHostAddressSpaceSize |
                           VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                           VmExit::kLoadIa32Efer;
constexpr uint32_t kEntry = VmEntry::kLoadDebugControls | VmEntry::kIa32eModeGuest |
                            VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer;

// Bits that are 1 in the default1 class must be reported as 1 in any case.
uint64_t Restrict(uint64_t hardware, uint32_t default1, uint32_t supported) {
  const auto must_be_1 = static_cast<uint32_t>(hardware);
  const auto may_be_1 = static_cast<uint32_t>(hardware >> 32);
  return MakeControlCapability(must_be_1, may_be_1 & (supported | default1));
}

}  // namespace

Capabilities OfferedCapabilities(const Capabilities& hardware) {
  Capabilities offered;
  constexpr uint64_t kRegionSize = 4096;
  constexpr uint64_t kWriteBack = 6;
  offered.basic = kVmcs12Revision | kRegionSize << VmxBasic::kRegionSizeShift |
                  kWriteBack << VmxBasic::kMemoryTypeShift |
                  (hardware.basic & VmxBasic::kTrueControls);
  offered.pinbased_ctls = Restrict(hardware.pinbased_ctls, PinBased::kDefault1, kPinBased);
  offered.procbased_ctls =
      Restrict(hardware.procbased_ctls, PrimaryProcessorBased::kDefault1, kPrimary);
  offered.exit_ctls = Restrict(hardware.exit_ctls, VmExit::kDefault1, kExit);
  offered.entry_ctls = Restrict(hardware.entry_ctls, VmEntry::kDefault1, kEntry);
  offered.true_pinbased_ctls =
      Restrict(hardware.true_pinbased_ctls, PinBased::kDefault1, kPinBased);
  offered.true_procbased_ctls =
      Restrict(hardware.true_procbased_ctls, PrimaryProcessorBased::kDefault1, kPrimary);
  offered.true_exit_ctls = Restrict(hardware.true_exit_ctls, VmExit::kDefault1, kExit);
  offered.true_entry_ctls = Restrict(hardware.true_entry_ctls, VmEntry::kDefault1, kEntry);
  offered.misc = hardware.misc &
                 (VmxMisc::kStoreLmaOnExit | VmxMisc::kActivityStateHlt | VmxMisc::kMaximumMsrList);
  offered.cr0_fixed0 = hardware.cr0_fixed0;
  offered.cr0_fixed1 = hardware.cr0_fixed1;
  offered.cr4_fixed0 = hardware.cr4_fixed0;
  offered.cr4_fixed1 = hardware.cr4_fixed1;
  offered.physical_address_width = hardware.physical_address_width;
  offered.linear_address_width = hardware.linear_address_width;
  offered.vmcs_enum = MakeVmcsEnum(offered);
  return offered;
}

}  // namespace nvmx
