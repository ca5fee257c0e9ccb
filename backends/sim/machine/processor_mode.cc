// SPDX-License-Identifier: Apache-2.0
//
// What decides how instructions behave: the level, the controls of the VMCS, the operating mode.
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {

unsigned Processor::level() const {
  if (options_.native) return in_non_root() ? 2 : 1;
  return Current() == VmcsRole::kVmcs01 ? 1 : 2;
}

bool Processor::HasPin(uint32_t bits) const {
  return in_non_root() && (VmcsRead(VmcsField::kPinBasedControls) & bits) == bits;
}
bool Processor::HasPrimary(uint32_t bits) const {
  return in_non_root() && (VmcsRead(VmcsField::kPrimaryProcessorBasedControls) & bits) == bits;
}
bool Processor::HasSecondary(uint32_t bits) const {
  return HasPrimary(PrimaryProcessorBased::kActivateSecondaryControls) &&
         (VmcsRead(VmcsField::kSecondaryProcessorBasedControls) & bits) == bits;
}

// SDM Vol. 3A, 5.5 "Privilege Levels"; in VMX operation it is the DPL of SS whatever the mode.
unsigned Processor::Cpl() const {
  if ((state_.switched.cr0 & Cr0::kPe) == 0) return 0;
  if ((state_.switched.rflags & Rflags::kVm) != 0) return 3;
  return AccessRights{static_cast<uint32_t>(state_.switched.ss.access_rights)}.dpl();
}

unsigned Processor::Iopl() const {
  constexpr unsigned kIoplShift = 12;
  return static_cast<unsigned>((state_.switched.rflags & Rflags::kIopl) >> kIoplShift);
}

bool Processor::Is64BitMode() const {
  return (state_.switched.efer & Efer::kLma) != 0 &&
         AccessRights{static_cast<uint32_t>(state_.switched.cs.access_rights)}.l();
}

bool Processor::IsProtectedMode() const {
  return (state_.switched.cr0 & Cr0::kPe) != 0 && (state_.switched.rflags & Rflags::kVm) == 0;
}

unsigned Processor::LinearBits() const { return (state_.switched.cr4 & Cr4::kLa57) != 0 ? 57 : 48; }

const SegmentState& Processor::Segment(SegmentRegister name) const {
  const SwitchedRegisters& r = state_.switched;
  const SegmentState* const segments[] = {&r.es, &r.cs, &r.ss, &r.ds, &r.fs, &r.gs, &r.ldtr, &r.tr};
  return *segments[static_cast<size_t>(name)];
}

uint64_t Processor::SegmentBase(SegmentRegister name) const {
  const bool flat = Is64BitMode() && name != SegmentRegister::kFs && name != SegmentRegister::kGs;
  return flat ? 0 : Segment(name).base;
}

}  // namespace nvmx::sim
