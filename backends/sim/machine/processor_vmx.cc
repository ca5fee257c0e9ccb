// SPDX-License-Identifier: Apache-2.0
//
// VMX instructions, VM entries and VM exits. SDM Vol. 3C, chapters 27 "VM Entries" and 28 "VM
// Exits".
#include <utility>

#include "backends/sim/machine/operand_registers.h"
#include "backends/sim/machine/processor.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/msr_list.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using lhv::Instruction;
using lhv::InstructionKind;

std::optional<ExitReason> VmxExitReason(InstructionKind kind) {
  switch (kind) {
    case InstructionKind::kVmxon:
      return ExitReason::kVmxon;
    case InstructionKind::kVmxoff:
      return ExitReason::kVmxoff;
    case InstructionKind::kVmclear:
      return ExitReason::kVmclear;
    case InstructionKind::kVmptrld:
      return ExitReason::kVmptrld;
    case InstructionKind::kVmptrst:
      return ExitReason::kVmptrst;
    case InstructionKind::kVmread:
      return ExitReason::kVmread;
    case InstructionKind::kVmwrite:
      return ExitReason::kVmwrite;
    case InstructionKind::kVmlaunch:
      return ExitReason::kVmlaunch;
    case InstructionKind::kVmresume:
      return ExitReason::kVmresume;
    case InstructionKind::kVmcall:
      return ExitReason::kVmcall;
    default:
      return std::nullopt;
  }
}

// The address that a memory-operand instruction leaves its 64-bit pointer at: the top of the
// stack's page, below the machine's part of the window.
uint64_t PointerOperandAddress(uint64_t rsp) { return PageBase(rsp - 1); }

// A register that VM entry loads from, and VM exit saves to, one guest-state field.
struct GuestRegister {
  uint64_t SwitchedRegisters::*member;
  VmcsField field;
};
constexpr GuestRegister kGuestRegisters[] = {
    {&SwitchedRegisters::rip, VmcsField::kGuestRip},
    {&SwitchedRegisters::rsp, VmcsField::kGuestRsp},
    {&SwitchedRegisters::rflags, VmcsField::kGuestRflags},
    {&SwitchedRegisters::cr0, VmcsField::kGuestCr0},
    {&SwitchedRegisters::cr3, VmcsField::kGuestCr3},
    {&SwitchedRegisters::cr4, VmcsField::kGuestCr4},
    {&SwitchedRegisters::gdtr_base, VmcsField::kGuestGdtrBase},
    {&SwitchedRegisters::gdtr_limit, VmcsField::kGuestGdtrLimit},
    {&SwitchedRegisters::idtr_base, VmcsField::kGuestIdtrBase},
    {&SwitchedRegisters::idtr_limit, VmcsField::kGuestIdtrLimit},
    {&SwitchedRegisters::sysenter_cs, VmcsField::kGuestIa32SysenterCs},
    {&SwitchedRegisters::sysenter_esp, VmcsField::kGuestIa32SysenterEsp},
    {&SwitchedRegisters::sysenter_eip, VmcsField::kGuestIa32SysenterEip},
    {&SwitchedRegisters::pending_debug_exceptions, VmcsField::kGuestPendingDebugExceptions},
};

struct GuestSegment {
  SegmentState SwitchedRegisters::*member;
  VmcsField selector, base, limit, access_rights;
};
#define NVMX_SEGMENT(member, name)                                                                \
  {                                                                                               \
    &SwitchedRegisters::member, VmcsField::kGuest##name##Selector, VmcsField::kGuest##name##Base, \
        VmcsField::kGuest##name##Limit, VmcsField::kGuest##name##AccessRights                     \
  }
constexpr GuestSegment kGuestSegments[] = {
    NVMX_SEGMENT(es, Es), NVMX_SEGMENT(cs, Cs), NVMX_SEGMENT(ss, Ss),     NVMX_SEGMENT(ds, Ds),
    NVMX_SEGMENT(fs, Fs), NVMX_SEGMENT(gs, Gs), NVMX_SEGMENT(ldtr, Ldtr), NVMX_SEGMENT(tr, Tr)};
#undef NVMX_SEGMENT

struct MsrListFields {
  VmcsField address, count;
};
constexpr MsrListFields kMsrLists[] = {
    {VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount},
    {VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount},
    {VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount},
};

bool AreFixedBitsRight(uint64_t value, uint64_t must_be_1, uint64_t may_be_1) {
  return (value & must_be_1) == must_be_1 && (value & may_be_1) == value;
}

// IA32_VMX_MISC tells which states VM entry can establish beside the active one.
bool IsSupportedActivityState(uint32_t state, uint64_t misc) {
  if (state == static_cast<uint32_t>(ActivityState::kActive)) return true;
  if (state > static_cast<uint32_t>(ActivityState::kWaitForSipi)) return false;
  return (misc & VmxMisc::kActivityStateHlt << (state - 1)) != 0;
}

uint64_t SetLongMode(uint64_t efer, bool on) {
  efer &= ~(Efer::kLma | Efer::kLme);
  return on ? efer | Efer::kLma | Efer::kLme : efer;
}

}  // namespace

// In VMX non-root operation every VMX instruction exits. SDM Vol. 3C, 26.1.2 "Instructions That
// Cause VM Exits Unconditionally".
Processor::Outcome Processor::PerformVmx(const Instruction& instruction) {
  const std::optional<ExitReason> reason = VmxExitReason(instruction.kind);
  if (!in_non_root() || !reason) return Fault(Vector::kInvalidOpcode);
  uint64_t qualification = 0;
  uint64_t information = 0;
  switch (instruction.kind) {
    case InstructionKind::kVmxon:
    case InstructionKind::kVmclear:
    case InstructionKind::kVmptrld:
      qualification = PointerOperandAddress(state_.switched.rsp);
      memory_.Write(qualification, std::as_bytes(std::span(&instruction.first, 1)));
      information = kDisplacementOnly;
      break;
    case InstructionKind::kVmptrst:
      qualification = instruction.first;
      information = kDisplacementOnly;
      break;
    case InstructionKind::kVmread:
    case InstructionKind::kVmwrite:
      information = kRegisterOperands;
      break;
    default:
      break;
  }
  return ExitOnInstruction(*reason, qualification, information);
}

// The rules that this processor checks; the first broken one, or nullptr. SDM Vol. 3C, 27.2,
// 27.3.1.
const char* Processor::BrokenEntryRule() const {
  if (const char* rule = BrokenControlRule()) return rule;
  return BrokenGuestRule();
}

// SDM Vol. 3C, 27.2.1 "Checks on VMX Controls".
const char* Processor::BrokenControlRule() const {
  const VmcsImage& v = Vmcs().fields;
  const Capabilities& c = capabilities_;
  if (!AllowsControls(c.PinBasedControls(), v.Get<VmcsField::kPinBasedControls>())) {
    return "pin-based controls: reserved bits";
  }
  if (!AllowsControls(c.PrimaryProcessorBasedControls(),
                      v.Get<VmcsField::kPrimaryProcessorBasedControls>())) {
    return "primary processor-based controls: reserved bits";
  }
  const uint32_t secondary = v.Get<VmcsField::kSecondaryProcessorBasedControls>();
  const uint32_t primary = v.Get<VmcsField::kPrimaryProcessorBasedControls>();
  if ((primary & PrimaryProcessorBased::kActivateSecondaryControls) != 0) {
    if (!AllowsControls(c.procbased_ctls2, secondary)) {
      return "secondary processor-based controls: reserved bits";
    }
    if ((secondary & Secondary::kUnrestrictedGuest) != 0 &&
        (secondary & Secondary::kEnableEpt) == 0) {
      return "unrestricted guest without EPT";
    }
  }
  if (!AllowsControls(c.VmExitControls(), v.Get<VmcsField::kVmExitControls>())) {
    return "VM-exit controls: reserved bits";
  }
  if (!AllowsControls(c.VmEntryControls(), v.Get<VmcsField::kVmEntryControls>())) {
    return "VM-entry controls: reserved bits";
  }
  const uint32_t pin = v.Get<VmcsField::kPinBasedControls>();
  if ((pin & PinBased::kVirtualNmis) != 0 && (pin & PinBased::kNmiExiting) == 0) {
    return "virtual NMIs without NMI exiting";
  }
  if ((primary & PrimaryProcessorBased::kNmiWindowExiting) != 0 &&
      (pin & PinBased::kVirtualNmis) == 0) {
    return "NMI-window exiting without virtual NMIs";
  }
  const auto width = static_cast<unsigned>(c.physical_address_width);
  for (const MsrListFields& list : kMsrLists) {
    const uint64_t bytes = v.Read(list.count) * sizeof(MsrListEntry);
    if (bytes == 0) continue;
    const uint64_t first = v.Read(list.address);
    if (first % kMsrListAlignment != 0) return "MSR list: address not aligned";
    if ((first | (first + bytes - 1)) >> width != 0) {
      return "MSR list: address beyond the physical-address width";
    }
  }
  return nullptr;
}

bool Processor::IsUnrestricted() const {
  return (VmcsRead(VmcsField::kPrimaryProcessorBasedControls) &
          PrimaryProcessorBased::kActivateSecondaryControls) != 0 &&
         (VmcsRead(VmcsField::kSecondaryProcessorBasedControls) & Secondary::kUnrestrictedGuest) !=
             0;
}

// SDM Vol. 3C, 27.3.1 "Checks on the Guest State Area".
const char* Processor::BrokenGuestRule() const {
  const VmcsImage& v = Vmcs().fields;
  const Capabilities& c = capabilities_;
  const uint64_t free_to_be_0 = IsUnrestricted() ? Cr0::kPe | Cr0::kPg : 0;
  if (!AreFixedBitsRight(v.Get<VmcsField::kGuestCr0>(), c.cr0_fixed0 & ~free_to_be_0,
                         c.cr0_fixed1)) {
    return "guest CR0: fixed bits";
  }
  if (!AreFixedBitsRight(v.Get<VmcsField::kGuestCr4>(), c.cr4_fixed0, c.cr4_fixed1)) {
    return "guest CR4: fixed bits";
  }
  const InterruptionInformation event(v.Get<VmcsField::kVmEntryInterruptionInformation>());
  if (event.IsNmi() && (v.Get<VmcsField::kPinBasedControls>() & PinBased::kVirtualNmis) != 0 &&
      (v.Get<VmcsField::kGuestInterruptibilityState>() & Interruptibility::kBlockingByNmi) != 0) {
    return "injected NMI while virtual NMIs are blocked";
  }
  const uint32_t activity = v.Get<VmcsField::kGuestActivityState>();
  if (!IsSupportedActivityState(activity, c.misc)) return "guest activity state";
  if (event.valid() && activity == static_cast<uint32_t>(ActivityState::kWaitForSipi)) {
    return "injected event in wait-for-SIPI";
  }
  return nullptr;
}

void Processor::EnterGuest() {
  if (const char* rule = BrokenEntryRule()) {
    platform_.EntryRefused(rule);
    return;
  }
  const uint64_t blocked_before = state_.nmi_blocked;
  LoadGuestState();
  const VmcsImage& v = Vmcs().fields;
  if (uint32_t failed = LoadMsrList(v.Get<VmcsField::kVmEntryMsrLoadAddress>(),
                                    v.Get<VmcsField::kVmEntryMsrLoadCount>())) {
    state_.nmi_blocked = blocked_before;
    FailEntry(ExitReason::kVmEntryFailureMsrLoading, failed);
    return;
  }
  Vmcs().launched = 1;
  state_.monitor_armed = 0;
  state_.operation = Operation::kNonRoot;
  // What the last exit reported is gone as soon as the next can come: a reader of stale exit
  // information reads zeros.
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.policy == Vmcs02Policy::kExitInformation) Vmcs().fields.Write(row.field, 0);
  }
  InjectEvent();
}

void Processor::LoadGuestState() {
  const VmcsImage& v = Vmcs().fields;
  SwitchedRegisters& r = state_.switched;
  for (const GuestRegister& row : kGuestRegisters) r.*row.member = v.Read(row.field);
  for (const GuestSegment& row : kGuestSegments) {
    r.*row.member = {v.Read(row.selector), v.Read(row.base), v.Read(row.limit),
                     v.Read(row.access_rights)};
  }
  const uint32_t entry = v.Get<VmcsField::kVmEntryControls>();
  if ((entry & VmEntry::kLoadDebugControls) != 0) {
    r.dr7 = v.Get<VmcsField::kGuestDr7>();
    r.debugctl = v.Get<VmcsField::kGuestIa32Debugctl>();
  }
  r.efer = (entry & VmEntry::kLoadIa32Efer) != 0
               ? v.Get<VmcsField::kGuestIa32Efer>()
               : SetLongMode(r.efer, (entry & VmEntry::kIa32eModeGuest) != 0);
  if ((entry & VmEntry::kLoadIa32Pat) != 0) r.pat = v.Get<VmcsField::kGuestIa32Pat>();

  const uint32_t interruptibility = v.Get<VmcsField::kGuestInterruptibilityState>();
  const bool blocking = (interruptibility & Interruptibility::kBlockingByNmi) != 0;
  state_.blocking_by_sti = (interruptibility & Interruptibility::kBlockingBySti) != 0;
  state_.blocking_by_mov_ss = (interruptibility & Interruptibility::kBlockingByMovSs) != 0;
  state_.activity_state = v.Get<VmcsField::kGuestActivityState>();
  // SDM Vol. 3C, 27.7.1 "Interruptibility State": with virtual NMIs physical NMIs are not blocked
  // in the guest, whatever was in root operation; the bit then is virtual blocking.
  const bool virtual_nmis = (v.Get<VmcsField::kPinBasedControls>() & PinBased::kVirtualNmis) != 0;
  state_.nmi_blocked = !virtual_nmis && blocking;
  state_.virtual_nmi_blocked = virtual_nmis && blocking;
}

void Processor::Exit(ExitReason reason, const ExitInformation& information) {
  const bool by_nmi =
      reason == ExitReason::kExceptionOrNmi &&
      InterruptionInformation(static_cast<uint32_t>(information.interruption)).IsNmi();
  SaveGuestState();
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
  if (StoreMsrList(v.Get<VmcsField::kVmExitMsrStoreAddress>(),
                   v.Get<VmcsField::kVmExitMsrStoreCount>()) != 0) {
    EnterVmxAbort(VmxAbort::kSavingGuestMsrs);
    return;
  }
  LoadHostState();
  // Only now: the saved interruptibility is that before the exit. SDM Vol. 3C, 28.1 "Architectural
  // State Before a VM Exit".
  if (by_nmi) state_.nmi_blocked = 1;
  if (LoadMsrList(v.Get<VmcsField::kVmExitMsrLoadAddress>(),
                  v.Get<VmcsField::kVmExitMsrLoadCount>()) != 0) {
    EnterVmxAbort(VmxAbort::kLoadingHostMsrs);
    return;
  }
  // Without L0 the guest program goes on at the host RIP.
  if (!options_.native) platform_.RunRoot();
}

void Processor::FailEntry(ExitReason reason, uint64_t qualification) {
  VmcsImage& v = Vmcs().fields;
  v.Set<VmcsField::kExitReason>(ExitReasonValue::EntryFailure(reason).value);
  v.Set<VmcsField::kExitQualification>(qualification);
  LoadHostState();
  if (LoadMsrList(v.Get<VmcsField::kVmExitMsrLoadAddress>(),
                  v.Get<VmcsField::kVmExitMsrLoadCount>()) != 0) {
    EnterVmxAbort(VmxAbort::kLoadingHostMsrs);
  }
}

void Processor::SaveGuestState() {
  VmcsImage& v = Vmcs().fields;
  const SwitchedRegisters& r = state_.switched;
  for (const GuestRegister& row : kGuestRegisters) v.Write(row.field, r.*row.member);
  for (const GuestSegment& row : kGuestSegments) {
    const SegmentState& segment = r.*row.member;
    v.Write(row.selector, segment.selector);
    v.Write(row.base, segment.base);
    v.Write(row.limit, segment.limit);
    v.Write(row.access_rights, segment.access_rights);
  }
  const uint32_t exit = v.Get<VmcsField::kVmExitControls>();
  if ((exit & VmExit::kSaveDebugControls) != 0) {
    v.Set<VmcsField::kGuestDr7>(r.dr7);
    v.Set<VmcsField::kGuestIa32Debugctl>(r.debugctl);
  }
  if ((exit & VmExit::kSaveIa32Efer) != 0) v.Set<VmcsField::kGuestIa32Efer>(r.efer);
  if ((exit & VmExit::kSaveIa32Pat) != 0) v.Set<VmcsField::kGuestIa32Pat>(r.pat);
  const uint32_t entry = v.Get<VmcsField::kVmEntryControls>() & ~VmEntry::kIa32eModeGuest;
  v.Set<VmcsField::kVmEntryControls>(entry |
                                     ((r.efer & Efer::kLma) != 0 ? VmEntry::kIa32eModeGuest : 0));
  const bool blocking =
      HasPin(PinBased::kVirtualNmis) ? state_.virtual_nmi_blocked != 0 : state_.nmi_blocked != 0;
  v.Set<VmcsField::kGuestInterruptibilityState>(
      (state_.blocking_by_sti != 0 ? Interruptibility::kBlockingBySti : 0) |
      (state_.blocking_by_mov_ss != 0 ? Interruptibility::kBlockingByMovSs : 0) |
      (blocking ? Interruptibility::kBlockingByNmi : 0));
  v.Set<VmcsField::kGuestActivityState>(state_.activity_state);
}

// SDM Vol. 3C, 28.5 "Loading Host State"; of segments only what software in root operation could
// see here, the bases.
void Processor::LoadHostState() {
  const VmcsImage& v = Vmcs().fields;
  const uint32_t exit = v.Get<VmcsField::kVmExitControls>();
  const bool long_mode = (exit & VmExit::kHostAddressSpaceSize) != 0;
  const SwitchedRegisters guest = std::exchange(state_.switched, SwitchedRegisters{});
  SwitchedRegisters& r = state_.switched;
  r.rip = v.Get<VmcsField::kHostRip>();
  r.rsp = v.Get<VmcsField::kHostRsp>();
  r.rflags = Rflags::kFixed1;
  r.cr0 = v.Get<VmcsField::kHostCr0>();
  r.cr3 = v.Get<VmcsField::kHostCr3>();
  r.cr4 = v.Get<VmcsField::kHostCr4>();
  r.cr4 = long_mode ? r.cr4 | Cr4::kPae : r.cr4 & ~Cr4::kPcide;
  r.dr7 = Dr7::kInit;
  r.fs.base = v.Get<VmcsField::kHostFsBase>();
  r.gs.base = v.Get<VmcsField::kHostGsBase>();
  r.tr.base = v.Get<VmcsField::kHostTrBase>();
  r.gdtr_base = v.Get<VmcsField::kHostGdtrBase>();
  r.idtr_base = v.Get<VmcsField::kHostIdtrBase>();
  r.sysenter_cs = v.Get<VmcsField::kHostIa32SysenterCs>();
  r.sysenter_esp = v.Get<VmcsField::kHostIa32SysenterEsp>();
  r.sysenter_eip = v.Get<VmcsField::kHostIa32SysenterEip>();
  r.efer = SetLongMode(
      (exit & VmExit::kLoadIa32Efer) != 0 ? v.Get<VmcsField::kHostIa32Efer>() : guest.efer,
      long_mode);
  r.pat = (exit & VmExit::kLoadIa32Pat) != 0 ? v.Get<VmcsField::kHostIa32Pat>() : guest.pat;
  state_.blocking_by_sti = state_.blocking_by_mov_ss = 0;
  state_.activity_state = static_cast<uint64_t>(ActivityState::kActive);
  state_.operation = Operation::kRoot;
  state_.virtual_nmi_blocked = 0;
  state_.mtf_pending = state_.tpr_below_pending = state_.monitor_armed = 0;
}

// SDM Vol. 3C, 28.7 "VMX Aborts": the processor stops for good.
void Processor::EnterVmxAbort(VmxAbort indicator) {
  Vmcs().abort_indicator = static_cast<uint64_t>(indicator);
  state_.operation = Operation::kRoot;
  state_.activity_state = static_cast<uint64_t>(ActivityState::kShutdown);
}

}  // namespace nvmx::sim
