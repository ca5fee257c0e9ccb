// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_EXIT_FIELDS_H_
#define NVMX_LHV_EXIT_FIELDS_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/vmx/vmcs_field.h"

namespace nvmx::lhv {

struct ExitField {
  const char* name;  // as programs write it
  VmcsField field;
};

// What kObserveExit can read; bit n of its selector asks for entry n.
inline constexpr std::array<ExitField, 14> kExitFields = {{
    {"exit_reason", VmcsField::kExitReason},
    {"exit_qualification", VmcsField::kExitQualification},
    {"interruption_information", VmcsField::kVmExitInterruptionInformation},
    {"interruption_error_code", VmcsField::kVmExitInterruptionErrorCode},
    {"idt_vectoring_information", VmcsField::kIdtVectoringInformation},
    {"idt_vectoring_error_code", VmcsField::kIdtVectoringErrorCode},
    {"instruction_length", VmcsField::kVmExitInstructionLength},
    {"instruction_information", VmcsField::kVmExitInstructionInformation},
    {"guest_linear_address", VmcsField::kGuestLinearAddress},
    {"guest_physical_address", VmcsField::kGuestPhysicalAddress},
    {"guest_rip", VmcsField::kGuestRip},
    {"guest_interruptibility_state", VmcsField::kGuestInterruptibilityState},
    {"guest_activity_state", VmcsField::kGuestActivityState},
    {"entry_interruption_information", VmcsField::kVmEntryInterruptionInformation},
}};

// Exit reason, exit qualification and interruption information: what every VM exit defines, or
// marks as not valid.
inline constexpr uint32_t kDefaultExitFields = 0x7;

inline constexpr uint32_t kEveryExitField = (uint32_t{1} << kExitFields.size()) - 1;

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_EXIT_FIELDS_H_
