// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 27.2.1.2 "VM-Exit Control Fields", 27.2.1.3 "VM-Entry Control Fields".
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/x86/control_registers.h"
#include "core/x86/exception.h"

namespace nvmx::sim {
namespace {

constexpr uint32_t kLongestInstruction = 15;

constexpr EntryRule kExitRules[] = {
    {"VM-exit controls: reserved bits",
     [](const EntryInput& in) {
       return AllowsControls(in.capabilities.VmExitControls(),
                             in.Get<VmcsField::kVmExitControls>());
     }},
    {"secondary VM-exit controls: reserved bits",
     [](const EntryInput& in) {
       return !in.Exit(VmExit::kActivateSecondaryControls) ||
              (in.Get<VmcsField::kSecondaryVmExitControls>() & ~in.capabilities.exit_ctls2) == 0;
     }},
    {"VMX-preemption timer saved without being activated",
     [](const EntryInput& in) {
       return !in.Exit(VmExit::kSaveVmxPreemptionTimerValue) ||
              in.Pin(PinBased::kActivateVmxPreemptionTimer);
     }},
    {"VM-exit MSR-store address",
     [](const EntryInput& in) {
       return IsMsrListValid(in, in.Get<VmcsField::kVmExitMsrStoreAddress>(),
                             in.Get<VmcsField::kVmExitMsrStoreCount>());
     }},
    {"VM-exit MSR-load address",
     [](const EntryInput& in) {
       return IsMsrListValid(in, in.Get<VmcsField::kVmExitMsrLoadAddress>(),
                             in.Get<VmcsField::kVmExitMsrLoadCount>());
     }},
};

// A CPU without CET has no #CP and so no error code for its vector.
bool HasErrorCode(const EntryInput& in, uint8_t vector) {
  const auto exception = static_cast<Vector>(vector);
  if (exception == Vector::kControlProtection && (in.capabilities.cr4_fixed1 & Cr4::kCet) == 0) {
    return false;
  }
  return DeliversErrorCode(exception);
}

bool IsDeliverErrorCodeRight(const EntryInput& in) {
  const InterruptionInformation event = in.Injected();
  // CR0.PE alone, also where no guest without it can be entered.
  const bool protected_mode = (in.Get<VmcsField::kGuestCr0>() & Cr0::kPe) != 0;
  const bool may_have_one = protected_mode && event.type() == InterruptionType::kHardwareException;
  // SDM Vol. 3D, A.1 "Basic VMX Information", bit 56.
  const bool vector_is_free =
      (in.capabilities.basic & VmxBasic::kAnyHardwareExceptionErrorCode) != 0;
  if (!may_have_one) return !event.deliver_error_code();
  return vector_is_free || event.deliver_error_code() == HasErrorCode(in, event.vector());
}

bool IsTypeSupported(const EntryInput& in, InterruptionType type) {
  switch (type) {
    case InterruptionType::kReserved:
      return false;
    case InterruptionType::kOtherEvent:
      return in.capabilities.SupportsPrimary(PrimaryProcessorBased::kMonitorTrapFlag);
    default:
      return true;
  }
}

bool DoesVectorFitType(InterruptionInformation event) {
  switch (event.type()) {
    case InterruptionType::kNmi:
      return event.vector() == static_cast<uint8_t>(Vector::kNmi);
    case InterruptionType::kHardwareException:
      return event.vector() < kFirstInterruptVector;
    case InterruptionType::kOtherEvent:
      return event.vector() == 0;
    default:
      return true;
  }
}

bool IsInstructionLengthRight(const EntryInput& in) {
  switch (in.Injected().type()) {
    case InterruptionType::kSoftwareInterrupt:
    case InterruptionType::kPrivilegedSoftwareException:
    case InterruptionType::kSoftwareException:
      break;
    default:
      return true;
  }
  const uint32_t length = in.Get<VmcsField::kVmEntryInstructionLength>();
  if (length == 0) return (in.capabilities.misc & VmxMisc::kInstructionLengthZero) != 0;
  return length <= kLongestInstruction;
}

constexpr EntryRule kEntryRules[] = {
    {"VM-entry controls: reserved bits",
     [](const EntryInput& in) {
       return AllowsControls(in.capabilities.VmEntryControls(),
                             in.Get<VmcsField::kVmEntryControls>());
     }},
    {"injected event: type",
     [](const EntryInput& in) {
       return !in.Injected().valid() || IsTypeSupported(in, in.Injected().type());
     }},
    {"injected event: vector",
     [](const EntryInput& in) {
       return !in.Injected().valid() || DoesVectorFitType(in.Injected());
     }},
    {"injected event: deliver error code",
     [](const EntryInput& in) { return !in.Injected().valid() || IsDeliverErrorCodeRight(in); }},
    {"injected event: reserved bits",
     [](const EntryInput& in) {
       return !in.Injected().valid() ||
              (in.Injected().value() & InterruptionInformation::kReservedOnEntry) == 0;
     }},
    {"injected event: error code",
     [](const EntryInput& in) {
       return !in.Injected().valid() || !in.Injected().deliver_error_code() ||
              in.Get<VmcsField::kVmEntryExceptionErrorCode>() >> 16 == 0;
     }},
    {"injected event: instruction length",
     [](const EntryInput& in) { return !in.Injected().valid() || IsInstructionLengthRight(in); }},
    {"VM-entry MSR-load address",
     [](const EntryInput& in) {
       return IsMsrListValid(in, in.Get<VmcsField::kVmEntryMsrLoadAddress>(),
                             in.Get<VmcsField::kVmEntryMsrLoadCount>());
     }},
    // The simulated processor is never in SMM.
    {"entry to SMM or deactivation of dual-monitor treatment outside SMM",
     [](const EntryInput& in) {
       return !in.Entry(VmEntry::kEntryToSmm | VmEntry::kDeactivateDualMonitorTreatment);
     }},
};

}  // namespace

EntryRules ExitControlRules() { return {kExitRules, FirstBroken<kExitRules>}; }
EntryRules EntryControlRules() { return {kEntryRules, FirstBroken<kEntryRules>}; }

}  // namespace nvmx::sim
