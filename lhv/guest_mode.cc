// SPDX-License-Identifier: Apache-2.0
#include "lhv/guest_mode.h"

#include "core/vmx/vmcs_field.h"
#include "core/x86/control_registers.h"
#include "core/x86/segment.h"
#include "lhv/baseline.h"

namespace nvmx::lhv {
namespace {

constexpr GuestMode kModes[] = {
    {"real", false, Cr0::kEt | Cr0::kNe, Cr4::kVmxe},
    {"protected", false, Cr0::kPe | Cr0::kEt | Cr0::kNe, Cr4::kVmxe},
    {"paged_32", true, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg, Cr4::kPse | Cr4::kVmxe},
    {"pae", true, Cr0::kPe | Cr0::kEt | Cr0::kNe | Cr0::kPg, Cr4::kPae | Cr4::kVmxe},
};

constexpr uint32_t kCodeRights = AccessRights::kTypeCode | AccessRights::kTypeReadable |
                                 AccessRights::kTypeAccessed | AccessRights::kS | AccessRights::kP |
                                 AccessRights::kDb | AccessRights::kG;

}  // namespace

const GuestMode* FindGuestMode(const std::string& name) {
  for (const GuestMode& mode : kModes) {
    if (mode.name == name) return &mode;
  }
  return nullptr;
}

std::vector<std::string> GuestModeNames() {
  std::vector<std::string> names;
  for (const GuestMode& mode : kModes) names.push_back(mode.name);
  return names;
}

std::vector<Operation> GuestModeState(const GuestMode& mode) {
  return {
      Vmwrite(VmcsField::kGuestCr0, mode.cr0),
      Vmwrite(VmcsField::kGuestCr4, mode.cr4),
      Vmwrite(VmcsField::kGuestIa32Efer, 0),
      Vmwrite(VmcsField::kGuestCsAccessRights, kCodeRights),
  };
}

}  // namespace nvmx::lhv
