// SPDX-License-Identifier: Apache-2.0
//
// Accesses to control and debug registers that cause no VM exit. SDM Vol. 2A and 2B, "CLTS",
// "LMSW", "MOV", "SMSW"; Vol. 3A, 2.5 "Control Registers"; Vol. 3C, 24.8 "Restrictions on VMX
// Operation", 26.3 "Changes to Instruction Behavior in VMX Non-Root Operation".
#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/segment.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionKind;

// Other bits of CR0 ignore writes.
constexpr uint64_t kCr0Writable = Cr0::kPe | Cr0::kMp | Cr0::kEm | Cr0::kTs | Cr0::kNe | Cr0::kWp |
                                  Cr0::kAm | Cr0::kNw | Cr0::kCd | Cr0::kPg;
constexpr uint64_t kUpperHalf = 0xFFFFFFFF'00000000;
constexpr uint64_t kCr3NoInvalidation = uint64_t{1} << 63;
constexpr uint64_t kCr3Pcid = 0xFFF;
constexpr unsigned kTprShift = 4;
constexpr uint64_t kCr8Defined = 0xF;

// SDM Vol. 3B, 18.2.3 "Debug Status Register (DR6)", 18.2.4 "Debug Control Register (DR7)".
constexpr uint64_t kDr6Writable =
    Dr6::kB0 | Dr6::kB1 | Dr6::kB2 | Dr6::kB3 | Dr6::kBd | Dr6::kBs | Dr6::kBt;
constexpr uint64_t kDr7Writable = 0xFFFF23FF;

}  // namespace

uint64_t Processor::Cr0HostMask() const {
  return in_non_root() ? VmcsRead(VmcsField::kCr0GuestHostMask) : 0;
}
uint64_t Processor::Cr4HostMask() const {
  return in_non_root() ? VmcsRead(VmcsField::kCr4GuestHostMask) : 0;
}

// SDM Vol. 3C, 26.3: bits of the mask read from the read shadow.
uint64_t Processor::VisibleCr0() const {
  const uint64_t mask = Cr0HostMask();
  if (mask == 0) return state_.switched.cr0;
  return (state_.switched.cr0 & ~mask) | (VmcsRead(VmcsField::kCr0ReadShadow) & mask);
}
uint64_t Processor::VisibleCr4() const {
  const uint64_t mask = Cr4HostMask();
  if (mask == 0) return state_.switched.cr4;
  return (state_.switched.cr4 & ~mask) | (VmcsRead(VmcsField::kCr4ReadShadow) & mask);
}

// SDM Vol. 3C, 24.8: in VMX operation some bits are fixed; not PE and PG of an unrestricted guest.
bool Processor::IsCr0Allowed(uint64_t cr0) const {
  if (state_.operation == Operation::kOff) return true;
  const uint64_t free = HasSecondary(Secondary::kUnrestrictedGuest) ? Cr0::kPe | Cr0::kPg : 0;
  return (capabilities_.cr0_fixed0 & ~free & ~cr0) == 0 && (cr0 & ~capabilities_.cr0_fixed1) == 0;
}

bool Processor::UsesPaePaging(uint64_t cr0, uint64_t cr4, uint64_t efer) {
  return (cr0 & Cr0::kPg) != 0 && (cr4 & Cr4::kPae) != 0 && (efer & Efer::kLma) == 0;
}

Outcome Processor::WriteCr0(uint64_t value) {
  SwitchedRegisters& r = state_.switched;
  const uint64_t mask = Cr0HostMask();
  uint64_t next = (r.cr0 & mask) | (value & ~mask);
  if ((next & kUpperHalf) != 0) return Fault(Vector::kGeneralProtection);
  next = (next & kCr0Writable) | Cr0::kEt;
  const bool pages = (next & Cr0::kPg) != 0;
  const bool paged = (r.cr0 & Cr0::kPg) != 0;
  const bool long_code = AccessRights{static_cast<uint32_t>(r.cs.access_rights)}.l();
  uint64_t efer = r.efer;
  if (pages && (next & Cr0::kPe) == 0) return Fault(Vector::kGeneralProtection);
  if ((next & Cr0::kNw) != 0 && (next & Cr0::kCd) == 0) return Fault(Vector::kGeneralProtection);
  if (!IsCr0Allowed(next)) return Fault(Vector::kGeneralProtection);
  if (pages && !paged && (efer & Efer::kLme) != 0) {
    if ((r.cr4 & Cr4::kPae) == 0 || long_code) return Fault(Vector::kGeneralProtection);
    efer |= Efer::kLma;
  }
  if (!pages && paged) {
    if (Is64BitMode() || (r.cr4 & Cr4::kPcide) != 0) return Fault(Vector::kGeneralProtection);
    efer &= ~Efer::kLma;
  }
  // SDM Vol. 3A, 4.4.1 "PDPTE Registers".
  constexpr uint64_t kLoadsPdptes = Cr0::kPg | Cr0::kCd | Cr0::kNw;
  if (UsesPaePaging(next, r.cr4, efer) && ((next ^ r.cr0) & kLoadsPdptes) != 0 &&
      !LoadPdptes(r.cr3)) {
    return Outcome::kElsewhere;
  }
  r.cr0 = next;
  r.efer = efer;
  if (pages != paged) DropTranslations();
  return Outcome::kNext;
}

void Processor::WriteCacheControl(uint64_t cr0) {
  constexpr uint64_t kChanged = Cr0::kCd | Cr0::kNw;
  state_.switched.cr0 = (state_.switched.cr0 & ~kChanged) | (cr0 & kChanged);
}

Outcome Processor::WriteCr3(uint64_t value) {
  SwitchedRegisters& r = state_.switched;
  const bool has_pcids = (r.cr4 & Cr4::kPcide) != 0;
  const bool keeps = has_pcids && (value & kCr3NoInvalidation) != 0;
  if (Is64BitMode()) {
    if (has_pcids) value &= ~kCr3NoInvalidation;
    const auto width = static_cast<unsigned>(capabilities_.physical_address_width);
    if ((value & ~PhysicalAddressMask(width)) != 0) return Fault(Vector::kGeneralProtection);
  } else {
    value &= ~kUpperHalf;
  }
  if (UsesPaePaging(r.cr0, r.cr4, r.efer) && !LoadPdptes(value)) return Outcome::kElsewhere;
  r.cr3 = value;
  if (!keeps) DropTranslationsOfPcid(has_pcids ? value & kCr3Pcid : 0);
  return Outcome::kNext;
}

Outcome Processor::WriteCr4(uint64_t value) {
  SwitchedRegisters& r = state_.switched;
  const uint64_t mask = Cr4HostMask();
  const uint64_t next = (r.cr4 & mask) | (value & ~mask);
  const uint64_t changes = next ^ r.cr4;
  const bool long_mode = (r.efer & Efer::kLma) != 0;
  if ((next & ~capabilities_.cr4_fixed1) != 0) return Fault(Vector::kGeneralProtection);
  if (state_.operation != Operation::kOff && (capabilities_.cr4_fixed0 & ~next) != 0) {
    return Fault(Vector::kGeneralProtection);
  }
  if (long_mode && ((next & Cr4::kPae) == 0 || (changes & Cr4::kLa57) != 0)) {
    return Fault(Vector::kGeneralProtection);
  }
  if ((changes & next & Cr4::kPcide) != 0 && (!long_mode || (r.cr3 & kCr3Pcid) != 0)) {
    return Fault(Vector::kGeneralProtection);
  }
  constexpr uint64_t kLoadsPdptes = Cr4::kPae | Cr4::kPge | Cr4::kPse | Cr4::kSmep;
  if (UsesPaePaging(r.cr0, next, r.efer) && (changes & kLoadsPdptes) != 0 && !LoadPdptes(r.cr3)) {
    return Outcome::kElsewhere;
  }
  const uint64_t pcid = (r.cr4 & Cr4::kPcide) != 0 ? r.cr3 & kCr3Pcid : 0;
  r.cr4 = next;
  // SDM Vol. 3A, 4.10.4.1 "Operations that Invalidate TLBs and Paging-Structure Caches".
  if ((changes & Cr4::kPge) != 0 || (changes & ~next & Cr4::kPcide) != 0) {
    DropTranslations();
  } else if ((changes & (Cr4::kPae | Cr4::kPse)) != 0 || (changes & next & Cr4::kSmep) != 0) {
    DropTranslationsOfPcid(pcid);
  }
  return Outcome::kNext;
}

// SDM Vol. 3C, 30.3 "Virtualizing CR8-Based TPR Accesses".
Outcome Processor::WriteCr8(uint64_t value) {
  if ((value & ~kCr8Defined) != 0) return Fault(Vector::kGeneralProtection);
  if (HasPrimary(PrimaryProcessorBased::kUseTprShadow)) {
    WriteVirtualTpr(value << kTprShift);
  } else {
    state_.tpr = value << kTprShift;
  }
  return Outcome::kNext;
}

uint64_t Processor::VisibleCr8() const {
  const uint64_t tpr =
      HasPrimary(PrimaryProcessorBased::kUseTprShadow) ? ReadVirtualTpr() : state_.tpr;
  return tpr >> kTprShift & kCr8Defined;
}

Outcome Processor::PerformMovToCr(unsigned number) {
  const uint64_t value = state_.registers[kValueRegister];
  switch (number) {
    case 0:
      return WriteCr0(value);
    case 2:
      state_.cr2 = value;
      return Outcome::kNext;
    case 3:
      return WriteCr3(value);
    case 4:
      return WriteCr4(value);
    default:
      return WriteCr8(value);
  }
}

Outcome Processor::PerformMovFromCr(unsigned number) {
  uint64_t& value = state_.registers[kValueRegister];
  switch (number) {
    case 0:
      value = VisibleCr0();
      break;
    case 2:
      value = state_.cr2;
      break;
    case 3:
      value = state_.switched.cr3;
      break;
    case 4:
      value = VisibleCr4();
      break;
    default:
      value = VisibleCr8();
      break;
  }
  return Outcome::kNext;
}

// SDM Vol. 3C, 26.3: TS stays if it is the host's.
Outcome Processor::PerformClts() {
  state_.switched.cr0 &= ~(Cr0::kTs & ~Cr0HostMask());
  return Outcome::kNext;
}

// LMSW can set PE and not clear it.
Outcome Processor::PerformLmsw() {
  constexpr uint64_t kLoaded = Cr0::kPe | Cr0::kMp | Cr0::kEm | Cr0::kTs;
  const uint64_t cr0 = state_.switched.cr0;
  const uint64_t source = state_.registers[kValueRegister] & kLoaded;
  return WriteCr0((cr0 & ~kLoaded) | source | (cr0 & Cr0::kPe));
}

Outcome Processor::PerformMovDr(const Instruction& instruction) {
  SwitchedRegisters& r = state_.switched;
  // SDM Vol. 3C, 26.1.3, MOV DR: this VM exit comes before all faults but a mere bad encoding.
  if (HasPrimary(PrimaryProcessorBased::kMovDrExiting)) {
    return ExitOnInstruction(ExitReason::kMovDr, DrQualification(instruction));
  }
  unsigned number = instruction.width;
  if (number == 4 || number == 5) {
    if ((r.cr4 & Cr4::kDe) != 0) return Fault(Vector::kInvalidOpcode);
    number += 2;
  }
  if (number > 7) return Fault(Vector::kInvalidOpcode);
  if (Cpl() > 0) return Fault(Vector::kGeneralProtection);
  if ((r.dr7 & Dr7::kGd) != 0) return Raise(Exception{Vector::kDebug, 0, Dr6::kBd});
  uint64_t& value = state_.registers[kValueRegister];
  if (instruction.kind == InstructionKind::kMovFromDr) {
    value = number < 4 ? state_.debug_addresses[number] : number == 6 ? state_.dr6 : r.dr7;
    return Outcome::kNext;
  }
  if (number < 4) {
    state_.debug_addresses[number] = value;
    return Outcome::kNext;
  }
  if ((value & kUpperHalf) != 0) return Fault(Vector::kGeneralProtection);
  if (number == 6) {
    state_.dr6 = (value & kDr6Writable) | Dr6::kInit;
  } else {
    r.dr7 = (value & kDr7Writable) | Dr7::kFixed1;
  }
  return Outcome::kNext;
}

}  // namespace nvmx::sim
