// SPDX-License-Identifier: Apache-2.0
//
// RDMSR and WRMSR, and the lists of MSRs that VM entries and VM exits process.
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/processor_features.h"
#include "core/vmx/controls.h"
#include "core/vmx/msr_list.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

enum class Rule : uint8_t { kAny, kCanonical, kLow32Bits, kApicBase };

struct PlainMsr {
  Msr msr;
  uint64_t PlainMsrs::*member;
  Rule rule;
};
constexpr PlainMsr kPlainMsrs[] = {
    {Msr::IA32_STAR, &PlainMsrs::star, Rule::kAny},
    {Msr::IA32_LSTAR, &PlainMsrs::lstar, Rule::kCanonical},
    {Msr::IA32_CSTAR, &PlainMsrs::cstar, Rule::kCanonical},
    {Msr::IA32_FMASK, &PlainMsrs::fmask, Rule::kAny},
    {Msr::IA32_KERNEL_GS_BASE, &PlainMsrs::kernel_gs_base, Rule::kCanonical},
    {Msr::IA32_TSC_AUX, &PlainMsrs::tsc_aux, Rule::kLow32Bits},
    {Msr::IA32_APIC_BASE, &PlainMsrs::apic_base, Rule::kApicBase},
    {Msr::IA32_MISC_ENABLE, &PlainMsrs::misc_enable, Rule::kAny},
    {Msr::IA32_BIOS_SIGN_ID, &PlainMsrs::bios_sign_id, Rule::kAny},
};

struct SwitchedMsr {
  Msr msr;
  uint64_t SwitchedRegisters::*member;
};
constexpr SwitchedMsr kSwitchedMsrs[] = {
    {Msr::IA32_EFER, &SwitchedRegisters::efer},
    {Msr::IA32_PAT, &SwitchedRegisters::pat},
    {Msr::IA32_DEBUGCTL, &SwitchedRegisters::debugctl},
    {Msr::IA32_SYSENTER_CS, &SwitchedRegisters::sysenter_cs},
    {Msr::IA32_SYSENTER_ESP, &SwitchedRegisters::sysenter_esp},
    {Msr::IA32_SYSENTER_EIP, &SwitchedRegisters::sysenter_eip},
};

// SDM Vol. 3A, 11.4.4 "Local APIC Status and Location"; 11.12.5 "x2APIC State Transitions".
bool IsValidApicBase(uint64_t old, uint64_t value, const Capabilities& capabilities) {
  constexpr uint64_t kReserved = 0x2FF;  // bits 7:0 and 9
  const auto width = static_cast<unsigned>(capabilities.physical_address_width);
  if ((value & kReserved) != 0 || (value & ~PhysicalAddressMask(width)) != 0) return false;
  const auto is = [](uint64_t base, uint64_t flag) { return (base & flag) != 0; };
  const bool x2apic = is(value, ApicBase::kEnableX2Apic);
  // A processor that virtualizes x2APIC mode has it.
  if (x2apic && !capabilities.SupportsSecondary(Secondary::kVirtualizeX2ApicMode)) return false;
  if (x2apic) return is(value, ApicBase::kEnable) && is(old, ApicBase::kEnable);
  // x2APIC mode is left by disabling the APIC.
  return !is(old, ApicBase::kEnableX2Apic) || !is(value, ApicBase::kEnable);
}

bool IsValid(Rule rule, uint64_t old, uint64_t value, const Capabilities& capabilities) {
  switch (rule) {
    case Rule::kAny:
      return true;
    case Rule::kCanonical:
      return IsCanonical(value, static_cast<unsigned>(capabilities.linear_address_width));
    case Rule::kLow32Bits:
      return value >> 32 == 0;
    case Rule::kApicBase:
      return IsValidApicBase(old, value, capabilities);
  }
  return false;
}

// Four machine-check banks from IA32_MC0_CTL on; nothing outside them.
std::optional<size_t> MachineCheckIndex(uint32_t msr) {
  const uint32_t first = Index(Msr::IA32_MC0_CTL);
  if (msr < first || msr >= first + PlainMsrs{}.machine_check.size()) return std::nullopt;
  return msr - first;
}

// SDM Vol. 3C, 27.4 "Loading MSRs", 28.6 "Loading MSRs".
bool MayBeLoaded(const MsrListEntry& entry) {
  return entry.reserved == 0 && entry.index != Index(Msr::IA32_FS_BASE) &&
         entry.index != Index(Msr::IA32_GS_BASE) && !IsX2ApicMsr(entry.index) &&
         entry.index != Index(Msr::IA32_SMM_MONITOR_CTL) &&
         entry.index != Index(Msr::IA32_BIOS_UPDT_TRIG) &&
         entry.index != Index(Msr::IA32_BIOS_SIGN_ID);
}

// SDM Vol. 3C, 28.4 "Saving MSRs".
bool MayBeStored(const MsrListEntry& entry) {
  return entry.reserved == 0 && !IsX2ApicMsr(entry.index) &&
         entry.index != Index(Msr::IA32_SMBASE) && entry.index != Index(Msr::IA32_BIOS_UPDT_TRIG) &&
         entry.index != Index(Msr::IA32_BIOS_SIGN_ID);
}

}  // namespace

std::optional<uint64_t> Processor::ReadMsr(uint32_t msr) const {
  for (const PlainMsr& row : kPlainMsrs) {
    if (Index(row.msr) == msr) return state_.plain.*row.member;
  }
  for (const SwitchedMsr& row : kSwitchedMsrs) {
    if (Index(row.msr) == msr) return state_.switched.*row.member;
  }
  if (msr == Index(Msr::IA32_FS_BASE)) return state_.switched.fs.base;
  if (msr == Index(Msr::IA32_GS_BASE)) return state_.switched.gs.base;
  if (msr == Index(Msr::IA32_TIME_STAMP_COUNTER)) return state_.tsc;
  if (msr == Index(Msr::IA32_PERF_GLOBAL_CTRL) && HasPerformanceCounters()) {
    return state_.switched.perf_global_ctrl;
  }
  if (msr == Index(Msr::IA32_FEATURE_CONTROL)) {
    return FeatureControl::kLock | FeatureControl::kEnableVmxOutsideSmx;
  }
  if (std::optional<size_t> index = MachineCheckIndex(msr)) {
    return state_.plain.machine_check[*index];
  }
  if (MtrrSettings::IsMtrr(msr)) return state_.mtrr.Read(msr);
  const std::optional<uint64_t> capability = capabilities_.Read(msr);
  return capability == uint64_t{0} ? std::nullopt : capability;
}

bool Processor::WriteMsr(uint32_t msr, uint64_t value) {
  const auto linear_bits = static_cast<unsigned>(capabilities_.linear_address_width);
  for (const PlainMsr& row : kPlainMsrs) {
    if (Index(row.msr) != msr) continue;
    if (!IsValid(row.rule, state_.plain.*row.member, value, capabilities_)) return false;
    state_.plain.*row.member = value;
    return true;
  }
  if (std::optional<size_t> index = MachineCheckIndex(msr)) {
    state_.plain.machine_check[*index] = value;
    return true;
  }
  if (MtrrSettings::IsMtrr(msr)) {
    if (!MtrrSettings::IsValidWrite(msr, value,
                                    static_cast<unsigned>(capabilities_.physical_address_width))) {
      return false;
    }
    state_.mtrr.Write(msr, value);
    return true;
  }
  SwitchedRegisters& r = state_.switched;
  switch (static_cast<Msr>(msr)) {
    case Msr::IA32_BIOS_UPDT_TRIG:
      // What is there is no update for this processor.
      return true;
    case Msr::IA32_EFER:
      if ((value & ~Efer::kDefined) != 0) return false;
      if ((r.cr0 & Cr0::kPg) != 0 && ((value ^ r.efer) & Efer::kLme) != 0) return false;
      r.efer = (value & ~Efer::kLma) | (r.efer & Efer::kLma);
      return true;
    case Msr::IA32_PAT:
      if (!IsValidPat(value)) return false;
      r.pat = value;
      return true;
    case Msr::IA32_DEBUGCTL:
      if ((value & ~DebugCtl::kArchitectural) != 0) return false;
      r.debugctl = value;
      return true;
    case Msr::IA32_SYSENTER_CS:
      // SDM Vol. 4, Table 2-2 "IA-32 Architectural MSRs": writes of bits 63:32 are ignored.
      r.sysenter_cs = static_cast<uint32_t>(value);
      return true;
    case Msr::IA32_SYSENTER_ESP:
    case Msr::IA32_SYSENTER_EIP:
    case Msr::IA32_FS_BASE:
    case Msr::IA32_GS_BASE:
      if (!IsCanonical(value, linear_bits)) return false;
      (msr == Index(Msr::IA32_SYSENTER_ESP)   ? r.sysenter_esp
       : msr == Index(Msr::IA32_SYSENTER_EIP) ? r.sysenter_eip
       : msr == Index(Msr::IA32_FS_BASE)      ? r.fs.base
                                              : r.gs.base) = value;
      return true;
    case Msr::IA32_TIME_STAMP_COUNTER:
      state_.tsc = value;
      return true;
    case Msr::IA32_PERF_GLOBAL_CTRL:
      if (!HasPerformanceCounters()) return false;
      if ((value & ~PerformanceCounters::kGlobalCtrlDefined) != 0) return false;
      r.perf_global_ctrl = value;
      return true;
    default:
      return false;
  }
}

uint32_t Processor::LoadMsrList(uint64_t address, uint64_t count) {
  for (uint64_t position = 0; position < count; ++position) {
    MsrListEntry entry{.index = ~0u, .reserved = ~0u, .data = ~uint64_t{0}};
    memory_.Read(address + position * sizeof entry, std::as_writable_bytes(std::span(&entry, 1)));
    if (!MayBeLoaded(entry) || !WriteMsr(entry.index, entry.data)) {
      return static_cast<uint32_t>(position + 1);
    }
  }
  return 0;
}

uint32_t Processor::StoreMsrList(uint64_t address, uint64_t count) {
  for (uint64_t position = 0; position < count; ++position) {
    const uint64_t place = address + position * sizeof(MsrListEntry);
    MsrListEntry entry{.index = ~0u, .reserved = ~0u, .data = ~uint64_t{0}};
    memory_.Read(place, std::as_writable_bytes(std::span(&entry, 1)));
    const std::optional<uint64_t> value = MayBeStored(entry) ? ReadMsr(entry.index) : std::nullopt;
    if (!value) return static_cast<uint32_t>(position + 1);
    memory_.Write(place + offsetof(MsrListEntry, data), std::as_bytes(std::span(&*value, 1)));
  }
  return 0;
}

}  // namespace nvmx::sim
