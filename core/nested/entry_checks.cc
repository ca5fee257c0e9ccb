// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_checks.h"

#include "core/nested/msr_lists.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"

namespace nvmx {
namespace {

bool HasPin(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kPinBasedControls>() & bits) == bits;
}
bool HasPrimary(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kPrimaryProcessorBasedControls>() & bits) == bits;
}
bool HasExit(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kVmExitControls>() & bits) == bits;
}
bool HasEntry(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kVmEntryControls>() & bits) == bits;
}
InterruptionInformation Injection(const VmcsImage& v) {
  return InterruptionInformation(v.Get<VmcsField::kVmEntryInterruptionInformation>());
}

// Type 1 is reserved; type 7 (other event) exists only with the monitor trap flag, which is not offered.
bool IsInjectableType(InterruptionType type) {
  return type != InterruptionType::kReserved && type != InterruptionType::kOtherEvent;
}

bool VectorFitsType(InterruptionInformation event) {
  constexpr uint8_t kLastExceptionVector = 31;
  if (event.type() == InterruptionType::kNmi) {
    return event.vector() == static_cast<uint8_t>(Vector::kNmi);
  }
  if (event.type() == InterruptionType::kHardwareException) {
    return event.vector() <= kLastExceptionVector;
  }
  return true;
}

bool HonoursFixedBits(uint64_t value, uint64_t fixed0, uint64_t fixed1) {
  return (fixed0 & ~value) == 0 && (value & ~fixed1) == 0;
}

bool EferFitsMode(uint64_t efer, bool long_mode) {
  constexpr uint64_t kBits = Efer::kLme | Efer::kLma;
  return (efer & ~Efer::kDefined) == 0 && (efer & kBits) == (long_mode ? kBits : 0);
}

bool IsOfferedActivityState(uint32_t state, const Capabilities& capabilities) {
  switch (static_cast<ActivityState>(state)) {
    case ActivityState::kActive:
      return true;
    case ActivityState::kHlt:
      return (capabilities.misc & VmxMisc::kActivityStateHlt) != 0;
    case ActivityState::kShutdown:
      return (capabilities.misc & VmxMisc::kActivityStateShutdown) != 0;
    case ActivityState::kWaitForSipi:
      return (capabilities.misc & VmxMisc::kActivityStateWaitForSipi) != 0;
  }
  return false;
}

EntryOutcome Refuse(VmInstructionError error, const char* rule) {
  return EntryOutcome::Fail(VmxOutcome::FailValid(error), rule);
}

}  // namespace

std::optional<EntryOutcome> CheckControlsAndHostState(const VmcsImage& v, const Capabilities& c) {
#define NVMX_CONTROL_RULE(name, condition, source) \
  if (!(condition)) return Refuse(VmInstructionError::kVmEntryWithInvalidControlFields, #name);
#include "core/nested/entry_rules.def"
#define NVMX_HOST_RULE(name, condition, source) \
  if (!(condition)) return Refuse(VmInstructionError::kVmEntryWithInvalidHostStateFields, #name);
#include "core/nested/entry_rules.def"
  return std::nullopt;
}

std::optional<EntryOutcome> CheckGuestState(const VmcsImage& v, const Capabilities& c) {
#define NVMX_GUEST_RULE(name, qualification, condition, source)                              \
  if (!(condition)) {                                                                        \
    return EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState,          \
                                      qualification, #name);                                 \
  }
#include "core/nested/entry_rules.def"
  return std::nullopt;
}

}  // namespace nvmx
