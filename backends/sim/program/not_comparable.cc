// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/not_comparable.h"

#include <cstring>

#include "backends/sim/machine/processor_profile.h"
#include "core/nested/offered_capabilities.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/msr_list.h"
#include "core/vmx/vmcs_field.h"
#include "core/vmx/vmcs_image.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

bool IsWriteOf(const Operation& operation, VmcsField field) {
  return (operation.kind == OperationKind::kVmwrite ||
          operation.kind == OperationKind::kVmwriteControl) &&
         operation.selector == Encoding(field);
}

const char* WhyNotComparable(const Operation& o) {
  const bool is_msr = o.kind == OperationKind::kRdmsr || o.kind == OperationKind::kWrmsr;
  switch (o.kind) {
    case OperationKind::kRdtsc:
    case OperationKind::kRdtscp:
      return "it reads the time";
    case OperationKind::kRdrand:
    case OperationKind::kRdseed:
      return "it reads random numbers";
    case OperationKind::kIn:
    case OperationKind::kOut:
      return "its ports are devices of the machine";
    case OperationKind::kPopf:
      if ((o.value & Rflags::kTf) != 0) return "it counts instructions: TF";
      break;
    default:
      break;
  }
  if (is_msr && o.selector == Index(Msr::IA32_TIME_STAMP_COUNTER)) return "it reads the time";
  if (IsWriteOf(o, VmcsField::kPinBasedControls) &&
      (o.value & PinBased::kActivateVmxPreemptionTimer) != 0) {
    return "it counts time: VMX-preemption timer";
  }
  if (IsWriteOf(o, VmcsField::kPrimaryProcessorBasedControls) &&
      (o.value & PrimaryProcessorBased::kMonitorTrapFlag) != 0) {
    return "it counts instructions: monitor trap flag";
  }
  if (IsWriteOf(o, VmcsField::kGuestRflags) && (o.value & Rflags::kTf) != 0) {
    return "it counts instructions: TF";
  }
  if (IsWriteOf(o, VmcsField::kGuestInterruptibilityState) &&
      (o.value & (Interruptibility::kBlockingBySti | Interruptibility::kBlockingByMovSs)) != 0) {
    return "an event behind a VM entry with blocking comes in the image's own code";
  }
  if (IsWriteOf(o, VmcsField::kSecondaryProcessorBasedControls) &&
      (o.value & Secondary::kEnablePml) != 0) {
    return "the log has the pages that the interpreter writes";
  }
  for (const VmcsField count : {VmcsField::kVmExitMsrStoreCount, VmcsField::kVmExitMsrLoadCount,
                                VmcsField::kVmEntryMsrLoadCount}) {
    if (IsWriteOf(o, count) && o.value > MaximumMsrListEntries(SimulatedCapabilities().misc)) {
      return "what an MSR list of more entries than IA32_VMX_MISC recommends does is undefined";
    }
  }
  return nullptr;
}

// Whether the program turns L2 into what the image's code is not for: anything but 64-bit mode, or
// what has no paging.
bool LeavesMode(const Operation& o, lhv::L1Mode mode) {
  if (mode == lhv::L1Mode::k64Bit) {
    return IsWriteOf(o, VmcsField::kVmEntryControls) && (o.value & VmEntry::kIa32eModeGuest) == 0;
  }
  return IsWriteOf(o, VmcsField::kGuestCr0) && (o.value & Cr0::kPe) == 0;
}

// A VMCS region that the program itself has given the revision identifier of the core.
bool HoldsRevision(const lhv::CpuProgram& cpu) {
  const auto revision = static_cast<uint32_t>(OfferedCapabilities(SimulatedCapabilities()).basic &
                                              VmxBasic::kRevisionIdentifier);
  for (const lhv::MemoryBlock& block : cpu.memory) {
    uint32_t word = 0;
    for (size_t at = 0; at + sizeof word <= block.bytes.size(); at += kPageSize) {
      std::memcpy(&word, block.bytes.data() + at, sizeof word);
      if ((word & VmxBasic::kRevisionIdentifier) == revision) return true;
    }
  }
  for (const Operation& operation : cpu.l1) {
    if (operation.kind != OperationKind::kWriteMemory) continue;
    // The last byte alone makes a shadow VMCS of a region, or no shadow VMCS any more.
    const bool is_last_byte =
        operation.selector == 1 && (operation.extra == (revision | kShadowVmcsIndicator) >> 24 ||
                                    operation.extra == revision >> 24);
    if (is_last_byte || (operation.extra & VmxBasic::kRevisionIdentifier) == revision) return true;
  }
  return false;
}

}  // namespace

std::string WhyNotComparable(const lhv::GuestProgram& program) {
  for (const lhv::CpuProgram& cpu : program.cpus) {
    if (HoldsRevision(cpu)) return "it holds the VMCS revision identifier of the core";
  }
  for (const lhv::CpuProgram& cpu : program.cpus) {
    for (const auto* code : {&cpu.l1, &cpu.l2}) {
      for (const lhv::Operation& operation : *code) {
        if (const char* const reason = WhyNotComparable(operation)) return reason;
        if (LeavesMode(operation, program.l1_mode)) return "L2 is not in the mode of the image";
      }
    }
  }
  return "";
}

}  // namespace nvmx::sim
