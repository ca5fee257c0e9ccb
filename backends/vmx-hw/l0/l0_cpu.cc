// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/l0_cpu.h"

#include "backends/vmx-hw/l0/enter_guest.h"
#include "backends/vmx-hw/l0/vmx_instructions.h"
#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/hypercall.h"
#include "backends/vmx-hw/machine/multiboot.h"
#include "backends/vmx-hw/machine/power.h"
#include "core/nested/hypervisor.h"
#include "core/nested/init_sipi.h"
#include "core/nested/nested_paging.h"
#include "core/nested/vmcs01.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/general_register.h"

namespace nvmx::metal {
namespace {

constexpr uint32_t kVmEntryFailure = uint32_t{1} << 31;

uint64_t& RegisterOf(VcpuState& state, GeneralRegister which) {
  return state.registers[static_cast<size_t>(which)];
}

HostPages PagesAt(const L0Layout& layout, uint64_t offset, size_t count) {
  return {{layout.At<HostPage>(offset), count}, PhysicalAddress{layout.PhysicalOf(offset)}};
}

}  // namespace

L0Cpu::L0Cpu(const L0Shared& shared, CpuIndex index)
    : shared_(shared),
      index_(index),
      status_(shared.watchdog.status(index)),
      vcpu_{
          ports(),
          shared.system,
          cells_,
          state_,
          shared.quiesce,
          shared.choreography,
          *this,
          PagesAt(shared.layout, shared.layout.HostPagesOffset(index), L0Layout::kHostPages),
          nullptr,
          PagesAt(shared.layout, shared.layout.ShadowPagesOffset(index), L0Layout::kShadowPages)} {}

void L0Cpu::StartL1At(const L1Start& start) {
  constexpr uint64_t kFlatCode = 0xC09B;
  constexpr uint64_t kFlatData = 0xC093;
  constexpr uint64_t kFlatLimit = 0xFFFFFFFF;
  constexpr VmcsField kSegments[][3] = {
      {VmcsField::kGuestCsBase, VmcsField::kGuestCsLimit, VmcsField::kGuestCsAccessRights},
      {VmcsField::kGuestSsBase, VmcsField::kGuestSsLimit, VmcsField::kGuestSsAccessRights},
      {VmcsField::kGuestDsBase, VmcsField::kGuestDsLimit, VmcsField::kGuestDsAccessRights},
      {VmcsField::kGuestEsBase, VmcsField::kGuestEsLimit, VmcsField::kGuestEsAccessRights},
      {VmcsField::kGuestFsBase, VmcsField::kGuestFsLimit, VmcsField::kGuestFsAccessRights},
      {VmcsField::kGuestGsBase, VmcsField::kGuestGsLimit, VmcsField::kGuestGsAccessRights},
  };
  uint64_t rights = kFlatCode;
  for (const auto& segment : kSegments) {
    Write(segment[0], 0);
    Write(segment[1], kFlatLimit);
    Write(segment[2], rights);
    rights = kFlatData;
  }
  Write(VmcsField::kGuestCsSelector, start.code_selector);
  Write(VmcsField::kGuestSsSelector, start.data_selector);
  Write(VmcsField::kGuestDsSelector, start.data_selector);
  Write(VmcsField::kGuestEsSelector, start.data_selector);
  Write(VmcsField::kGuestGdtrBase, start.gdt);
  Write(VmcsField::kGuestGdtrLimit, start.gdt_limit);
  WriteL1Cr0(vcpu_, Cr0::kPe | Cr0::kEt);
  Write(VmcsField::kGuestRip, start.entry);
  Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kActive));
  RegisterOf(state_, GeneralRegister::kRax) = start.rax;
  RegisterOf(state_, GeneralRegister::kRbx) = start.rbx;
  RegisterOf(state_, GeneralRegister::kRsi) = start.rsi;
}

void L0Cpu::Run() {
  BeginWaitForSipi(vcpu_);
  LookAgainAtPendingNmis();
  for (;;) {
    TakeStartupIpis();
    switch (EnterGuestOrWait()) {
      case kVmfail:
        FailEntry("VMfail");
      case kNmiBeforeEntry:
        LookAgainAtPendingNmis();
        continue;
      case kGuestExited:
        break;
    }
    state_.cr2 = ReadCr2();
    // An NMI that comes from here on may come behind the last look.
    nmi_mark_ = 0;
    asm volatile("" : : : "memory");
    NoteExit();
    DropBlockingBySmi();
    SettleNmiBlockingAfterExit();
    const VmcsRole from = current_;
    HandleVmExit(vcpu_, RawExit::FromHardware(from));
    if (state_.in_vmx_abort != 0) StayInVmxAbort();
    LookAtReason(from);
    if (shared_.log.records() && shared_.system.quiesce.initiator.Peek() == 0) {
      shared_.log.WriteSome();
    }
  }
}

// An L1 that waits for a SIPI is not entered: the SIPI comes to TakeStartupIpis(), with an NMI.
EnterGuestResult L0Cpu::EnterGuestOrWait() {
  if (state_.left_out != 0 && current_ == VmcsRole::kVmcs01) {
    WaitForNmi(&nmi_mark_);
    return kNmiBeforeEntry;
  }
  const bool l2_waits = state_.left_out != 0;
  if (l2_waits) shared_.startup.BeginWaitOfL2(vcpu_);
  if (ReadCr2() != state_.cr2) WriteCr2(state_.cr2);
  NoteNmiBlockingBeforeEntry();
  bool& launched = launched_[static_cast<size_t>(current_)];
  if (shared_.watchdog.watches()) status_.Enter(current_);
  const EnterGuestResult result = EnterGuest(state_.registers.data(), launched ? 1 : 0, &nmi_mark_);
  launched |= result == kGuestExited;
  // Nobody waits for this CPU to take an NMI meanwhile, which cannot be what has ended the wait.
  if (l2_waits) shared_.startup.EndWaitOfL2(vcpu_);
  return result;
}

// Bochs 2.7 blocks SMIs and NMIs in wait-for-SIPI and never ends that if a SIPI is a VM exit. What
// it saves of SMIs then, no VM entry outside SMM accepts; only a CPU on which the exit for a SIPI
// has shown it looks for it ever again. NMIs are let in once more.
void L0Cpu::DropBlockingBySmi() {
  if (state_.left_out == 0 && !keeps_blocking_by_smi_) return;
  const uint64_t state = Read(VmcsField::kGuestInterruptibilityState);
  if ((state & Interruptibility::kBlockingBySmi) == 0) return;
  if (!keeps_blocking_by_smi_) UnblockNmi();
  keeps_blocking_by_smi_ = true;
  Write(VmcsField::kGuestInterruptibilityState,
        state & ~uint64_t{Interruptibility::kBlockingBySmi});
}

void L0Cpu::NoteNmiBlockingBeforeEntry() {
  if (!nmi_blocking_.platform_blocks()) return;
  const InterruptionInformation event(
      static_cast<uint32_t>(Read(VmcsField::kVmEntryInterruptionInformation)));
  nmi_blocking_.BeforeEntry(
      (Read(VmcsField::kGuestInterruptibilityState) & Interruptibility::kBlockingByNmi) != 0,
      event.IsNmi());
}

void L0Cpu::SettleNmiBlockingAfterExit() {
  const uint64_t state = Read(VmcsField::kGuestInterruptibilityState);
  const bool saved = (state & Interruptibility::kBlockingByNmi) != 0;
  if (nmi_blocking_.AfterExit(saved) != saved) {
    Write(VmcsField::kGuestInterruptibilityState,
          state & ~uint64_t{Interruptibility::kBlockingByNmi});
  }
}

// Only notes: whoever settles the exit reads its reason for himself.
void L0Cpu::NoteExit() {
  if (!shared_.watchdog.watches()) return;
  const uint64_t reason = Read(VmcsField::kExitReason);
  status_.Exit(current_, static_cast<uint32_t>(reason), IsNmiExit(*this));
}

void L0Cpu::LookAgainAtPendingNmis() {
  nmi_mark_ = 0;
  asm volatile("" : : : "memory");
  FollowEpt01(vcpu_);
  vcpu_.choreography.DeliverGuestNmi(vcpu_);
}

void L0Cpu::TakeNmiInRoot(TrapFrame& frame) {
  nmi_mark_ = 1;
  status_.BeginNmi();
  HandleHostNmi(vcpu_);
  status_.EndNmi();
  if (frame.rip >= reinterpret_cast<uintptr_t>(enter_guest_begin) &&
      frame.rip < reinterpret_cast<uintptr_t>(enter_guest_end)) {
    frame.rip = reinterpret_cast<uintptr_t>(&EnterGuestAgain);
  }
  if (frame.rip >= reinterpret_cast<uintptr_t>(wait_for_nmi_begin) &&
      frame.rip < reinterpret_cast<uintptr_t>(wait_for_nmi_end)) {
    frame.rip = reinterpret_cast<uintptr_t>(wait_for_nmi_end);
  }
}

// Only RESET ends it (SDM Vol. 3C, 28.7 "VMX Aborts"); an NMI of L0's must not. Bochs 2.7 wakes up
// for one before it saves the activity state.
void L0Cpu::StayInVmxAbort() {
  Write(VmcsField::kGuestActivityState, static_cast<uint64_t>(ActivityState::kShutdown));
}

bool L0Cpu::HandleVmcall(Vcpu& vcpu) const {
  uint64_t& rax = RegisterOf(vcpu.state, GeneralRegister::kRax);
  if (rax != kLastWordsCall) return false;
  shared_.say_last_words();
  rax = 0;
  return true;
}

void L0Cpu::FailEntry(const char* what) {
  uint64_t error = 0;
  Vmread(static_cast<uint32_t>(VmcsField::kVmInstructionError), error);
  metal::Write(Text() << "L0: CPU " << index_ << ": VM entry of VMCS0"
                      << 1 + static_cast<int>(current_) << ": " << what << ", VM-instruction error "
                      << error << "\n");
  Panic("the processor refuses a VM entry of L0's");
}

// Once the exit is handled, for its reason is no business of anybody's before. A VM entry of VMCS02
// that the processor has refused is L1's to know, and stays in VMCS02 as the reason of its last
// exit.
void L0Cpu::LookAtReason(VmcsRole from) {
  if (from != VmcsRole::kVmcs01 || current_ != VmcsRole::kVmcs01) return;
  const uint64_t reason = Read(VmcsField::kExitReason);
  if ((reason & kVmEntryFailure) != 0) PanicAboutEntry(reason);
  if ((reason & 0xFFFF) == static_cast<uint64_t>(ExitReason::kTripleFault)) ReportShutdown();
}

void L0Cpu::PanicAboutEntry(uint64_t reason) {
  metal::Write(Text() << "L0: CPU " << index_ << ": exit reason " << Hex{reason}
                      << ", qualification " << Hex{Read(VmcsField::kExitQualification)} << ", RIP "
                      << Hex{Read(VmcsField::kGuestRip)} << ", activity "
                      << Read(VmcsField::kGuestActivityState) << "\n");
  Panic("the processor refuses a guest state of L0's");
}

void L0Cpu::ReportShutdown() {
  metal::Write(Text() << "L0: CPU " << index_ << " of L1 shuts down: triple fault, RIP "
                      << Hex{Read(VmcsField::kGuestRip)} << ", CR0 " << Hex{ReadL1Cr0(vcpu_)}
                      << ", CR3 " << Hex{Read(VmcsField::kGuestCr3)} << ", CR2 " << Hex{state_.cr2}
                      << "\n");
  // Nobody is left who could end the run.
  if (index_ == 0) PowerOff(EndStatus::kFailed);
}

}  // namespace nvmx::metal
