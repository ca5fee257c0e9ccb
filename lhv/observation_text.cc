// SPDX-License-Identifier: Apache-2.0
#include "lhv/observation_text.h"

#include "absl/strings/str_cat.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vm_instruction_error.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/exception.h"
#include "lhv/instruction_text.h"
#include "lhv/names.h"

namespace nvmx::lhv {
namespace {

std::string Hex(uint64_t value) { return absl::StrCat("0x", absl::Hex(value)); }

std::string ExitReasonText(uint64_t value) {
  const ExitReasonValue reason{static_cast<uint32_t>(value)};
  std::string text =
      absl::StrCat(value & ExitReasonValue::kBasicMask, " (", Name(reason.basic()), ")");
  if (reason.is_vm_entry_failure()) absl::StrAppend(&text, ", VM entry failed");
  const uint64_t rest =
      value & ~uint64_t{ExitReasonValue::kBasicMask | ExitReasonValue::kVmEntryFailure};
  if (rest != 0) absl::StrAppend(&text, ", other bits ", Hex(rest));
  return text;
}

std::string FieldValueText(uint64_t encoding, uint64_t value) {
  if (encoding == Encoding(VmcsField::kExitReason)) return ExitReasonText(value);
  return Hex(value);
}

std::string PlaceText(const Observation& observation) {
  if (observation.operation == kNoOperation) {
    if (observation.value < kInHandler) return "outside the program";
    return absl::StrCat("in the handler of ",
                        Name(static_cast<Vector>(observation.value & ~kInHandler)), " ",
                        observation.value & ~kInHandler);
  }
  std::string text = absl::StrCat("before operation ", observation.operation);
  if (observation.value != 0) absl::StrAppend(&text, " instruction ", observation.value);
  return text;
}

std::string FailedInstructionText(const Observation& observation) {
  return InstructionText({.kind = static_cast<InstructionKind>(observation.selector),
                          .width = static_cast<uint8_t>(observation.extra),
                          .first = observation.extra});
}

}  // namespace

std::string EventText(const Observation& observation) {
  switch (observation.kind) {
    case ObservationKind::kMsrValue:
      return absl::StrCat("RDMSR ", MsrText(static_cast<uint32_t>(observation.selector)), " = ",
                          Hex(observation.value));
    case ObservationKind::kFieldValue:
      return absl::StrCat("VMREAD ", FieldText(static_cast<uint32_t>(observation.selector)), " = ",
                          FieldValueText(observation.selector, observation.value));
    case ObservationKind::kVmcsPointer:
      return absl::StrCat("VMPTRST = ", Hex(observation.value));
    case ObservationKind::kMemoryValue:
      return absl::StrCat(observation.extra, " bytes at ", Hex(observation.selector), " = ",
                          Hex(observation.value));
    case ObservationKind::kCpuidValue:
      return absl::StrCat("CPUID ", Hex(observation.selector), ".", observation.extra,
                          ": EAX = ", Hex(observation.value & 0xFFFF'FFFF),
                          ", EBX = ", Hex(observation.value >> 32));
    case ObservationKind::kVmfailInvalid:
      return absl::StrCat(FailedInstructionText(observation), ": VMfailInvalid");
    case ObservationKind::kVmfailValid:
      return absl::StrCat(FailedInstructionText(observation), ": VMfailValid(", observation.value,
                          " ", Name(static_cast<VmInstructionError>(observation.value)), ")");
    case ObservationKind::kFault: {
      std::string text = Name(static_cast<Vector>(observation.selector));
      if (observation.extra != 0) absl::StrAppend(&text, "(", Hex(observation.value), ")");
      if (observation.operation == kNoOperation) absl::StrAppend(&text, " in a handler");
      return text;
    }
    case ObservationKind::kNmi:
      return absl::StrCat("NMI ", PlaceText(observation));
    case ObservationKind::kInterrupt:
      return absl::StrCat("interrupt ", Hex(observation.selector), " ", PlaceText(observation));
    case ObservationKind::kVmExit:
      return absl::StrCat("VM exit: ", FieldText(static_cast<uint32_t>(observation.selector)),
                          " = ", FieldValueText(observation.selector, observation.value));
    case ObservationKind::kDone:
      return "done";
    case ObservationKind::kReadValue:
      return absl::StrCat(FailedInstructionText(observation), " = ", Hex(observation.value));
  }
  return "unknown observation";
}

std::string ToString(const Observation& observation) {
  const std::string operation =
      observation.operation == kNoOperation ? "-" : absl::StrCat(observation.operation);
  return absl::StrCat("L", observation.level, " #", operation, ": ", EventText(observation));
}

}  // namespace nvmx::lhv
