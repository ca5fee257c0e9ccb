// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_conditions.h"

#include "core/nested/entry_segments.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/exception.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx {
namespace {

// The exceptions that the SDM lists here. #CP delivers an error code too, but a CPU that lets it
// be injected with one reports IA32_VMX_BASIC[56].
bool MustDeliverErrorCode(uint8_t vector) {
  const auto exception = static_cast<Vector>(vector);
  return DeliversErrorCode(exception) && exception != Vector::kControlProtection;
}

}  // namespace

// Type 1 is reserved; type 7 (other event) exists only with the monitor trap flag.
bool IsInjectableType(InterruptionType type, const Capabilities& c) {
  if (type == InterruptionType::kOtherEvent) {
    return c.SupportsPrimary(PrimaryProcessorBased::kMonitorTrapFlag);
  }
  return type != InterruptionType::kReserved;
}

bool VectorFitsType(InterruptionInformation event) {
  constexpr uint8_t kLastExceptionVector = 31;
  if (event.type() == InterruptionType::kNmi) {
    return event.vector() == static_cast<uint8_t>(Vector::kNmi);
  }
  if (event.type() == InterruptionType::kHardwareException) {
    return event.vector() <= kLastExceptionVector;
  }
  if (event.type() == InterruptionType::kOtherEvent) return event.vector() == 0;
  return true;
}

bool DeliverErrorCodeFitsEvent(const VmcsImage& v, const Capabilities& c) {
  const InterruptionInformation event = Injection(v);
  const bool protected_mode = (v.Get<VmcsField::kGuestCr0>() & Cr0::kPe) != 0;
  if (event.type() != InterruptionType::kHardwareException || !protected_mode) {
    return !event.deliver_error_code();
  }
  return (c.basic & VmxBasic::kAnyHardwareExceptionErrorCode) != 0 ||
         event.deliver_error_code() == MustDeliverErrorCode(event.vector());
}

bool InstructionLengthFitsEvent(const VmcsImage& v, const Capabilities& c) {
  constexpr uint32_t kLongestInstruction = 15;
  switch (Injection(v).type()) {
    case InterruptionType::kSoftwareInterrupt:
    case InterruptionType::kPrivilegedSoftwareException:
    case InterruptionType::kSoftwareException:
      break;
    default:
      return true;
  }
  const uint32_t length = v.Get<VmcsField::kVmEntryInstructionLength>();
  if (length == 0) return (c.misc & VmxMisc::kInstructionLengthZero) != 0;
  return length <= kLongestInstruction;
}

// With "virtualize APIC accesses" the comparison is made behind the entry instead.
bool TprIsNotBelowThreshold(const VmcsImage& v, const EntrySurroundings& e) {
  constexpr uint32_t kThreshold = 0xF;
  if (!HasPrimary(v, PrimaryProcessorBased::kUseTprShadow) ||
      HasSecondary(v, Secondary::kVirtualizeApicAccesses)) {
    return true;
  }
  return (v.Get<VmcsField::kTprThreshold>() & kThreshold) <= (e.vtpr >> 4 & kThreshold);
}

uint64_t GuestCr0Fixed0(const VmcsImage& v, const Capabilities& c) {
  return HasSecondary(v, Secondary::kUnrestrictedGuest) ? c.cr0_fixed0 & ~(Cr0::kPe | Cr0::kPg)
                                                        : c.cr0_fixed0;
}

bool HostSelectorsAreOfRing0InTheGdt(const VmcsImage& v) {
  for (VmcsField field :
       {VmcsField::kHostCsSelector, VmcsField::kHostSsSelector, VmcsField::kHostDsSelector,
        VmcsField::kHostEsSelector, VmcsField::kHostFsSelector, VmcsField::kHostGsSelector,
        VmcsField::kHostTrSelector}) {
    if ((v.Read(field) & (Selector::kRpl | Selector::kTi)) != 0) return false;
  }
  return true;
}

// RIP need not be canonical: with a linear-address width of N only bits 63:N have to be equal, and
// fetching from a RIP whose bit N-1 differs is the guest's #GP.
bool GuestRipFitsMode(const VmcsImage& v, const Capabilities& c) {
  const uint64_t rip = v.Get<VmcsField::kGuestRip>();
  const bool in_64_bit_code =
      HasEntry(v, VmEntry::kIa32eModeGuest) && ReadSegment(v, SegmentRegister::kCs).rights.l();
  if (!in_64_bit_code) return FitsIn32Bits(rip);
  return IsCanonical(rip, static_cast<unsigned>(c.linear_address_width) + 1);
}

bool IsOfferedActivityState(uint32_t state, const Capabilities& c) {
  switch (static_cast<ActivityState>(state)) {
    case ActivityState::kActive:
      return true;
    case ActivityState::kHlt:
      return (c.misc & VmxMisc::kActivityStateHlt) != 0;
    case ActivityState::kShutdown:
      return (c.misc & VmxMisc::kActivityStateShutdown) != 0;
    case ActivityState::kWaitForSipi:
      return (c.misc & VmxMisc::kActivityStateWaitForSipi) != 0;
  }
  return false;
}

bool InjectionFitsActivityState(const VmcsImage& v) {
  const InterruptionInformation event = Injection(v);
  if (!event.valid()) return true;
  const bool ends_shutdown = event.IsNmi() || event.IsHardwareException(Vector::kMachineCheck);
  switch (static_cast<ActivityState>(v.Get<VmcsField::kGuestActivityState>())) {
    case ActivityState::kActive:
      return true;
    case ActivityState::kHlt:
      return ends_shutdown || event.type() == InterruptionType::kExternalInterrupt ||
             event.type() == InterruptionType::kOtherEvent ||
             event.IsHardwareException(Vector::kDebug);
    case ActivityState::kShutdown:
      return ends_shutdown;
    case ActivityState::kWaitForSipi:
      return false;
  }
  return false;
}

bool PendingSingleStepFitsFlags(const VmcsImage& v) {
  if (!IsBlockedForOneInstruction(v) && !IsInActivityState(v, ActivityState::kHlt)) return true;
  const bool step_is_pending =
      (v.Get<VmcsField::kGuestPendingDebugExceptions>() & PendingDebugExceptions::kBs) != 0;
  const bool steps_instructions = (v.Get<VmcsField::kGuestRflags>() & Rflags::kTf) != 0 &&
                                  (v.Get<VmcsField::kGuestIa32Debugctl>() & DebugCtl::kBtf) == 0;
  return step_is_pending == steps_instructions;
}

bool LinkedVmcsIsOfTheRightKind(const VmcsImage& v, const Capabilities& c,
                                const EntrySurroundings& e) {
  const auto revision = static_cast<uint32_t>(c.basic & VmxBasic::kRevisionIdentifier);
  const uint32_t shadow = HasSecondary(v, Secondary::kVmcsShadowing) ? kShadowVmcsIndicator : 0;
  return e.linked_revision == (revision | shadow);
}

}  // namespace nvmx
