// SPDX-License-Identifier: Apache-2.0
//
// Basic exit reasons, generated from exit_reasons.def, and the exit-reason field that holds them.
// Source: SDM Vol. 3C, 25.9.1 "Basic VM-Exit Information"; Vol. 3D, Appendix C "VMX Basic Exit
// Reasons".
#ifndef NVMX_CORE_VMX_EXIT_REASON_H_
#define NVMX_CORE_VMX_EXIT_REASON_H_

#include <cstdint>
#include <optional>

namespace nvmx {

enum class ExitReason : uint16_t {
#define NVMX_EXIT_REASON(reason, number, name, route) reason = number,
#include "core/vmx/exit_reasons.def"
#undef NVMX_EXIT_REASON
};

// To whom a VM exit of L2 goes, before the state of the machine is looked at.
enum class DefaultRoute : uint8_t {
  kL0,         // L0 settles it; L1 was never offered the feature
  kL1Always,   // L1: on a CPU without L0 the exit would be unconditional
  kByControl,  // L1 if its controls ask for this exit, otherwise L0
  kByBitmap,   // as kByControl, and a bitmap or mask of L1's decides case by case
  kByEvent,    // by what the event is: NMIs by their owner, exceptions by L1's exception bitmap
  kByEpt,      // L1 if the walk of EPT12 fails, otherwise L0
  kVmEntryFailure,  // VMCS02 was refused although L0's own checks accepted it: a defect of L0
};

// The SDM name; "reserved" for a number that Appendix C does not list.
constexpr const char* Name(ExitReason exit_reason) {
  switch (exit_reason) {
#define NVMX_EXIT_REASON(reason, number, name, route) \
  case ExitReason::reason:                            \
    return name;
#include "core/vmx/exit_reasons.def"
#undef NVMX_EXIT_REASON
  }
  return "reserved";
}

// True if Appendix C lists the number.
constexpr bool IsExitReason(uint16_t basic_reason) {
  switch (basic_reason) {
#define NVMX_EXIT_REASON(reason, number, name, route) case number:
#include "core/vmx/exit_reasons.def"
#undef NVMX_EXIT_REASON
    return true;
    default:
      return false;
  }
}

// The default route of an exit of L2, or nothing for a number that Appendix C does not list.
constexpr std::optional<DefaultRoute> RouteOf(ExitReason exit_reason) {
  switch (exit_reason) {
#define NVMX_EXIT_REASON(reason, number, name, route) \
  case ExitReason::reason:                            \
    return DefaultRoute::route;
#include "core/vmx/exit_reasons.def"
#undef NVMX_EXIT_REASON
  }
  return std::nullopt;
}

// The value of VmcsField::kExitReason.
struct ExitReasonValue {
  static constexpr uint32_t kBasicMask = 0xFFFF;
  static constexpr uint32_t kPrematurelyBusyShadowStack = uint32_t{1} << 25;
  static constexpr uint32_t kBusLockAsserted = uint32_t{1} << 26;
  static constexpr uint32_t kEnclaveMode = uint32_t{1} << 27;
  static constexpr uint32_t kPendingMtf = uint32_t{1} << 28;
  static constexpr uint32_t kExitFromVmxRootOperation = uint32_t{1} << 29;
  static constexpr uint32_t kVmEntryFailure = uint32_t{1} << 31;

  uint32_t value = 0;

  static constexpr ExitReasonValue Exit(ExitReason reason) {
    return ExitReasonValue{static_cast<uint32_t>(reason)};
  }
  static constexpr ExitReasonValue EntryFailure(ExitReason reason) {
    return ExitReasonValue{static_cast<uint32_t>(reason) | kVmEntryFailure};
  }

  constexpr ExitReason basic() const { return static_cast<ExitReason>(value & kBasicMask); }
  constexpr bool is_vm_entry_failure() const { return (value & kVmEntryFailure) != 0; }
  friend constexpr bool operator==(ExitReasonValue, ExitReasonValue) = default;
};

// The exit qualification of VmEntryFailureInvalidGuestState.
// SDM Vol. 3C, 27.8 "VM-Entry Failures During or After Loading Guest State".
struct InvalidGuestStateQualification {
  static constexpr uint64_t kDefault = 0;
  static constexpr uint64_t kPdptes = 2;
  static constexpr uint64_t kNmiInjection = 3;
  static constexpr uint64_t kVmcsLinkPointer = 4;
};

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_EXIT_REASON_H_
