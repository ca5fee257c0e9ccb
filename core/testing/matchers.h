// SPDX-License-Identifier: Apache-2.0
//
// Matchers for what becomes of VMX instructions and VM entries, and how GoogleTest prints them.
#ifndef NVMX_CORE_TESTING_MATCHERS_H_
#define NVMX_CORE_TESTING_MATCHERS_H_

#include <optional>
#include <ostream>
#include <string>

#include "core/vmx/outcomes.h"
#include "gmock/gmock.h"

namespace nvmx {

inline void PrintTo(const VmxOutcome& outcome, std::ostream* os) {
  switch (outcome.kind()) {
    case VmxOutcome::Kind::kSucceed:
      *os << "VMsucceed";
      return;
    case VmxOutcome::Kind::kFailInvalid:
      *os << "VMfailInvalid";
      return;
    case VmxOutcome::Kind::kFailValid:
      *os << "VMfailValid(" << static_cast<int>(outcome.vm_instruction_error()) << ": "
          << Name(outcome.vm_instruction_error()) << ")";
      return;
    case VmxOutcome::Kind::kFault:
      *os << Name(outcome.vector()) << "(" << outcome.error_code() << ")";
      return;
  }
}

inline void PrintTo(const EntryOutcome& outcome, std::ostream* os) {
  if (outcome.entered()) *os << "entered";
  if (outcome.is_fail()) PrintTo(outcome.outcome(), os);
  if (outcome.is_entry_failure()) {
    *os << "VM-entry failure, reason " << static_cast<int>(outcome.reason()) << ", qualification "
        << outcome.qualification();
  }
  if (outcome.rule() != nullptr) *os << " by rule " << outcome.rule();
}

// A VM entry that goes on into L2.
MATCHER(Enters, "enters") { return arg.entered(); }

// A VM entry, or the result of its checks, refused with VMfailValid(error) because of the rule.
MATCHER_P2(RefusedBy, error, rule, std::string("VMfailValid by rule ") + rule) {
  const std::optional<EntryOutcome> outcome = arg;
  return outcome && *outcome == EntryOutcome::Fail(VmxOutcome::FailValid(error)) &&
         outcome->rule() != nullptr && std::string(outcome->rule()) == rule;
}

// A VM entry that fails after its controls and host state were accepted: reason 33 because of the
// rule.
MATCHER_P2(GuestStateRefusedBy, qualification, rule,
           std::string("VM-entry failure (invalid guest state) by rule ") + rule) {
  const std::optional<EntryOutcome> outcome = arg;
  return outcome &&
         *outcome == EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState,
                                                qualification) &&
         outcome->rule() != nullptr && std::string(outcome->rule()) == rule;
}

// A VM entry that fails at an entry of its MSR-load list, counted from 1.
MATCHER_P(FailsLoadingMsr, position, "VM-entry failure (MSR loading)") {
  return arg == EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureMsrLoading, position);
}

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_MATCHERS_H_
