// SPDX-License-Identifier: Apache-2.0
#include "core/testing/builders.h"

#include "core/nested/offered_capabilities.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/rflags.h"

namespace nvmx {
namespace {

constexpr uint64_t kCr0 = Cr0::kPe | Cr0::kMp | Cr0::kEt | Cr0::kNe | Cr0::kPg;
constexpr uint64_t kCr4 = Cr4::kPae | Cr4::kVmxe;
constexpr uint64_t kLongMode = Efer::kLme | Efer::kLma;
constexpr uint64_t kCode64 = 0xA09B;
constexpr uint64_t kData = 0xC093;
constexpr uint64_t kBusyTss = 0x008B;
constexpr uint64_t kUnusable = 0x10000;

void SetControls(VmcsImage& v, const Capabilities& offered) {
  v.Set<VmcsField::kPinBasedControls>(static_cast<uint32_t>(offered.PinBasedControls()) |
                                      PinBased::kNmiExiting | PinBased::kVirtualNmis);
  v.Set<VmcsField::kPrimaryProcessorBasedControls>(
      static_cast<uint32_t>(offered.PrimaryProcessorBasedControls()) |
      PrimaryProcessorBased::kHltExiting);
  v.Set<VmcsField::kVmExitControls>(static_cast<uint32_t>(offered.VmExitControls()) |
                                    VmExit::kSaveDebugControls | VmExit::kHostAddressSpaceSize |
                                    VmExit::kSaveIa32Pat | VmExit::kLoadIa32Pat |
                                    VmExit::kSaveIa32Efer | VmExit::kLoadIa32Efer);
  v.Set<VmcsField::kVmEntryControls>(static_cast<uint32_t>(offered.VmEntryControls()) |
                                     VmEntry::kLoadDebugControls | VmEntry::kIa32eModeGuest |
                                     VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer);
}

void SetHostState(VmcsImage& v) {
  v.Set<VmcsField::kHostCr0>(kCr0 | Cr0::kWp);
  v.Set<VmcsField::kHostCr3>(0x1000);
  v.Set<VmcsField::kHostCr4>(kCr4 | Cr4::kOsfxsr);
  v.Set<VmcsField::kHostEsSelector>(0x10);
  v.Set<VmcsField::kHostCsSelector>(0x08);
  v.Set<VmcsField::kHostSsSelector>(0x10);
  v.Set<VmcsField::kHostDsSelector>(0x10);
  v.Set<VmcsField::kHostFsSelector>(0x18);
  v.Set<VmcsField::kHostGsSelector>(0x20);
  v.Set<VmcsField::kHostTrSelector>(0x28);
  v.Set<VmcsField::kHostFsBase>(0x1F000);
  v.Set<VmcsField::kHostGsBase>(0xFFFF'8000'0001'6000);
  v.Set<VmcsField::kHostTrBase>(0x17000);
  v.Set<VmcsField::kHostGdtrBase>(0x18000);
  v.Set<VmcsField::kHostIdtrBase>(0x19000);
  v.Set<VmcsField::kHostIa32SysenterCs>(0x08);
  v.Set<VmcsField::kHostIa32SysenterEsp>(0x1A000);
  v.Set<VmcsField::kHostIa32SysenterEip>(0x1B000);
  v.Set<VmcsField::kHostRsp>(0x1C000);
  v.Set<VmcsField::kHostRip>(0x1D000);
  v.Set<VmcsField::kHostIa32Pat>(kPatReset);
  v.Set<VmcsField::kHostIa32Efer>(kLongMode | Efer::kNxe);
}

void SetGuestSegments(VmcsImage& v) {
  for (VmcsField selector :
       {VmcsField::kGuestEsSelector, VmcsField::kGuestSsSelector, VmcsField::kGuestDsSelector,
        VmcsField::kGuestFsSelector, VmcsField::kGuestGsSelector}) {
    v.Write(selector, 0x30);
  }
  for (VmcsField limit :
       {VmcsField::kGuestEsLimit, VmcsField::kGuestCsLimit, VmcsField::kGuestSsLimit,
        VmcsField::kGuestDsLimit, VmcsField::kGuestFsLimit, VmcsField::kGuestGsLimit}) {
    v.Write(limit, 0xFFFFFFFF);
  }
  for (VmcsField rights : {VmcsField::kGuestEsAccessRights, VmcsField::kGuestSsAccessRights,
                           VmcsField::kGuestDsAccessRights, VmcsField::kGuestFsAccessRights,
                           VmcsField::kGuestGsAccessRights}) {
    v.Write(rights, kData);
  }
  v.Set<VmcsField::kGuestCsSelector>(0x38);
  v.Set<VmcsField::kGuestCsAccessRights>(kCode64);
  v.Set<VmcsField::kGuestFsBase>(0x2F000);
  v.Set<VmcsField::kGuestGsBase>(0xFFFF'8000'0002'6000);
  v.Set<VmcsField::kGuestTrSelector>(0x40);
  v.Set<VmcsField::kGuestTrBase>(0x27000);
  v.Set<VmcsField::kGuestTrLimit>(0x67);
  v.Set<VmcsField::kGuestTrAccessRights>(kBusyTss);
  v.Set<VmcsField::kGuestLdtrAccessRights>(kUnusable);
  v.Set<VmcsField::kGuestGdtrBase>(0x28000);
  v.Set<VmcsField::kGuestGdtrLimit>(0x7F);
  v.Set<VmcsField::kGuestIdtrBase>(0x29000);
  v.Set<VmcsField::kGuestIdtrLimit>(0xFFF);
}

void SetGuestRegisters(VmcsImage& v) {
  v.Set<VmcsField::kGuestCr0>(kCr0);
  v.Set<VmcsField::kGuestCr3>(0x2000);
  v.Set<VmcsField::kGuestCr4>(kCr4);
  v.Set<VmcsField::kGuestDr7>(Dr7::kInit | Dr7::kGe);
  v.Set<VmcsField::kGuestIa32SysenterCs>(0x38);
  v.Set<VmcsField::kGuestIa32SysenterEsp>(0x2A000);
  v.Set<VmcsField::kGuestIa32SysenterEip>(0x2B000);
  v.Set<VmcsField::kGuestRsp>(0x2C000);
  v.Set<VmcsField::kGuestRip>(0x2D000);
  v.Set<VmcsField::kGuestRflags>(Rflags::kFixed1 | Rflags::kIf);
  v.Set<VmcsField::kGuestIa32Pat>(0x0606'0606'0606'0606);
  v.Set<VmcsField::kGuestIa32Efer>(kLongMode | Efer::kSce);
  v.Set<VmcsField::kVmcsLinkPointer>(~uint64_t{0});
}

}  // namespace

Capabilities BuildOfferedCapabilities() { return OfferedCapabilities(BuildHardwareCapabilities()); }

VmcsImage ValidVmcs12(const Capabilities& offered) {
  VmcsImage v;
  SetControls(v, offered);
  SetHostState(v);
  SetGuestSegments(v);
  SetGuestRegisters(v);
  return v;
}

}  // namespace nvmx
