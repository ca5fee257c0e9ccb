// SPDX-License-Identifier: Apache-2.0
//
// VM entries. SDM Vol. 3C, chapter 27 "VM Entries".
#include <algorithm>
#include <array>

#include "backends/sim/machine/guest_state_fields.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/efer.h"

namespace nvmx::sim {
namespace {

class PhysicalMemory final : public EntryMemory {
 public:
  explicit PhysicalMemory(const Memory& memory) : memory_(memory) {}
  void ReadPhysical(uint64_t address, std::span<std::byte> bytes) const override {
    memory_.ReadPhysical(address, bytes);
  }

 private:
  const Memory& memory_;
};

constexpr bool IsExitInformation(const VmcsFieldInformation& row) {
  return row.policy == Vmcs02Policy::kExitInformation;
}

constexpr auto kExitInformation = [] {
  std::array<VmcsField, std::ranges::count_if(kVmcsFields, IsExitInformation)> fields{};
  size_t count = 0;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (IsExitInformation(row)) fields[count++] = row.field;
  }
  return fields;
}();

// DR7 has bits that no load changes. SDM Vol. 3C, 27.3.2.1.
uint64_t LoadedDr7(uint64_t field) {
  return (field & ~Dr7::kFixed0) | Dr7::kFixed1;
}

}  // namespace

// --- What is wrong with the VMCS.

EntryOutcome Processor::CheckEntry() const {
  const PhysicalMemory memory(memory_);
  const ActiveVmcs& vmcs = Vmcs();
  const EntryInput input{vmcs.fields, capabilities_, memory,
                         options_.native ? vmcs.address : kNoVmcs,
                         (state_.switched.efer & Efer::kLma) != 0};
  if (const EntryOutcome outcome = CheckControls(input); !outcome.entered()) return outcome;
  // L0 is no software of the simulated processor: it has no state there that a VM exit could load.
  if (options_.native) {
    if (const EntryOutcome outcome = CheckHostState(input); !outcome.entered()) return outcome;
  }
  return CheckGuestState(input);
}

// --- The VM entry itself.

void Processor::EnterGuest() {
  if (const EntryOutcome outcome = CheckEntry(); !outcome.entered()) {
    platform_.EntryRefused(outcome.rule());
    return;
  }
  if (!EnterCheckedGuest()) return;
  // What the last exit reported is gone as soon as the next can come: a reader of stale exit
  // information reads zeros.
  VmcsImage& fields = Vmcs().fields;
  NVMX_UNROLL
  for (const VmcsField field : kExitInformation) fields.Write(field, 0);
  InjectEvent();
}

bool Processor::EnterCheckedGuest() {
  const uint64_t blocked_before = state_.nmi_blocked;
  LoadGuestState();
  state_.monitor_armed = 0;
  const VmcsImage& v = Vmcs().fields;
  if (uint32_t failed = LoadMsrList(v.Get<VmcsField::kVmEntryMsrLoadAddress>(),
                                    v.Get<VmcsField::kVmEntryMsrLoadCount>())) {
    state_.nmi_blocked = blocked_before;
    FailEntry(ExitReason::kVmEntryFailureMsrLoading, failed);
    return false;
  }
  Vmcs().launched = 1;
  state_.operation = Operation::kNonRoot;
  DropTranslationsAtTransition();
  if (HasSecondary(Secondary::kVmcsShadowing)) {
    // SDM Vol. 3C, 25.10 "VMCS Types: Ordinary and Shadow": the entry makes it active.
    const uint64_t link = v.Get<VmcsField::kVmcsLinkPointer>();
    if (link != kNoVmcs) ActivateShadowVmcs(link);
  }
  StartGuestTimers();
  return true;
}

// SDM Vol. 3C, 27.7.4 "VMX-Preemption Timer"; what else 27.7 says belongs to the first instruction
// boundary.
void Processor::StartGuestTimers() {
  const VmcsImage& v = Vmcs().fields;
  state_.mtf_pending = state_.tpr_below_pending = 0;
  if (HasPin(PinBased::kActivateVmxPreemptionTimer)) {
    state_.preemption_timer = v.Get<VmcsField::kVmxPreemptionTimerValue>();
  }
}

// SDM Vol. 3C, 27.3.2 "Loading Guest State".
void Processor::LoadGuestState() {
  const VmcsImage& v = Vmcs().fields;
  SwitchedRegisters& r = state_.switched;
  const uint64_t old_cr0 = r.cr0;
  NVMX_UNROLL
  for (const GuestRegister& row : kGuestRegisters) r.*row.member = v.Read(row.field);
  r.cr0 = SwitchCr0(old_cr0, r.cr0);
  NVMX_UNROLL
  for (const GuestSegment& row : kGuestSegments) {
    r.*row.member = {v.Read(row.selector), v.Read(row.base), v.Read(row.limit),
                     v.Read(row.access_rights)};
  }
  LoadGuestMsrs();
  LoadGuestPdptes();
  LoadGuestNonRegisterState();
}

// 27.3.2.1 "Loading Guest Control Registers, Debug Registers, and MSRs", as the controls say.
void Processor::LoadGuestMsrs() {
  const VmcsImage& v = Vmcs().fields;
  SwitchedRegisters& r = state_.switched;
  const uint32_t entry = v.Get<VmcsField::kVmEntryControls>();
  if ((entry & VmEntry::kLoadDebugControls) != 0) {
    r.dr7 = LoadedDr7(v.Get<VmcsField::kGuestDr7>());
    r.debugctl = v.Get<VmcsField::kGuestIa32Debugctl>();
  }
  if ((entry & VmEntry::kLoadIa32Efer) != 0) {
    r.efer = v.Get<VmcsField::kGuestIa32Efer>();
  } else {
    const bool long_mode = (entry & VmEntry::kIa32eModeGuest) != 0;
    // LME follows LMA if there is paging, and stays what it was otherwise.
    const uint64_t follows = (r.cr0 & Cr0::kPg) != 0 ? Efer::kLma | Efer::kLme : Efer::kLma;
    r.efer = (r.efer & ~follows) | (long_mode ? follows : 0);
  }
  if ((entry & VmEntry::kLoadIa32PerfGlobalCtrl) != 0) {
    r.perf_global_ctrl = v.Get<VmcsField::kGuestIa32PerfGlobalCtrl>();
  }
  if ((entry & VmEntry::kLoadIa32Pat) != 0) r.pat = v.Get<VmcsField::kGuestIa32Pat>();
}

// 27.3.2.5 "Loading Page-Directory-Pointer-Table Entries".
void Processor::LoadGuestPdptes() {
  const VmcsImage& v = Vmcs().fields;
  SwitchedRegisters& r = state_.switched;
  r.pdptes = {};
  if (!UsesPaePaging(r.cr0, r.cr4, r.efer)) return;
  const bool ept =
      (v.Get<VmcsField::kPrimaryProcessorBasedControls>() &
       PrimaryProcessorBased::kActivateSecondaryControls) != 0 &&
      (v.Get<VmcsField::kSecondaryProcessorBasedControls>() & Secondary::kEnableEpt) != 0;
  if (ept) {
    for (size_t i = 0; i < r.pdptes.size(); ++i) r.pdptes[i] = v.Read(kGuestPdptes[i]);
  } else {
    memory_.ReadPhysical(PdptAddress(r.cr3), std::as_writable_bytes(std::span(r.pdptes)));
  }
}

// 27.3.2.6 "Updating Non-Register State"; 27.7.1 "Interruptibility State".
void Processor::LoadGuestNonRegisterState() {
  const VmcsImage& v = Vmcs().fields;
  const uint32_t interruptibility = v.Get<VmcsField::kGuestInterruptibilityState>();
  const bool blocking = (interruptibility & Interruptibility::kBlockingByNmi) != 0;
  state_.blocking_by_sti = (interruptibility & Interruptibility::kBlockingBySti) != 0;
  state_.blocking_by_mov_ss = (interruptibility & Interruptibility::kBlockingByMovSs) != 0;
  state_.activity_state = v.Get<VmcsField::kGuestActivityState>();
  // With virtual NMIs physical NMIs are not blocked in the guest, whatever was in root operation;
  // the bit then is virtual blocking.
  const bool virtual_nmis = (v.Get<VmcsField::kPinBasedControls>() & PinBased::kVirtualNmis) != 0;
  state_.nmi_blocked = !virtual_nmis && blocking;
  state_.virtual_nmi_blocked = virtual_nmis && blocking;
}

}  // namespace nvmx::sim
