// SPDX-License-Identifier: Apache-2.0
#include "core/nested/l1_control_registers.h"

#include "core/nested/entry_conditions.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_instructions.h"
#include "core/nested/guest_paging.h"
#include "core/nested/pdptes.h"
#include "core/nested/vmcs01.h"
#include "core/nested/vmx_instruction_checks.h"
#include "core/nested/vpid02.h"
#include "core/vmx/controls.h"
#include "core/vmx/qualifications.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/segment.h"

namespace nvmx {
namespace {

constexpr uint64_t kDefinedCr0 = Cr0::kPe | Cr0::kMp | Cr0::kEm | Cr0::kTs | Cr0::kEt | Cr0::kNe |
                                 Cr0::kWp | Cr0::kAm | Cr0::kNw | Cr0::kCd | Cr0::kPg;

uint64_t Efer01(Vcpu& vcpu) { return vcpu.ports.vmcs.Read(VmcsField::kGuestIa32Efer); }
bool IsInLongMode(Vcpu& vcpu) { return (Efer01(vcpu) & Efer::kLma) != 0; }
bool InVmxOperation(const Vcpu& vcpu) { return vcpu.state.operation != VmxOperation::kOff; }

// The PDPTEs that PAE paging with these values would use, loaded; false if one has a reserved bit
// set.
bool LoadPdptes(Vcpu& vcpu, uint64_t cr3) {
  const Pdptes pdptes = ReadPdptes(vcpu, cr3);
  if (!AreValidPdptes(pdptes, static_cast<unsigned>(vcpu.state.offered.physical_address_width))) {
    return false;
  }
  WritePdpteFields(vcpu, pdptes);
  return true;
}

// PG from 0 to 1 with EFER.LME = 1 activates IA-32e mode. SDM Vol. 3A, 10.8.5 "Initializing IA-32e
// Mode".
bool MayActivateLongMode(Vcpu& vcpu) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const AccessRights cs{static_cast<uint32_t>(vmcs.Read(VmcsField::kGuestCsAccessRights))};
  const AccessRights tr{static_cast<uint32_t>(vmcs.Read(VmcsField::kGuestTrAccessRights))};
  return (ReadL1Cr4(vcpu) & Cr4::kPae) != 0 && !cs.l() && tr.type() != AccessRights::kTypeBusyTss16;
}

void SetLongMode(Vcpu& vcpu, bool active) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t efer = Efer01(vcpu);
  const uint64_t entry = vmcs.Read(VmcsField::kVmEntryControls);
  constexpr uint64_t kGuest = VmEntry::kIa32eModeGuest;
  vmcs.Write(VmcsField::kGuestIa32Efer, active ? efer | Efer::kLma : efer & ~Efer::kLma);
  vmcs.Write(VmcsField::kVmEntryControls, active ? entry | kGuest : entry & ~kGuest);
}

bool IsValidCr0(const Vcpu& vcpu, uint64_t value) {
  if (!FitsIn32Bits(value)) return false;
  if ((value & (Cr0::kPg | Cr0::kPe)) == Cr0::kPg) return false;
  if ((value & (Cr0::kNw | Cr0::kCd)) == Cr0::kNw) return false;
  const Capabilities& c = vcpu.state.offered;
  return !InVmxOperation(vcpu) || HonoursFixedBits(value, c.cr0_fixed0, c.cr0_fixed1);
}

// What has to hold for PG to change so, beside the value itself.
bool MayChangePaging(Vcpu& vcpu, bool on) {
  if (on) return (Efer01(vcpu) & Efer::kLme) == 0 || MayActivateLongMode(vcpu);
  return !IsIn64BitMode(vcpu) && (ReadL1Cr4(vcpu) & Cr4::kPcide) == 0;
}

// Whether the write happens; else it raises #GP.
bool SetCr0(Vcpu& vcpu, uint64_t value) {
  const uint64_t old = ReadL1Cr0(vcpu);
  if (!IsValidCr0(vcpu, value)) return false;
  value = (value & kDefinedCr0) | Cr0::kEt;
  const bool paging = (value & Cr0::kPg) != 0;
  const bool changes_paging = ((old ^ value) & Cr0::kPg) != 0;
  if (changes_paging && !MayChangePaging(vcpu, paging)) return false;
  const bool long_mode = paging && (Efer01(vcpu) & Efer::kLme) != 0;
  // MOV to CR0 loads the PDPTEs if it changes one of these.
  const bool loads = ((old ^ value) & (Cr0::kPg | Cr0::kCd | Cr0::kNw)) != 0;
  if (loads && UsesPaePaging(value, ReadL1Cr4(vcpu), long_mode) &&
      !LoadPdptes(vcpu, vcpu.ports.vmcs.Read(VmcsField::kGuestCr3))) {
    return false;
  }
  if (changes_paging) SetLongMode(vcpu, long_mode);
  // L1 may be about to write MTRRs with the caches off. What the field says of these bits is not
  // loaded.
  if (((old ^ value) & (Cr0::kCd | Cr0::kNw)) != 0) vcpu.ports.cpu.WriteCacheControl(value);
  WriteL1Cr0(vcpu, value);
  InvalidateTranslationsOfGuest(vcpu);
  return true;
}

bool IsValidCr4(Vcpu& vcpu, uint64_t value) {
  const Capabilities& c = vcpu.state.offered;
  const uint64_t changed = value ^ ReadL1Cr4(vcpu);
  if ((value & ~c.cr4_fixed1) != 0) return false;
  if (InVmxOperation(vcpu) && (c.cr4_fixed0 & ~value) != 0) return false;
  const bool long_mode = IsInLongMode(vcpu);
  if (long_mode && ((value & Cr4::kPae) == 0 || (changed & Cr4::kLa57) != 0)) return false;
  constexpr uint64_t kPcid = 0xFFF;
  if ((value & changed & Cr4::kPcide) == 0) return true;
  return long_mode && (vcpu.ports.vmcs.Read(VmcsField::kGuestCr3) & kPcid) == 0;
}

bool SetCr4(Vcpu& vcpu, uint64_t value) {
  if (!IsValidCr4(vcpu, value)) return false;
  // MOV to CR4 loads the PDPTEs if it changes one of these. SDM Vol. 3A, 5.4.1 "PDPTE Registers".
  constexpr uint64_t kLoading = Cr4::kPae | Cr4::kPge | Cr4::kPse | Cr4::kSmep;
  const bool loads = ((value ^ ReadL1Cr4(vcpu)) & kLoading) != 0;
  if (loads && UsesPaePaging(ReadL1Cr0(vcpu), value, IsInLongMode(vcpu)) &&
      !LoadPdptes(vcpu, vcpu.ports.vmcs.Read(VmcsField::kGuestCr3))) {
    return false;
  }
  WriteL1Cr4(vcpu, value);
  InvalidateTranslationsOfGuest(vcpu);
  return true;
}

// Exits only on a processor on which CR3-load exiting cannot be 0.
bool SetCr3(Vcpu& vcpu, uint64_t value) {
  constexpr uint64_t kNoFlush = uint64_t{1} << 63;
  const uint64_t cr4 = ReadL1Cr4(vcpu);
  const bool keeps = (cr4 & Cr4::kPcide) != 0 && (value & kNoFlush) != 0;
  if ((cr4 & Cr4::kPcide) != 0) value &= ~kNoFlush;
  const auto width = static_cast<unsigned>(vcpu.state.offered.physical_address_width);
  if (!IsWithinWidth(value, 1, width)) return false;
  if (UsesPaePaging(ReadL1Cr0(vcpu), cr4, IsInLongMode(vcpu)) && !LoadPdptes(vcpu, value)) {
    return false;
  }
  vcpu.ports.vmcs.Write(VmcsField::kGuestCr3, value);
  if (!keeps) InvalidateTranslationsOfGuest(vcpu);
  return true;
}

bool MoveTo(Vcpu& vcpu, const ControlRegisterAccess& access) {
  constexpr uint64_t kLow32 = 0xFFFFFFFF;
  uint64_t value = ReadRegister(vcpu, access.general_register());
  if (!IsIn64BitMode(vcpu)) value &= kLow32;
  switch (access.control_register()) {
    case 0:
      return SetCr0(vcpu, value);
    case 3:
      return SetCr3(vcpu, value);
    case 4:
      return SetCr4(vcpu, value);
    default:
      return false;  // VMCS01 does not ask for others
  }
}

// LMSW loads the low four bits of CR0, and cannot clear PE.
uint64_t Lmsw(uint64_t cr0, uint16_t source) {
  constexpr uint64_t kLoaded = Cr0::kMp | Cr0::kEm | Cr0::kTs;
  return (cr0 & ~kLoaded) | (source & (kLoaded | Cr0::kPe));
}

}  // namespace

void EmulateControlRegisterAccessOfL1(Vcpu& vcpu) {
  const ControlRegisterAccess access(vcpu.ports.vmcs.Read(VmcsField::kExitQualification));
  bool done = true;
  switch (access.type()) {
    case ControlRegisterAccess::Type::kMovTo:
      done = MoveTo(vcpu, access);
      break;
    case ControlRegisterAccess::Type::kMovFrom:
      // Of CR3: the others do not exit.
      WriteRegister(vcpu, access.general_register(), vcpu.ports.vmcs.Read(VmcsField::kGuestCr3));
      break;
    case ControlRegisterAccess::Type::kClts:
      done = SetCr0(vcpu, ReadL1Cr0(vcpu) & ~Cr0::kTs);
      break;
    case ControlRegisterAccess::Type::kLmsw:
      done = SetCr0(vcpu, Lmsw(ReadL1Cr0(vcpu), access.lmsw_source()));
      break;
  }
  if (done) {
    FinishInstruction(vcpu);
  } else {
    RaiseFault(vcpu, GeneralProtection());
  }
}

}  // namespace nvmx
