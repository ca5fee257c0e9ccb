// SPDX-License-Identifier: Apache-2.0
//
// EPT violations and EPT misconfigurations out of VMCS02 and VMCS01: whose they are.
#include <algorithm>

#include "core/nested/embedder.h"
#include "core/nested/entry_conditions.h"
#include "core/nested/ept02.h"
#include "core/nested/ept12_access.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/hardware_address.h"
#include "core/nested/nested_exit.h"
#include "core/nested/nested_paging.h"
#include "core/nested/vmcs02.h"
#include "core/vmx/controls.h"

namespace nvmx {
namespace {

enum class L2MemoryOutcome : uint8_t {
  kResume,     // L0 has dealt with it and L2 goes on at its RIP
  kPerformed,  // L0 has performed the instruction, and L2 goes on behind it
  kForbidden,  // EPT01 does not allow the access and nobody has emulated it
  kToL1,       // the exit is L1's, and has been changed into what L1 sees
};

struct L2MemoryExit {
  ExitReason reason;
  uint64_t qualification;
  uint64_t guest_physical;
  uint64_t guest_linear;
  // L0 met it where it performs an instruction, whose exit is what VMCS02 describes.
  bool is_made_by_l0 = false;
};

constexpr uint64_t kAccess = EptViolation::kRead | EptViolation::kWrite | EptViolation::kFetch;
constexpr unsigned kPermissionsShift = 3;
static_assert(EptViolation::kReadable == EptEntry::kRead << kPermissionsShift);
static_assert(EptViolation::kRead == EptEntry::kRead && EptViolation::kWrite == EptEntry::kWrite &&
              EptViolation::kFetch == EptEntry::kExecute);

// SDM Vol. 3C, 28.2.1, table "Exit Qualification for EPT Violations": the access is what the
// processor says it was, the rights are EPT12's.
void MakeViolationOfL1(const Vcpu& vcpu, const Ept12Walk& walk, L2MemoryExit& exit) {
  uint64_t from_hardware = kAccess | EptViolation::kLinearAddressValid |
                           EptViolation::kToFinalAddress | EptViolation::kNmiUnblocking;
  if ((vcpu.state.offered.ept_vpid_cap & EptVpidCap::kAdvancedEptViolationInformation) != 0) {
    from_hardware |= EptViolation::kUserLinearAddress | EptViolation::kWritableLinearAddress |
                     EptViolation::kNoExecuteLinearAddress;
  }
  exit.reason = ExitReason::kEptViolation;
  exit.qualification = (exit.qualification & from_hardware) | walk.permissions << kPermissionsShift;
  if ((exit.qualification & EptViolation::kLinearAddressValid) == 0) exit.guest_linear = 0;
}

// SDM Vol. 3C, 28.2.1: no exit qualification, and no guest-linear address.
void MakeMisconfigurationOfL1(L2MemoryExit& exit) {
  exit.reason = ExitReason::kEptMisconfiguration;
  exit.qualification = 0;
  exit.guest_linear = 0;
}

void MakeLogFullOfL1(L2MemoryExit& exit) {
  exit.reason = ExitReason::kPageModificationLogFull;
  exit.qualification &= EptViolation::kNmiUnblocking;
  exit.guest_physical = 0;
  exit.guest_linear = 0;
}

// A page that nobody may read cannot be written, and executed only if the processor can tell the
// two apart. SDM Vol. 3C, 29.3.3.1 "EPT Misconfigurations".
uint64_t PossibleRights(const Capabilities& c, uint64_t rights) {
  if ((rights & EptEntry::kRead) != 0) return rights;
  return (c.ept_vpid_cap & EptVpidCap::kExecuteOnly) != 0 ? rights & EptEntry::kExecute : 0;
}

// The largest page around the address that EPT12 and EPT01 both map alike and that the processor
// has.
unsigned LeafLevel(const Capabilities& c, const Ept12Walk& walk, const Ept01Mapping& mapping) {
  const unsigned shift = std::min(walk.block_shift, mapping.block_shift);
  const auto fits = [&](unsigned level, uint64_t capability) {
    const uint64_t offset = (uint64_t{1} << EptLevelShift(level)) - 1;
    return shift >= EptLevelShift(level) && (c.ept_vpid_cap & capability) != 0 &&
           ((walk.address.value ^ mapping.address.value) & offset) == 0;
  };
  if (fits(kEptLevelPdpte, EptVpidCap::k1GByteMapping)) return kEptLevelPdpte;
  if (fits(kEptLevelPde, EptVpidCap::k2MByteMapping)) return kEptLevelPde;
  return kEptLevelPte;
}

// SDM Vol. 3C, 29.3.7.2 "Memory Type Used for Translated Guest-Physical Addresses": what EPT12 says
// about memory type and PAT holds for L2, unless the memory can have one type only.
uint64_t LeafMemoryType(const Ept12Walk& walk, const Ept01Mapping& mapping) {
  if (!mapping.memory_type_is_final) return walk.memory_type;
  return static_cast<uint64_t>(mapping.memory_type) << EptEntry::kMemoryTypeShift |
         EptEntry::kIgnorePat;
}

// Maps the page in EPT02 as far as the access needs it. A page whose first write EPT12 has to show
// is not writable yet. False if EPT01 does not allow the access.
bool Fill(Vcpu& vcpu, GuestPhysicalAddress address, uint64_t needed, const Ept12Access& access) {
  const Capabilities& c = vcpu.state.offered;
  const Ept01Mapping mapping = vcpu.embedder.MapEpt01(vcpu, access.walk.address);
  uint64_t rights = PossibleRights(c, RightsOf(mapping) & access.walk.permissions);
  if ((needed & ~rights) != 0) return false;
  if (!access.dirty) rights &= ~EptEntry::kWrite;
  const unsigned level = LeafLevel(c, access.walk, mapping);
  const uint64_t offset = (uint64_t{1} << EptLevelShift(level)) - 1;
  MapInEpt02(vcpu, address,
             {.page = PhysicalAddress{mapping.address.value & ~offset},
              .level = level,
              .permissions = rights,
              .memory_type = LeafMemoryType(access.walk, mapping)});
  return true;
}

L2MemoryOutcome Forbidden(Vcpu& vcpu, GuestPhysicalAddress address_of_l1) {
  switch (vcpu.embedder.HandleForbiddenAccess(vcpu, address_of_l1)) {
    case ForbiddenAccess::kFault:
      break;
    case ForbiddenAccess::kRepeated:
      return L2MemoryOutcome::kResume;
    case ForbiddenAccess::kPerformed:
      return L2MemoryOutcome::kPerformed;
  }
  return L2MemoryOutcome::kForbidden;
}

// The exit as L1 sees it, which is not as VMCS02 describes it.
void ReflectMemoryExit(Vcpu& vcpu, const L2MemoryExit& exit) {
  const bool blocked = NmiBlockedAfterL2Exit(vcpu);
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  if (exit.is_made_by_l0) {
    ClearExitInformation(vmcs12);
  } else {
    SaveExitInformationToVmcs12(vcpu);
  }
  vmcs12.Set<VmcsField::kExitReason>(static_cast<uint64_t>(exit.reason));
  vmcs12.Set<VmcsField::kExitQualification>(exit.qualification);
  vmcs12.Set<VmcsField::kGuestPhysicalAddress>(exit.guest_physical);
  vmcs12.Set<VmcsField::kGuestLinearAddress>(exit.guest_linear);
  TranslateEventInformationForL1(vcpu);
  SaveGuestStateToVmcs12(vcpu);
  LeaveL2(vcpu, blocked);
}

// EPT02 refers to nothing that a processor finds misconfigured, so the exit of that kind tells
// nothing about the access: it counts as a read.
uint64_t NeededBy(const L2MemoryExit& exit) {
  const uint64_t access =
      exit.reason == ExitReason::kEptViolation ? exit.qualification & kAccess : 0;
  return access != 0 ? access : EptEntry::kRead;
}

// What of VMCS02 tells about such an exit.
L2MemoryExit ReadExit(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  L2MemoryExit exit = {
      .reason = static_cast<ExitReason>(vmcs.Read(VmcsField::kExitReason) & 0xFFFF),
      .qualification = 0,
      .guest_physical = vmcs.Read(VmcsField::kGuestPhysicalAddress),
      .guest_linear = 0};
  if (exit.reason != ExitReason::kEptViolation) return exit;
  exit.qualification = vmcs.Read(VmcsField::kExitQualification);
  exit.guest_linear = vmcs.Read(VmcsField::kGuestLinearAddress);
  return exit;
}

L2MemoryOutcome Settle(Vcpu& vcpu, L2MemoryExit& exit) {
  const GuestPhysicalAddress address{exit.guest_physical};
  if (!HasSecondary(vcpu.state.vmcs12, Secondary::kEnableEpt)) return Forbidden(vcpu, address);
  const uint64_t needed = NeededBy(exit);
  const Ept12Access access = AccessThroughEpt12(vcpu, address, needed);
  switch (access.result) {
    case Ept12Access::Result::kTranslated:
      break;
    case Ept12Access::Result::kViolation:
      DropFromEpt02(vcpu, address);
      MakeViolationOfL1(vcpu, access.walk, exit);
      return L2MemoryOutcome::kToL1;
    case Ept12Access::Result::kMisconfiguration:
      MakeMisconfigurationOfL1(exit);
      return L2MemoryOutcome::kToL1;
    case Ept12Access::Result::kLogFull:
      MakeLogFullOfL1(exit);
      return L2MemoryOutcome::kToL1;
  }
  if (exit.reason != ExitReason::kEptViolation) {
    vcpu.ports.trace.Record(TraceKind::kAssertionFailed, static_cast<uint64_t>(exit.reason), 0);
  }
  if (Fill(vcpu, address, needed, access)) return L2MemoryOutcome::kResume;
  return Forbidden(vcpu, access.walk.address);
}

void Finish(Vcpu& vcpu, L2MemoryExit exit) {
  switch (Settle(vcpu, exit)) {
    case L2MemoryOutcome::kResume:
      ReinjectVectoredEvent(vcpu);
      return;
    case L2MemoryOutcome::kPerformed:
      return;
    case L2MemoryOutcome::kForbidden:
      RaiseFault(vcpu, VmxOutcome::Fault(Vector::kGeneralProtection));
      return;
    case L2MemoryOutcome::kToL1:
      ReflectMemoryExit(vcpu, exit);
      return;
  }
}

}  // namespace

void HandleMemoryExitOfL2(Vcpu& vcpu) { Finish(vcpu, ReadExit(vcpu)); }

void HandleUntranslatedOperandOfL2(Vcpu& vcpu, const L2Memory::Untranslated& access) {
  const uint64_t target = access.linear.translated ? EptViolation::kToFinalAddress : 0;
  Finish(vcpu, {.reason = ExitReason::kEptViolation,
                .qualification = access.access | EptViolation::kLinearAddressValid | target,
                .guest_physical = access.address.value,
                .guest_linear = access.linear.address,
                .is_made_by_l0 = true});
}

void HandleMemoryExitOfL1(Vcpu& vcpu) {
  const GuestPhysicalAddress address{vcpu.ports.vmcs.Read(VmcsField::kGuestPhysicalAddress)};
  switch (vcpu.embedder.HandleForbiddenAccess(vcpu, address)) {
    case ForbiddenAccess::kFault:
      RaiseFault(vcpu, VmxOutcome::Fault(Vector::kGeneralProtection));
      return;
    case ForbiddenAccess::kRepeated:
      ReinjectVectoredEvent(vcpu);
      return;
    case ForbiddenAccess::kPerformed:
      return;
  }
}

}  // namespace nvmx
