// SPDX-License-Identifier: Apache-2.0
//
// The error languages of L1, which never share an integer: what it observes of a VMX instruction
// (VmxOutcome), and what became of a VM entry (EntryOutcome).
#ifndef NVMX_CORE_VMX_OUTCOMES_H_
#define NVMX_CORE_VMX_OUTCOMES_H_

#include <cstdint>

#include "core/vmx/exit_reason.h"
#include "core/vmx/vm_instruction_error.h"
#include "core/x86/exception.h"

namespace nvmx {

// What the program that executed a VMX instruction observes of it.
// SDM Vol. 3C, 31.2 "Conventions".
class VmxOutcome {
 public:
  enum class Kind : uint8_t {
    kSucceed,      // VMsucceed
    kFailInvalid,  // VMfailInvalid
    kFailValid,    // VMfailValid: there is a current VMCS to hold the number
    kFault,        // the instruction causes an exception
  };

  static constexpr VmxOutcome Succeed() { return VmxOutcome(Kind::kSucceed, 0, 0); }
  static constexpr VmxOutcome FailInvalid() { return VmxOutcome(Kind::kFailInvalid, 0, 0); }
  static constexpr VmxOutcome FailValid(VmInstructionError error) {
    return VmxOutcome(Kind::kFailValid, static_cast<uint8_t>(error), 0);
  }
  // `error_code` means nothing for a vector that has none.
  static constexpr VmxOutcome Fault(Vector vector, uint32_t error_code = 0) {
    return VmxOutcome(Kind::kFault, static_cast<uint8_t>(vector), error_code);
  }
  // The SDM's VMfail(ErrorNumber): VMfailValid if there is a current VMCS, otherwise VMfailInvalid.
  static constexpr VmxOutcome Fail(VmInstructionError error, bool has_current_vmcs) {
    return has_current_vmcs ? FailValid(error) : FailInvalid();
  }

  constexpr Kind kind() const { return kind_; }
  constexpr bool succeeded() const { return kind_ == Kind::kSucceed; }
  constexpr bool is_fail_invalid() const { return kind_ == Kind::kFailInvalid; }
  constexpr bool is_fail_valid() const { return kind_ == Kind::kFailValid; }
  constexpr bool is_fault() const { return kind_ == Kind::kFault; }

  // Of kFailValid only.
  constexpr VmInstructionError vm_instruction_error() const {
    return static_cast<VmInstructionError>(number_);
  }
  // Of kFault only.
  constexpr Vector vector() const { return static_cast<Vector>(number_); }
  constexpr uint32_t error_code() const { return error_code_; }

  friend constexpr bool operator==(const VmxOutcome&, const VmxOutcome&) = default;

 private:
  constexpr VmxOutcome(Kind kind, uint8_t number, uint32_t error_code)
      : kind_(kind), number_(number), error_code_(error_code) {}

  Kind kind_;
  uint8_t number_;  // the VM-instruction error or the vector
  uint32_t error_code_;
};

// What became of VMLAUNCH or VMRESUME.
class EntryOutcome {
 public:
  enum class Kind : uint8_t {
    kEntered,
    kFail,          // the instruction failed: VMfail or a fault, and L1 goes on after or at it
    kEntryFailure,  // a VM exit to L1 with bit 31 of the exit reason set
  };

  static constexpr EntryOutcome Entered() {
    return EntryOutcome(Kind::kEntered, VmxOutcome::Succeed(), ExitReason{}, 0, nullptr);
  }
  // `rule` names the check that failed and outlives the outcome; nullptr if there is none to name.
  static constexpr EntryOutcome Fail(VmxOutcome outcome, const char* rule = nullptr) {
    return EntryOutcome(Kind::kFail, outcome, ExitReason{}, 0, rule);
  }
  // `reason` is one of the three kVmEntryFailure... reasons.
  static constexpr EntryOutcome EntryFailure(ExitReason reason, uint64_t qualification,
                                             const char* rule = nullptr) {
    return EntryOutcome(Kind::kEntryFailure, VmxOutcome::Succeed(), reason, qualification, rule);
  }

  constexpr Kind kind() const { return kind_; }
  constexpr bool entered() const { return kind_ == Kind::kEntered; }
  constexpr bool is_fail() const { return kind_ == Kind::kFail; }
  constexpr bool is_entry_failure() const { return kind_ == Kind::kEntryFailure; }

  // Of kFail only.
  constexpr VmxOutcome outcome() const { return outcome_; }
  // Of kEntryFailure only.
  constexpr ExitReason reason() const { return reason_; }
  constexpr ExitReasonValue exit_reason_value() const {
    return ExitReasonValue::EntryFailure(reason_);
  }
  constexpr uint64_t qualification() const { return qualification_; }

  // The rule that was broken, or nullptr.
  constexpr const char* rule() const { return rule_; }

  // Equal if L1 cannot tell them apart: the rule is an explanation and is not compared.
  friend constexpr bool operator==(const EntryOutcome& a, const EntryOutcome& b) {
    return a.kind_ == b.kind_ && a.outcome_ == b.outcome_ && a.reason_ == b.reason_ &&
           a.qualification_ == b.qualification_;
  }

 private:
  constexpr EntryOutcome(Kind kind, VmxOutcome outcome, ExitReason reason, uint64_t qualification,
                         const char* rule)
      : kind_(kind),
        reason_(reason),
        outcome_(outcome),
        qualification_(qualification),
        rule_(rule) {}

  Kind kind_;
  ExitReason reason_;
  VmxOutcome outcome_;
  uint64_t qualification_;
  const char* rule_;
};

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_OUTCOMES_H_
