// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/vm_entry_checks.h"

#include "core/vmx/ept.h"
#include "core/vmx/msr_list.h"
#include "core/x86/address.h"

namespace nvmx::sim {
EntryOutcome CheckControls(const EntryInput& input) {
  for (const EntryRules& rules :
       {ExecutionControlRules(), ExitControlRules(), EntryControlRules()}) {
    if (const EntryRule* rule = rules.first_broken(input)) {
      return EntryOutcome::Fail(
          VmxOutcome::FailValid(VmInstructionError::kVmEntryWithInvalidControlFields), rule->name);
    }
  }
  return EntryOutcome::Entered();
}

EntryOutcome CheckHostState(const EntryInput& input) {
  const EntryRule* rule = HostStateRules().first_broken(input);
  if (rule == nullptr) return EntryOutcome::Entered();
  return EntryOutcome::Fail(
      VmxOutcome::FailValid(VmInstructionError::kVmEntryWithInvalidHostStateFields), rule->name);
}

EntryOutcome CheckGuestState(const EntryInput& input) {
  for (const EntryRules& rules :
       {GuestRegisterRules(), GuestSegmentRules(), GuestNonRegisterRules()}) {
    if (const EntryRule* rule = rules.first_broken(input)) {
      return EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState,
                                        rule->qualification, rule->name);
    }
  }
  return EntryOutcome::Entered();
}

// What a processor does with a list that is longer than IA32_VMX_MISC recommends is undefined; this
// one refuses it. SDM Vol. 3D, A.6 "Miscellaneous Data".
bool IsMsrListValid(const EntryInput& input, uint64_t address, uint32_t count) {
  return count == 0 || (IsAligned(address, kMsrListAlignment) &&
                        count <= MaximumMsrListEntries(input.capabilities.misc) &&
                        input.IsVmxAddress(address, MsrListLength(count)));
}

bool ArePdptesValid(std::span<const uint64_t, 4> pdptes, const Capabilities& capabilities) {
  constexpr uint64_t kPresent = 1;
  constexpr uint64_t kReservedLow = 0x1E6;  // bits 2:1 and 8:5
  const uint64_t reserved =
      kReservedLow |
      ~PhysicalAddressMask(static_cast<unsigned>(capabilities.physical_address_width));
  for (uint64_t pdpte : pdptes) {
    if ((pdpte & kPresent) != 0 && (pdpte & reserved) != 0) return false;
  }
  return true;
}

bool IsEptpValid(uint64_t eptp, const Capabilities& capabilities) {
  constexpr uint64_t kUncacheable = 0;
  constexpr uint64_t kWriteBack = 6;
  const uint64_t cap = capabilities.ept_vpid_cap;
  const uint64_t type = eptp & Eptp::kMemoryType;
  if (!(type == kUncacheable && (cap & EptVpidCap::kUncacheable) != 0) &&
      !(type == kWriteBack && (cap & EptVpidCap::kWriteBack) != 0)) {
    return false;
  }
  const uint64_t walk_length = ((eptp & Eptp::kWalkLength) >> Eptp::kWalkLengthShift) + 1;
  if (!(walk_length == 4 && (cap & EptVpidCap::kPageWalkLength4) != 0) &&
      !(walk_length == 5 && (cap & EptVpidCap::kPageWalkLength5) != 0)) {
    return false;
  }
  if ((eptp & Eptp::kAccessedAndDirty) != 0 && (cap & EptVpidCap::kAccessedAndDirtyFlags) == 0) {
    return false;
  }
  if ((eptp & Eptp::kSupervisorShadowStack) != 0 &&
      (cap & EptVpidCap::kSupervisorShadowStackControl) == 0) {
    return false;
  }
  return (eptp & Eptp::kReserved) == 0 &&
         IsWithinWidth(eptp, 1, static_cast<unsigned>(capabilities.physical_address_width));
}

}  // namespace nvmx::sim
