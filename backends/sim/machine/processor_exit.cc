// SPDX-License-Identifier: Apache-2.0
//
// VM exits, and VM entries that fail late. SDM Vol. 3C, chapter 28 "VM Exits"; 27.8 "VM-Entry
// Failures During or After Loading Guest State".
#include <utility>

#include "backends/sim/machine/guest_state_fields.h"
#include "backends/sim/machine/processor.h"
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx::sim {
namespace {

// SDM Vol. 3C, 28.5.2 "Loading Host Segment and Descriptor-Table Registers".
constexpr uint64_t kHostLimit = 0xFFFFFFFF;
constexpr uint64_t kHostTableLimit = 0xFFFF;
constexpr uint64_t kHostTrLimit = 0x67;
constexpr uint32_t kHostData = AccessRights::kTypeWritable | AccessRights::kTypeAccessed |
                               AccessRights::kS | AccessRights::kP | AccessRights::kDb |
                               AccessRights::kG;
constexpr uint32_t kHostCode = AccessRights::kTypeCode | AccessRights::kTypeReadable |
                               AccessRights::kTypeAccessed | AccessRights::kS | AccessRights::kP |
                               AccessRights::kG;
constexpr uint32_t kHostTss = AccessRights::kTypeBusyTss | AccessRights::kP;

SegmentState HostData(uint64_t selector, uint64_t base) {
  const uint64_t unusable = selector == 0 ? AccessRights::kUnusable : 0;
  return {selector, base, kHostLimit, kHostData | unusable};
}

InterruptionInformation EventOf(uint64_t interruption) {
  return InterruptionInformation(static_cast<uint32_t>(interruption));
}

bool IsByNmi(ExitReason reason, uint64_t interruption) {
  return reason == ExitReason::kExceptionOrNmi && EventOf(interruption).IsNmi();
}

}  // namespace

void Processor::Exit(ExitReason reason, const ExitInformation& information) {
  // In the order of 28.2 to 28.6.
  RecordExitInformation(reason, information);
  SaveGuestState(reason, information);
  const VmcsImage& v = Vmcs().fields;
  if (StoreMsrList(v.Get<VmcsField::kVmExitMsrStoreAddress>(),
                   v.Get<VmcsField::kVmExitMsrStoreCount>()) != 0) {
    EnterVmxAbort(VmxAbort::kSavingGuestMsrs);
    return;
  }
  DropTranslationsAtTransition();
  if (const std::optional<VmxAbort> abort = LoadHostState()) {
    EnterVmxAbort(*abort);
    return;
  }
  // Only now: the saved interruptibility is that before the exit. SDM Vol. 3C, 28.1 "Architectural
  // State Before a VM Exit".
  if (IsByNmi(reason, information.interruption)) state_.nmi_blocked = 1;
  if (LoadMsrList(v.Get<VmcsField::kVmExitMsrLoadAddress>(),
                  v.Get<VmcsField::kVmExitMsrLoadCount>()) != 0) {
    EnterVmxAbort(VmxAbort::kLoadingHostMsrs);
    return;
  }
  // Without L0 the guest program goes on at the host RIP.
  if (!options_.native) platform_.RunRoot();
}

// 27.8: the guest-state area, the rest of the exit information and the valid bit of the injected
// event stay as they are.
void Processor::FailEntry(ExitReason reason, uint64_t qualification) {
  VmcsImage& v = Vmcs().fields;
  v.Set<VmcsField::kExitReason>(ExitReasonValue::EntryFailure(reason).value);
  v.Set<VmcsField::kExitQualification>(qualification);
  DropTranslationsAtTransition();
  if (const std::optional<VmxAbort> abort = LoadHostState()) {
    EnterVmxAbort(*abort);
    return;
  }
  if (LoadMsrList(v.Get<VmcsField::kVmExitMsrLoadAddress>(),
                  v.Get<VmcsField::kVmExitMsrLoadCount>()) != 0) {
    EnterVmxAbort(VmxAbort::kLoadingHostMsrs);
  }
}

// 28.2 "Recording VM-Exit Information and Updating VM-entry Control Fields". What the SDM leaves
// undefined reads as 0.
void Processor::RecordExitInformation(ExitReason reason, const ExitInformation& information) {
  VmcsImage& v = Vmcs().fields;
  v.Set<VmcsField::kExitReason>(static_cast<uint64_t>(reason));
  v.Set<VmcsField::kExitQualification>(information.qualification);
  v.Set<VmcsField::kVmExitInterruptionInformation>(information.interruption);
  v.Set<VmcsField::kVmExitInterruptionErrorCode>(information.error_code);
  v.Set<VmcsField::kVmExitInstructionLength>(information.instruction_length);
  v.Set<VmcsField::kVmExitInstructionInformation>(information.instruction_information);
  v.Set<VmcsField::kGuestLinearAddress>(information.guest_linear);
  v.Set<VmcsField::kGuestPhysicalAddress>(information.guest_physical);
  v.Set<VmcsField::kIdtVectoringInformation>(information.vectoring);
  v.Set<VmcsField::kIdtVectoringErrorCode>(information.vectoring_error_code);
  v.Set<VmcsField::kVmEntryInterruptionInformation>(
      v.Get<VmcsField::kVmEntryInterruptionInformation>() & ~InterruptionInformation::kValid);
  if ((capabilities_.misc & VmxMisc::kStoreLmaOnExit) != 0) {
    const uint32_t entry = v.Get<VmcsField::kVmEntryControls>() & ~VmEntry::kIa32eModeGuest;
    const bool long_mode = (state_.switched.efer & Efer::kLma) != 0;
    v.Set<VmcsField::kVmEntryControls>(entry | (long_mode ? VmEntry::kIa32eModeGuest : 0));
  }
}

// --- Saving. 28.3 "Saving Guest State".

void Processor::SaveGuestState(ExitReason reason, const ExitInformation& information) {
  VmcsImage& v = Vmcs().fields;
  const SwitchedRegisters& r = state_.switched;
  NVMX_UNROLL
  for (const GuestRegister& row : kGuestRegisters) v.Write(row.field, r.*row.member);
  v.Set<VmcsField::kGuestRflags>(SavedRflags(reason, information));
  v.Set<VmcsField::kGuestPendingDebugExceptions>(SavedPendingDebugExceptions(reason, information));
  NVMX_UNROLL
  for (const GuestSegment& row : kGuestSegments) {
    const SegmentState& segment = r.*row.member;
    v.Write(row.selector, segment.selector);
    v.Write(row.base, segment.base);
    v.Write(row.limit, segment.limit);
    v.Write(row.access_rights, segment.access_rights);
  }
  SaveGuestMsrs();
  const bool blocking =
      HasPin(PinBased::kVirtualNmis) ? state_.virtual_nmi_blocked != 0 : state_.nmi_blocked != 0;
  v.Set<VmcsField::kGuestInterruptibilityState>(
      (state_.blocking_by_sti != 0 ? Interruptibility::kBlockingBySti : 0) |
      (state_.blocking_by_mov_ss != 0 ? Interruptibility::kBlockingByMovSs : 0) |
      (blocking ? Interruptibility::kBlockingByNmi : 0));
  v.Set<VmcsField::kGuestActivityState>(state_.activity_state);
  if (HasSecondary(Secondary::kEnableEpt) && UsesPaePaging(r.cr0, r.cr4, r.efer)) {
    for (size_t i = 0; i < r.pdptes.size(); ++i) v.Write(kGuestPdptes[i], r.pdptes[i]);
  }
}

// 28.3.1 "Saving Control Registers, Debug Registers, and MSRs", and 28.3.4, as the controls say.
void Processor::SaveGuestMsrs() {
  VmcsImage& v = Vmcs().fields;
  const SwitchedRegisters& r = state_.switched;
  const uint32_t exit = v.Get<VmcsField::kVmExitControls>();
  if ((exit & VmExit::kSaveDebugControls) != 0) {
    v.Set<VmcsField::kGuestDr7>(r.dr7);
    v.Set<VmcsField::kGuestIa32Debugctl>(r.debugctl);
  }
  if ((exit & VmExit::kSaveIa32Efer) != 0) v.Set<VmcsField::kGuestIa32Efer>(r.efer);
  if ((exit & VmExit::kSaveIa32Pat) != 0) v.Set<VmcsField::kGuestIa32Pat>(r.pat);
  if ((exit & VmExit::kSaveIa32PerfGlobalCtrl) != 0) {
    v.Set<VmcsField::kGuestIa32PerfGlobalCtrl>(r.perf_global_ctrl);
  }
  if ((exit & VmExit::kSaveVmxPreemptionTimerValue) != 0) {
    v.Set<VmcsField::kVmxPreemptionTimerValue>(state_.preemption_timer);
  }
}

// 28.3.3 "Saving RIP, RSP, RFLAGS, and SSP": the resume flag.
uint64_t Processor::SavedRflags(ExitReason reason, const ExitInformation& information) const {
  const uint64_t rflags = state_.switched.rflags;
  switch (reason) {
    case ExitReason::kExceptionOrNmi:
    case ExitReason::kApicAccess:
    case ExitReason::kEptViolation:
    case ExitReason::kEptMisconfiguration:
    case ExitReason::kPageModificationLogFull:
      return information.resume_flag ? rflags | Rflags::kRf : rflags;
    default:
      // Of the rest only exits that instructions cause have a length.
      return information.instruction_length != 0 ? rflags & ~Rflags::kRf : rflags;
  }
}

// 28.3.4 "Saving Non-Register State".
uint64_t Processor::SavedPendingDebugExceptions(ExitReason reason,
                                                const ExitInformation& information) const {
  switch (reason) {
    case ExitReason::kInitSignal:
    case ExitReason::kOtherSmi:
    case ExitReason::kIoSmi:
    case ExitReason::kTprBelowThreshold:
    case ExitReason::kVirtualizedEoi:
    case ExitReason::kApicWrite:
    case ExitReason::kMonitorTrapFlag:
      return state_.switched.pending_debug_exceptions;
    default:
      break;
  }
  const bool by_debug_exception =
      reason == ExitReason::kExceptionOrNmi &&
      EventOf(information.interruption).IsHardwareException(Vector::kDebug);
  const bool held_back = state_.blocking_by_mov_ss != 0 && !by_debug_exception;
  return held_back ? state_.switched.pending_debug_exceptions : 0;
}

// --- Loading. 28.5 "Loading Host State".

std::optional<VmxAbort> Processor::LoadHostState() {
  const VmcsImage& v = Vmcs().fields;
  const uint32_t exit = v.Get<VmcsField::kVmExitControls>();
  const bool long_mode = (exit & VmExit::kHostAddressSpaceSize) != 0;
  // L0 is no 32-bit host, whatever it wrote.
  if (options_.native && !long_mode && (state_.switched.efer & Efer::kLma) != 0) {
    return VmxAbort::kHostAddressSpaceSize;
  }
  const SwitchedRegisters guest = std::exchange(state_.switched, SwitchedRegisters{});
  LoadHostRegisters(guest);
  LoadHostSegments(long_mode);
  state_.blocking_by_sti = state_.blocking_by_mov_ss = 0;
  state_.activity_state = static_cast<uint64_t>(ActivityState::kActive);
  state_.operation = Operation::kRoot;
  state_.virtual_nmi_blocked = 0;
  state_.monitor_armed = 0;
  state_.mtf_pending = 0;
  state_.tpr_below_pending = 0;
  state_.preemption_timer = 0;
  // 28.5.4 "Checking and Loading Host Page-Directory-Pointer-Table Entries".
  SwitchedRegisters& r = state_.switched;
  if (!UsesPaePaging(r.cr0, r.cr4, r.efer)) return std::nullopt;
  memory_.ReadPhysical(PdptAddress(r.cr3), std::as_writable_bytes(std::span(r.pdptes)));
  if (!ArePdptesValid(r.pdptes, capabilities_)) return VmxAbort::kHostPdptes;
  return std::nullopt;
}

// 28.5.1 "Loading Host Control Registers, Debug Registers, MSRs", 28.5.3 "Loading Host RIP, RSP,
// RFLAGS, and SSP".
void Processor::LoadHostRegisters(const SwitchedRegisters& guest) {
  const VmcsImage& v = Vmcs().fields;
  const uint32_t exit = v.Get<VmcsField::kVmExitControls>();
  const bool long_mode = (exit & VmExit::kHostAddressSpaceSize) != 0;
  SwitchedRegisters& r = state_.switched;
  r.rip = v.Get<VmcsField::kHostRip>();
  r.rsp = v.Get<VmcsField::kHostRsp>();
  r.rflags = Rflags::kFixed1;
  r.cr0 = SwitchCr0(guest.cr0, v.Get<VmcsField::kHostCr0>());
  r.cr3 = v.Get<VmcsField::kHostCr3>();
  r.cr4 = v.Get<VmcsField::kHostCr4>();
  r.cr4 = long_mode ? r.cr4 | Cr4::kPae : r.cr4 & ~Cr4::kPcide;
  r.dr7 = Dr7::kInit;
  r.sysenter_cs = v.Get<VmcsField::kHostIa32SysenterCs>();
  r.sysenter_esp = v.Get<VmcsField::kHostIa32SysenterEsp>();
  r.sysenter_eip = v.Get<VmcsField::kHostIa32SysenterEip>();
  const uint64_t efer =
      (exit & VmExit::kLoadIa32Efer) != 0 ? v.Get<VmcsField::kHostIa32Efer>() : guest.efer;
  r.efer = (efer & ~(Efer::kLma | Efer::kLme)) | (long_mode ? Efer::kLma | Efer::kLme : 0);
  r.pat = (exit & VmExit::kLoadIa32Pat) != 0 ? v.Get<VmcsField::kHostIa32Pat>() : guest.pat;
  r.perf_global_ctrl = (exit & VmExit::kLoadIa32PerfGlobalCtrl) != 0
                           ? v.Get<VmcsField::kHostIa32PerfGlobalCtrl>()
                           : guest.perf_global_ctrl;
}

// 28.5.2 "Loading Host Segment and Descriptor-Table Registers".
void Processor::LoadHostSegments(bool long_mode) {
  const VmcsImage& v = Vmcs().fields;
  SwitchedRegisters& r = state_.switched;
  r.cs = {v.Get<VmcsField::kHostCsSelector>(), 0, kHostLimit,
          kHostCode | (long_mode ? AccessRights::kL : AccessRights::kDb)};
  r.ss = HostData(v.Get<VmcsField::kHostSsSelector>(), 0);
  r.ds = HostData(v.Get<VmcsField::kHostDsSelector>(), 0);
  r.es = HostData(v.Get<VmcsField::kHostEsSelector>(), 0);
  r.fs = HostData(v.Get<VmcsField::kHostFsSelector>(), v.Get<VmcsField::kHostFsBase>());
  r.gs = HostData(v.Get<VmcsField::kHostGsSelector>(), v.Get<VmcsField::kHostGsBase>());
  r.tr = {v.Get<VmcsField::kHostTrSelector>(), v.Get<VmcsField::kHostTrBase>(), kHostTrLimit,
          kHostTss};
  r.ldtr = {0, 0, 0, AccessRights::kUnusable};
  r.gdtr_base = v.Get<VmcsField::kHostGdtrBase>();
  r.gdtr_limit = kHostTableLimit;
  r.idtr_base = v.Get<VmcsField::kHostIdtrBase>();
  r.idtr_limit = kHostTableLimit;
}

// 28.7 "VMX Aborts": the processor stops until RESET, and the indicator is in memory.
void Processor::EnterVmxAbort(VmxAbort indicator) {
  const auto value = static_cast<uint32_t>(indicator);
  Vmcs().abort_indicator = value;
  if (Vmcs().in_use != 0) {
    memory_.Write(Vmcs().address + kVmxAbortIndicatorOffset, std::as_bytes(std::span(&value, 1)));
  }
  state_.operation = Operation::kRoot;
  state_.activity_state = static_cast<uint64_t>(ActivityState::kShutdown);
  state_.vmx_abort = value;
}

}  // namespace nvmx::sim
