// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/machine_differences.h"

#include <cstddef>
#include <cstring>
#include <iterator>
#include <tuple>

#include "backends/sim/program/bochs_differences.h"
#include "backends/sim/program/ept_of_program.h"
#include "backends/sim/program/laid_out_memory.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vm_instruction_error.h"
#include "core/x86/address.h"
#include "core/x86/msr.h"
#include "lhv/guest_cpu.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;
using lhv::Operation;
using lhv::OperationKind;

// --- What the SDM leaves undefined.

Explained IsUndefinedExitField(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  const Observation& o = *place.difference.reference;
  const auto field = FieldOf(static_cast<uint32_t>(o.selector));
  const auto exit = LastExit(place);
  return StepIf(field && exit && IsField(o, *field) && LeavesUndefined(*exit, *field));
}

Explained IsBehindUndefinedLength(const PlaceOfDifference& place) {
  return PartingIf(HasAdvancedBehind(place, HasNoInstructionLength));
}

Explained IsIgnoredSegment(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  constexpr uint64_t kSegment = 7 << 15;
  constexpr uint64_t kDs = 3 << 15;
  const Difference& d = place.difference;
  return StepIf(IsField(d.reference, VmcsField::kVmExitInstructionInformation) &&
                d.nested->value == ((d.reference->value & ~kSegment) | kDs));
}

// --- What is each machine's own.

Explained IsCapability(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  const Observation& o = *place.difference.reference;
  return StepIf(o.kind == ObservationKind::kMsrValue && o.selector >= Index(Msr::IA32_VMX_BASIC) &&
                o.selector <= Index(Msr::IA32_VMX_VMFUNC));
}

Explained IsCpuid(const PlaceOfDifference& place) {
  return StepIf(IsOfAValue(place) &&
                place.difference.reference->kind == ObservationKind::kCpuidValue);
}

// The simulator reads ones where nobody answers.
Explained IsForeignMemory(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  const Observation& o = *place.difference.reference;
  constexpr uint64_t kOnes = ~uint64_t{0};
  const bool is_table_register =
      o.kind == ObservationKind::kReadValue &&
      (o.selector == static_cast<uint64_t>(lhv::InstructionKind::kSgdt) ||
       o.selector == static_cast<uint64_t>(lhv::InstructionKind::kSidt));
  if (is_table_register) return StepIf(o.value == kOnes);
  const uint64_t unread = o.extra < sizeof o.value ? kOnes << 8 * o.extra : 0;
  return StepIf(o.kind == ObservationKind::kMemoryValue && (o.value | unread) == kOnes);
}

Explained IsMtrrOfFirmware(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  const Observation& o = *place.difference.reference;
  const bool is_mtrr = (o.selector >= Index(Msr::IA32_MTRR_FIX64K_00000) &&
                        o.selector <= Index(Msr::IA32_MTRR_FIX4K_F8000)) ||
                       o.selector == Index(Msr::IA32_MTRR_DEF_TYPE);
  return StepIf(o.kind == ObservationKind::kMsrValue && is_mtrr && o.value == 0);
}

// How many variable ranges there are, and what else of MTRRs.
Explained IsMtrrCapability(const PlaceOfDifference& place) {
  return StepIf(IsOfAValue(place) &&
                place.difference.reference->kind == ObservationKind::kMsrValue &&
                place.difference.reference->selector == Index(Msr::IA32_MTRRCAP));
}

// XGETBV of more than XCR0 comes with XSAVEC, which the simulated processor has not: #GP(0).
Explained IsXgetbvOfMore(const PlaceOfDifference& place) {
  const auto& [reference, machine] = std::tie(place.difference.reference, place.difference.nested);
  return StepIf(reference && machine && reference->kind == ObservationKind::kFault &&
                reference->operation == machine->operation && reference->level == machine->level &&
                machine->kind == ObservationKind::kReadValue &&
                machine->selector == static_cast<uint64_t>(lhv::InstructionKind::kXgetbv) &&
                machine->extra != 0);
}

// In the first word of a region.
Explained IsRevision(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  const Observation& o = *place.difference.reference;
  const uint64_t changed = o.value ^ place.difference.nested->value;
  return StepIf(o.kind == ObservationKind::kMemoryValue && o.selector % kPageSize == 0 &&
                (o.value & VmxBasic::kRevisionIdentifier) ==
                    (place.hardware.basic & VmxBasic::kRevisionIdentifier) &&
                (changed & ~VmxBasic::kRevisionIdentifier) == 0);
}

// The data of an entry that names IA32_TIME_STAMP_COUNTER.
Explained IsStoredTime(const PlaceOfDifference& place) {
  if (!IsOfAValue(place)) return Explained::kNot;
  const Observation& o = *place.difference.reference;
  constexpr uint64_t kDataOffset = offsetof(MsrListEntry, data);
  if (o.kind != ObservationKind::kMemoryValue || o.selector % sizeof(MsrListEntry) != kDataOffset) {
    return Explained::kNot;
  }
  const uint64_t entry = o.selector - kDataOffset - lhv::WindowOf(place.difference.cpu);
  for (const lhv::MemoryBlock& block : place.program.cpus[place.difference.cpu].memory) {
    const uint64_t at = entry - block.offset;
    uint32_t index = 0;
    if (at >= block.bytes.size() || block.bytes.size() - at < sizeof index) continue;
    std::memcpy(&index, block.bytes.data() + at, sizeof index);
    return StepIf(index == Index(Msr::IA32_TIME_STAMP_COUNTER));
  }
  return Explained::kNot;
}

// The image has no encoding of eight bytes for the operand that the simulated processor takes.
Explained IsOperandOfInvalidation(const PlaceOfDifference& place) {
  const auto exit = LastExit(place);
  if (!IsOfAValue(place) || !exit) return Explained::kNot;
  OperationKind kind = OperationKind::kNop;
  if (exit->reason.basic() == ExitReason::kInvept) kind = OperationKind::kInvept;
  if (exit->reason.basic() == ExitReason::kInvvpid) kind = OperationKind::kInvvpid;
  if (exit->reason.basic() == ExitReason::kInvpcid) kind = OperationKind::kInvpcid;
  const auto& o = place.difference.reference;
  const bool is_about_operand = IsField(o, VmcsField::kExitQualification) ||
                                IsField(o, VmcsField::kVmExitInstructionInformation);
  const std::vector<Operation>& l2 = place.program.cpus[place.difference.cpu].l2;
  return StepIf(is_about_operand && kind != OperationKind::kNop &&
                std::any_of(l2.begin(), l2.end(), [kind](const Operation& operation) {
                  return operation.kind == kind && (operation.flags & lhv::kHasOperand) == 0;
                }));
}

// Fields with the address of a bitmap, a table, a list or an APIC page.
constexpr VmcsField kAddresses[] = {VmcsField::kGuestCr3,
                                    VmcsField::kEptPointer,
                                    VmcsField::kIoBitmapAAddress,
                                    VmcsField::kIoBitmapBAddress,
                                    VmcsField::kMsrBitmapAddress,
                                    VmcsField::kVmExitMsrStoreAddress,
                                    VmcsField::kVmExitMsrLoadAddress,
                                    VmcsField::kVmEntryMsrLoadAddress,
                                    VmcsField::kVirtualApicAddress,
                                    VmcsField::kApicAccessAddress,
                                    VmcsField::kEptpListAddress,
                                    VmcsField::kVmreadBitmapAddress,
                                    VmcsField::kVmwriteBitmapAddress};

// The machine has memory there, or nothing, and the reference the other.
Explained IsBehindForeignTable(const PlaceOfDifference& place) {
  const uint32_t cpu = place.difference.cpu;
  const LaidOutMemory memory(place.program.cpus[cpu], cpu);
  const bool is_named = AnyOperation(place, [&memory](const Operation& o) {
    const bool is_address = (o.flags & lhv::kValueIsWindowOffset) == 0 &&
                            std::any_of(std::begin(kAddresses), std::end(kAddresses),
                                        [&o](VmcsField field) { return Writes(o, field); });
    return is_address && memory.IsForeign(o.value);
  });
  return PartingIf(is_named || LookAtEpt(place.program.cpus[cpu], cpu).names_foreign_table);
}

Explained IsBehindMovedCode(const PlaceOfDifference& place) {
  const uint32_t cpu = place.difference.cpu;
  return PartingIf(LookAtEpt(place.program.cpus[cpu], cpu).moves_code);
}

// What the model of Bochs's has, and the simulated processor has not.
bool IsOfMoreFeatures(FieldExistence existence) {
  return existence == FieldExistence::kIfXsaves ||
         existence == FieldExistence::kIfPauseLoopExiting ||
         existence == FieldExistence::kIfEptViolationVe ||
         existence == FieldExistence::kIfVirtualInterruptDelivery;
}

// VMREAD succeeds with a value, VMWRITE without a trace.
Explained IsFieldOfMachine(const PlaceOfDifference& place) {
  const auto& [reference, machine] = std::tie(place.difference.reference, place.difference.nested);
  if (!reference || reference->kind != ObservationKind::kVmfailValid ||
      reference->value != static_cast<uint64_t>(VmInstructionError::kUnsupportedVmcsComponent)) {
    return Explained::kNot;
  }
  const auto field = FieldOf(static_cast<uint32_t>(reference->extra));
  if (!field || !IsOfMoreFeatures(Existence(*field))) return Explained::kNot;
  const bool is_read = machine && machine->kind == ObservationKind::kFieldValue &&
                       machine->operation == reference->operation &&
                       machine->level == reference->level;
  return is_read ? Explained::kStep : Explained::kReferenceOnly;
}

// The image leaves VMX operation behind the program.
Explained IsHeldInit(const PlaceOfDifference& place) {
  const bool is_at_end = HasStopped(place) && !place.difference.reference;
  return PartingIf(
      (is_at_end || HasLostLog(place)) && place.difference.reference_end == CpuEnd::kComplete &&
      AnyOperation(place, [](const Operation& o) { return o.kind == OperationKind::kSendInit; }));
}

// On the machine something is executed there, too: a window opens behind it.
bool IsWindowBehindProgram(const PlaceOfDifference& place) {
  const auto& [reference, machine] = std::tie(place.difference.reference, place.difference.nested);
  return reference && reference->kind == ObservationKind::kDone && reference->level == 2 &&
         (IsExit(machine, ExitReason::kInterruptWindow) || IsExit(machine, ExitReason::kNmiWindow));
}

Explained IsOutsideProgram(const PlaceOfDifference& place) {
  const bool is_lost =
      !place.difference.reference && place.difference.reference_end == CpuEnd::kLost;
  return PartingIf(is_lost || IsWindowBehindProgram(place));
}

// Where the watchdog's NMI would have ended the program, it is a VM exit whose MSR lists fail.
Explained IsAbortByWatchdog(const PlaceOfDifference& place) {
  const Difference& d = place.difference;
  const CpuEnd end = d.reference_end;
  const bool rests = end == CpuEnd::kHalted || end == CpuEnd::kLost || end == CpuEnd::kCompleteInL2;
  const bool has_ended = !d.nested && (d.nested_end == end || HasStopped(place));
  return PartingIf(has_ended && rests && AnyOperation(place, [](const Operation& o) {
                     return (Writes(o, VmcsField::kVmExitMsrLoadCount) ||
                             Writes(o, VmcsField::kVmExitMsrStoreCount)) &&
                            o.value != 0;
                   }));
}

constexpr MachineDifference kRows[] = {
#define NVMX_MACHINE_DIFFERENCE(origin, matches, reason) \
  {MachineDifference::Origin::origin, matches, reason},
#include "backends/sim/program/machine_differences.def"
#undef NVMX_MACHINE_DIFFERENCE
};

}  // namespace

std::span<const MachineDifference> AllMachineDifferences() { return kRows; }

}  // namespace nvmx::sim
