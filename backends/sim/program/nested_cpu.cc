// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/nested_cpu.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "backends/sim/machine/initial_state.h"
#include "core/nested/entry_conditions.h"
#include "core/nested/hypervisor.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/vmcs02.h"
#include "core/nested/vmcs12.h"
#include "core/vmx/controls.h"

namespace nvmx::sim {

NestedCpu::NestedCpu(const Parts& parts, const L0Parts& l0)
    : ProgramCpu(parts),
      memory_(parts.memory),
      l0_memory_(l0.memory),
      l0_bus_(l0.bus),
      vcpu_{ports(),
            l0.system,
            cells_,
            vcpu_state_,
            l0.variant.quiesce,
            l0.variant.choreography,
            *this,
            l0.memory.HostPagesOf(parts.index)},
      at_reset_(processor().state()) {
  if (l0.has_fiber) fiber_ = std::make_unique<Fiber>();
}

void NestedCpu::Reset(lhv::L1Mode mode) {
  pending() = {};
  waiting_ = false;
  defect_.clear();
  forbidden_access_at_.reset();
  nmi_merged_at_.reset();
  processor().state() = at_reset_;
  processor().mmu().tlb().Clear();
  l0_memory_.ClearHostPages(index(), L0Memory::UsedHostPages(vcpu_state_));
  std::memset(cells_.guest_nmis_pending.bytes().data(), 0, sizeof(uint64_t));
  vcpu_state_ = {};
  InitializeVcpuState(vcpu_state_, OfferedCapabilities(processor().capabilities()));
  processor().MakeCurrent(VmcsRole::kVmcs01);
  WriteInitialGuestState(processor(), index(), mode);
  if (!vcpu_.shadow_pages.pages.empty()) ActivateShadowVmcs();
  InitializeVmcs01Controls(vcpu_);
  if (mode == lhv::L1Mode::k32Bit) {
    const uint64_t controls = processor().VmcsRead(VmcsField::kVmEntryControls);
    processor().VmcsWrite(VmcsField::kVmEntryControls, controls & ~VmEntry::kIa32eModeGuest);
  }
  l0_memory_.ConfigureVmcs01(vcpu_);
  try {
    processor().EnterGuest();
  } catch (const L0Stopped&) {
    // L1 never starts; `defect_` says why.
  }
  if (fiber_) fiber_->Start(&NestedCpu::FiberMain, this);
}

void NestedCpu::ActivateShadowVmcs() {
  static_assert(static_cast<size_t>(VmcsRole::kShadow) == kSlotsOfL0);
  const uint64_t revision = processor().capabilities().basic & VmcsHeader::kRevision;
  vcpu_.shadow_pages.pages[0].words[0] = revision | VmcsHeader::kShadow;
  processor().state().vmcs[static_cast<size_t>(VmcsRole::kShadow)] = {
      .in_use = 1,
      .address = vcpu_.shadow_pages.first.value,
      .launched = 0,
      .shadow = 1,
      .abort_indicator = 0,
      .fields = {}};
}

NestedCpu::L0State NestedCpu::SaveL0State() const {
  const std::span<const HostPage> pages = l0_memory_.HostPagesOf(index()).pages;
  L0State state{vcpu_state_,
                cells_.guest_nmis_pending.Peek(),
                {pages.begin(),
                 pages.begin() + static_cast<ptrdiff_t>(L0Memory::UsedHostPages(vcpu_state_))}};
  // Most setups leave them as they were.
  const auto is_zero = [](const HostPage& page) { return page.words == HostPage{}.words; };
  if (std::all_of(state.host_pages.begin(), state.host_pages.end(), is_zero)) {
    state.host_pages.clear();
  }
  return state;
}

void NestedCpu::RestoreL0State(const L0State& state) {
  pending() = {};
  waiting_ = false;
  defect_.clear();
  forbidden_access_at_.reset();
  nmi_merged_at_.reset();
  l0_memory_.ClearHostPages(index(), L0Memory::UsedHostPages(vcpu_state_));
  std::copy(state.host_pages.begin(), state.host_pages.end(),
            l0_memory_.HostPagesOf(index()).pages.begin());
  vcpu_state_ = state.vcpu;
  std::memcpy(cells_.guest_nmis_pending.bytes().data(), &state.guest_nmis_pending,
              sizeof state.guest_nmis_pending);
}

// --- Control

bool NestedCpu::Run() { return Resume(Command::kTurn); }

bool NestedCpu::RunL0Only() {
  if (waiting_ ? !CanGoOn() : !pending().nmi) return false;
  return Resume(Command::kEventsOnly);
}

bool NestedCpu::CanGoOn() const {
  const bool nmi_is_due = pending().nmi && processor().state().nmi_blocked == 0;
  return wait_.Holds() || nmi_is_due;
}

bool NestedCpu::Resume(Command command) {
  if (!defect_.empty()) return false;
  if (!fiber_) return Obey(command);
  if (waiting_ && !CanGoOn()) return false;
  if (!waiting_) command_ = command;
  moved_ = false;
  const bool waited = waiting_;
  fiber_->Resume();
  return moved_ || waited || waiting_;
}

bool NestedCpu::Obey(Command command) {
  try {
    return command == Command::kTurn ? Turn() : TakeEvent();
  } catch (const L0Stopped&) {
    return true;
  }
}

void NestedCpu::FiberMain(void* self) { static_cast<NestedCpu*>(self)->RunFiber(); }

void NestedCpu::RunFiber() {
  for (;;) {
    moved_ = Obey(command_);
    fiber_->Suspend();
  }
}

void NestedCpu::SpinUntil(const SpinCondition& condition) {
  while (!condition.Holds()) {
    // Nobody else is there who could end it.
    if (!fiber_) StopL0(absl::StrCat("L0 waits for ever for ", condition.cell->name()));
    wait_ = condition;
    waiting_ = true;
    fiber_->Suspend();
    waiting_ = false;
    TakeNmiInRoot();
  }
}

void NestedCpu::TakeNmiInRoot() {
  if (!pending().nmi || processor().state().nmi_blocked != 0) return;
  pending().nmi = false;
  processor().state().nmi_blocked = 1;
  HandleHostNmi(vcpu_);
  processor().state().nmi_blocked = 0;
}

void NestedCpu::NmiMerges() {
  if (!nmi_merged_at_) nmi_merged_at_ = log().size();
}

void NestedCpu::StopL0(const std::string& defect) {
  defect_ = defect;
  throw L0Stopped{};
}

CpuEnd NestedCpu::EndOfRun() const {
  if (!defect_.empty()) return CpuEnd::kL0Failed;
  return waiting_ ? CpuEnd::kStuck : End();
}

// --- Platform

void NestedCpu::RunRoot() {
  // Where the exit has left NMIs unblocked, one that is latched comes before L0's first
  // instruction.
  TakeNmiInRoot();
  vcpu_state_.registers = processor().state().registers;
  vcpu_state_.cr2 = processor().state().cr2;
  HandleVmExit(vcpu_, RawExit::FromHardware(processor().Current()));
  processor().state().registers = vcpu_state_.registers;
  processor().state().cr2 = vcpu_state_.cr2;
  processor().EnterGuest();
}

// L2's operands are looked at through the EPT that L1 made: EPT02 has no more of it than L2 itself
// has accessed.
std::optional<uint64_t> NestedCpu::EptPointerOfL2() const {
  const VmcsImage& v = vcpu_state_.vmcs12;
  if (vcpu_state_.operation != VmxOperation::kNonRoot || !HasSecondary(v, Secondary::kEnableEpt)) {
    return std::nullopt;
  }
  return v.Get<VmcsField::kEptPointer>();
}

// L0 may have performed the instruction, and then have left L2 for an event that was due. A
// processor has an instruction boundary between the two, where the program goes on to its next
// operation.
void NestedCpu::LeftL2(lhv::Interpreter& interpreter) {
  const uint64_t rip = vcpu_state_.vmcs12.Get<VmcsField::kGuestRip>();
  const uint64_t settled = interpreter.SettledRip(rip, processor().ScratchRegister());
  if (settled != rip) WriteVmcs12(vcpu_, VmcsField::kGuestRip, settled);
}

void NestedCpu::EntryRefused(const char* rule) {
  StopL0(absl::StrCat("the processor refuses L0's VM entry: ", rule));
}

// --- Ports

void NestedCpu::UnblockNmi() {
  processor().state().nmi_blocked = 0;
  TakeNmiInRoot();
}

void NestedCpu::Invalidate(const Invalidation& invalidation) {
  processor().Invalidate(invalidation);
}

void NestedCpu::WriteXcr0(uint64_t value) { processor().WriteXcr0(value); }

void NestedCpu::WriteCacheControl(uint64_t cr0) { processor().WriteCacheControl(cr0); }

void NestedCpu::Record(TraceKind kind, uint64_t first, uint64_t second) {
  if (kind == TraceKind::kEntryRefused) {
    refused_entries().push_back({static_cast<EntryRuleNumber>(first), log().size()});
  }
  if (kind != TraceKind::kAssertionFailed || !defect_.empty()) return;
  defect_ = absl::StrCat("L0 asserts: ", first, ", ", second);
}

ForbiddenAccess NestedCpu::HandleForbiddenAccess(Vcpu& vcpu, GuestPhysicalAddress address) const {
  // That L0 refuses an access to other memory is a defect.
  const bool is_l0s = !l0_memory_.Map(address).readable;
  if (is_l0s && !forbidden_access_at_) forbidden_access_at_ = log().size();
  return Embedder::HandleForbiddenAccess(vcpu, address);
}

}  // namespace nvmx::sim
