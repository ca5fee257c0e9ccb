// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/sim_cpu.h"

#include <utility>

#include "backends/sim/machine/guest_tables.h"
#include "backends/sim/machine/initial_state.h"
#include "backends/sim/machine/l0_memory.h"
#include "backends/sim/machine/processor_profile.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/hypervisor.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/vmcs02.h"
#include "core/vmx/controls.h"
#include "core/x86/general_register.h"
#include "core/x86/rflags.h"
#include "lhv/layout.h"
#include "xxhash.h"

namespace nvmx::sim {
namespace {

// A setup that needs more instructions than this is taken to be one that never ends.
constexpr int kMaxSetupSteps = 1'000'000;

uint64_t Mix(uint64_t digest, uint64_t value) {
  const uint64_t words[] = {digest, value};
  return XXH3_64bits(words, sizeof words);
}

template <typename T>
uint64_t DigestOf(const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  return XXH3_64bits(&value, sizeof value);
}

}  // namespace

SimCpu::SimCpu(uint32_t index, const Parts& parts)
    : index_(index),
      memory_(parts.memory),
      interconnect_(parts.interconnect),
      processor_(parts.memory, *this, SimulatedCapabilities(), {.keep_translations = false}),
      vcpu_{ports(),     parts.system,          cells_,
            vcpu_state_, parts.variant.quiesce, parts.variant.choreography,
            *this},
      program_(parts.program.View()),
      interpreter_(program_, index, *this) {
  for (const lhv::MemoryBlock& block : parts.program.memory) {
    memory_.Write(lhv::WindowOf(index) + block.offset, block.bytes);
  }
  WriteGuestTables(memory_, index);
  InitializeVcpuState(vcpu_state_, OfferedCapabilities(processor_.capabilities()));
  processor_.MakeCurrent(VmcsRole::kVmcs01);
  // The core turns EPT on when L1 leaves protected mode.
  processor_.VmcsWrite(VmcsField::kEptPointer, L0Memory::Ept01PointerOfWidest());
  WriteInitialGuestState(processor_, index);
  InitializeVmcs01Controls(vcpu_);
  processor_.EnterGuest();
  fiber_.Start(&SimCpu::FiberMain, this);
  fiber_.Resume();
}

bool SimCpu::RunSetup() {
  const uint64_t begin =
      lhv::OperationAddress(lhv::CodeOf(index_, lhv::kL1CodeBase), program_.run_begin);
  for (int steps = 0; steps < kMaxSetupSteps; ++steps) {
    const bool at_guest = point_.kind == PointKind::kGuest || point_.kind == PointKind::kRest;
    if (at_guest && processor_.Current() == VmcsRole::kVmcs01 && processor_.Rip() == begin) {
      return true;
    }
    if (!CanStep()) return false;
    Advance(Choice::kStep);
  }
  return false;
}

bool SimCpu::CanStep() const {
  switch (point_.kind) {
    case PointKind::kGuest:
    case PointKind::kAccess:
    case PointKind::kSendIpi:
      return true;
    case PointKind::kSpin:
      return point_.Holds();
    case PointKind::kRest:
      return HasApicEvent();
    case PointKind::kStopped:
      break;
  }
  return false;
}

bool SimCpu::CanTakeNmi() const {
  return point_.kind != PointKind::kStopped && processor_.CanTakeNmi();
}

void SimCpu::Advance(Choice choice) {
  effects_ = {};
  choice_ = choice;
  if (choice == Choice::kStep && point_.acquires()) {
    effects_.lock_before_settling = nmi_unsettled_;
  }
  fiber_.Resume();
  // Also a lock that it now waits for: whether it gets it at once is luck.
  if (point_.acquires() && nmi_unsettled_) {
    effects_.lock_before_settling = true;
  }
}

void SimCpu::FiberMain(void* self) { static_cast<SimCpu*>(self)->Run(); }

void SimCpu::Run() {
  for (;;) {
    // What is more urgent than an NMI does not wait for anybody's choice.
    const BoundaryEvent event = processor_.NextEvent({.nmi = true});
    if (event != BoundaryEvent::kNone && event < BoundaryEvent::kNmi) {
      processor_.Take(event, {});
    } else {
      StepGuest();
    }
  }
}

void SimCpu::StepGuest() {
  control_.assign(1, 0);
  const bool rests = !processor_.IsActive() || !interpreter_.HasInstructionAt(processor_.Rip());
  point_ = {.kind = rests ? PointKind::kRest : PointKind::kGuest};
  DropUselessApicEvents();
  fiber_.Suspend();
  if (choice_ == Choice::kTakeNmi) {
    NoteNmiTaken(!processor_.NmiExits()                      ? NmiDestination::kGuestIdt
                 : processor_.Current() == VmcsRole::kVmcs01 ? NmiDestination::kL1Exit
                                                             : NmiDestination::kL2Exit);
    processor_.Take(BoundaryEvent::kNmi, {.nmi = true});
    return;
  }
  if (HasApicEvent()) {
    TakeApicEvent();
    return;
  }
  interpreter_.Step(processor_);
}

void SimCpu::ReceiveIpi(uint64_t delivery_mode, uint8_t vector) {
  using lhv::InterruptCommand;
  switch (delivery_mode) {
    case InterruptCommand::kFixed:
      local_apic_.PutInterrupt(vector);
      return;
    case InterruptCommand::kInit:
      local_apic_.PutInit();
      break;
    case InterruptCommand::kStartUp:
      // Nothing latches a SIPI in VMX root operation.
      if (processor_.in_guest()) local_apic_.PutSipi(vector);
      break;
    default:
      return;
  }
  DropUselessApicEvents();
}

// An INIT is blocked in root operation, and lost on a processor that is where it would put it. A
// SIPI is lost on one that does not wait for it; one that came with an INIT finds that INIT's
// effect, as it does when its sender waits in between.
void SimCpu::DropUselessApicEvents() {
  if (!processor_.in_guest()) return;
  if (processor_.WaitsForSipi()) {
    local_apic_.TakeInit();
  } else if (!local_apic_.has_init()) {
    local_apic_.DropSipi();
  }
}

Signals SimCpu::ApicSignals() const {
  return {.init = local_apic_.has_init(),
          .sipi = local_apic_.sipi(),
          .interrupt = local_apic_.HighestInterrupt()};
}

bool SimCpu::HasApicEvent() const {
  return processor_.NextEvent(ApicSignals()) != BoundaryEvent::kNone;
}

void SimCpu::TakeApicEvent() {
  const Signals signals = ApicSignals();
  const BoundaryEvent event = processor_.NextEvent(signals);
  if (event == BoundaryEvent::kInit) local_apic_.TakeInit();
  if (event == BoundaryEvent::kSipi) local_apic_.DropSipi();
  if (event == BoundaryEvent::kInterrupt && processor_.AcknowledgesInterrupt()) {
    local_apic_.TakeInterrupt();
  }
  processor_.Take(event, signals);
}

// The CPU stays at the point until it is told to do what stands there. NMIs are taken meanwhile, on
// top of the stack.
void SimCpu::Yield(const Point& point) {
  for (;;) {
    point_ = point;
    fiber_.Suspend();
    if (choice_ == Choice::kStep) break;
    TakeNmiInRoot();
  }
  if (keys_enabled_) {
    control_.back() = Mix(control_.back(), static_cast<uint64_t>(point.kind) << 8 |
                                               static_cast<uint64_t>(point.operation));
    control_.back() = Mix(control_.back(), reinterpret_cast<uintptr_t>(point.cell));
    const bool learns =
        point.kind == PointKind::kAccess && point.operation == SharedOperation::kLoad;
    if (learns) {
      const std::span<std::byte> bytes = point.cell->bytes();
      control_.back() = Mix(control_.back(), XXH3_64bits(bytes.data(), bytes.size()));
    }
  }
}

void SimCpu::TakeNmiInRoot() {
  NoteNmiTaken(NmiDestination::kRoot);
  const uint64_t before = keys_enabled_ ? PrivateDigest() : 0;
  control_.push_back(1);
  processor_.state().nmi_blocked = 1;
  HandleHostNmi(vcpu_);
  processor_.state().nmi_blocked = 0;
  control_.pop_back();
  if (keys_enabled_ && PrivateDigest() != before) nmi_context_was_impure_ = true;
}

void SimCpu::NoteNmiTaken(NmiDestination destination) {
  const NmiSource source = latch_.Take();
  effects_.nmi_taken = true;
  effects_.destination = destination;
  const bool swallowed = destination == NmiDestination::kGuestIdt;
  last_nmi_ = {true, source, destination,
               swallowed ? LastNmi::Fate::kSwallowed : LastNmi::Fate::kUnsettled,
               interconnect_.StepNumber()};
  nmi_unsettled_ = !swallowed;
  Note(EventKind::kNmiTaken, static_cast<uint64_t>(destination), static_cast<uint64_t>(source));
}

uint64_t SimCpu::PrivateDigest() {
  uint64_t digest = Mix(DigestOf(processor_.state()), DigestOf(vcpu_state_));
  return Mix(digest, memory_.WindowDigest(index_));
}

SimCpu::Key SimCpu::LocalKey() {
  const uint64_t words[] = {PrivateDigest(),
                            XXH3_64bits(control_.data(), control_.size() * sizeof(uint64_t)),
                            static_cast<uint64_t>(point_.kind) << 16 |
                                static_cast<uint64_t>(point_.operation) << 8 |
                                static_cast<uint64_t>(point_.comparison),
                            reinterpret_cast<uintptr_t>(point_.cell),
                            point_.wanted,
                            nmi_unsettled_};
  const XXH128_hash_t key = XXH3_128bits(words, sizeof words);
  return {key.low64, key.high64};
}

void SimCpu::SaveStart() {
  start_.emplace(Start{processor_.state(), vcpu_state_, memory_.SaveWindow(index_),
                       observations_.size(), local_apic_});
}

void SimCpu::RestoreStart() {
  processor_.state() = start_->processor;
  vcpu_state_ = start_->vcpu;
  memory_.RestoreWindow(index_, *start_->memory);
  observations_.resize(start_->observations);
  local_apic_ = start_->local_apic;
  nmi_unsettled_ = false;
  last_nmi_ = {};
  last_exit_ = {};
  fiber_.Start(&SimCpu::FiberMain, this);
  fiber_.Resume();
}

void SimCpu::Note(EventKind kind, uint64_t first, uint64_t second) {
  interconnect_.Record(index_, kind, 0, first, second);
}

// --- Platform

void SimCpu::RunRoot() {
  if (keys_enabled_) control_.assign(1, Mix(2, PrivateDigest()));
  const VmcsRole from = processor_.Current();
  last_exit_ = {true, from, static_cast<uint32_t>(processor_.VmcsRead(VmcsField::kExitReason))};
  Note(EventKind::kVmExit, static_cast<uint64_t>(from), last_exit_.reason);
  vcpu_state_.registers = processor_.state().registers;
  HandleVmExit(vcpu_, RawExit::FromHardware(from));
  processor_.state().registers = vcpu_state_.registers;
  processor_.state().cr2 = vcpu_state_.cr2;
  Note(EventKind::kVmEntry, static_cast<uint64_t>(processor_.Current()), 0);
  processor_.EnterGuest();
}

void SimCpu::SendIpi(uint64_t interrupt_command) {
  using lhv::InterruptCommand;
  const bool nmi = (interrupt_command & InterruptCommand::kDeliveryMode) == InterruptCommand::kNmi;
  const uint64_t shorthand = interrupt_command & InterruptCommand::kShorthand;
  if (!nmi) {
    effects_.sends_other_ipi = true;
  } else if (shorthand == InterruptCommand::kAllExcludingSelf) {
    effects_.sends_nmi_to_others = true;
  } else {
    effects_.sends_nmi_to =
        shorthand == InterruptCommand::kSelf
            ? index_
            : static_cast<uint32_t>(interrupt_command >> InterruptCommand::kDestinationShift);
  }
  Note(EventKind::kIpiSent, interrupt_command, 0);
  interconnect_.Send(index_, interrupt_command, NmiSource::kGuest);
}

void SimCpu::EntryRefused(const char*) {
  effects_.l0_failed = true;
  Note(EventKind::kEntryRefused, 0, 0);
  for (;;) Yield({.kind = PointKind::kStopped});
}

// --- Ports

void SimCpu::BeforeSharedAccess(const SharedAccess& access) {
  Yield({.kind = PointKind::kAccess,
         .operation = access.operation,
         .cell = const_cast<SharedCell*>(access.cell)});
}

void SimCpu::SpinUntil(const SpinCondition& condition) {
  Yield({.kind = PointKind::kSpin,
         .comparison = condition.comparison,
         .cell = condition.cell,
         .wanted = condition.wanted});
}

void SimCpu::SendNmiToAllOthers() {
  Yield({.kind = PointKind::kSendIpi});
  using lhv::InterruptCommand;
  constexpr uint64_t kCommand =
      InterruptCommand::kNmi | InterruptCommand::kAssert | InterruptCommand::kAllExcludingSelf;
  effects_.sends_nmi_to_others = true;
  Note(EventKind::kIpiSent, kCommand, 0);
  interconnect_.Send(index_, kCommand, NmiSource::kQuiesce);
}

void SimCpu::SendNmi(CpuIndex cpu) {
  Yield({.kind = PointKind::kSendIpi});
  using lhv::InterruptCommand;
  const uint64_t command = InterruptCommand::kNmi | InterruptCommand::kAssert |
                           uint64_t{cpu} << InterruptCommand::kDestinationShift;
  effects_.sends_nmi_to = cpu;
  Note(EventKind::kIpiSent, command, 0);
  interconnect_.Send(index_, command, NmiSource::kQuiesce);
}

void SimCpu::Record(TraceKind kind, uint64_t first, uint64_t second) {
  switch (kind) {
    case TraceKind::kQuiesceBegin:
      ++account_.quiesces_begun;
      break;
    case TraceKind::kNmiAcknowledged:
      ++account_.acknowledged;
      effects_.acknowledged = true;
      nmi_unsettled_ = false;
      last_nmi_.fate = LastNmi::Fate::kAcknowledged;
      break;
    case TraceKind::kNmiToGuest:
    case TraceKind::kNmiMergedForGuest:
      (kind == TraceKind::kNmiToGuest ? effects_.given_to_guest : effects_.merged_for_guest) = true;
      nmi_unsettled_ = false;
      last_nmi_.fate = LastNmi::Fate::kGivenToGuest;
      break;
    case TraceKind::kNmiMergedWhileHeld:
      effects_.merged_while_held = true;
      ++account_.merged;
      break;
    case TraceKind::kNmiInjected:
    case TraceKind::kNmiExitToL1:
      ++effects_.delivered_to_guest;
      ++account_.delivered_to_guest;
      break;
    case TraceKind::kAssertionFailed:
      effects_.l0_failed = true;
      break;
    default:
      break;
  }
  interconnect_.Record(index_, EventKind::kCore, static_cast<uint32_t>(kind), first, second);
}

bool SimCpu::HandleVmcall(Vcpu& vcpu) const {
  switch (vcpu.state.registers[static_cast<size_t>(GeneralRegister::kRax)]) {
    case kVmcallMaskGuestNmis:
      MaskGuestNmis(vcpu, true);
      break;
    case kVmcallUnmaskGuestNmis:
      MaskGuestNmis(vcpu, false);
      break;
    default:
      return false;
  }
  // The call succeeds as VMX instructions do, whatever the one before it left in the flags.
  const uint64_t rflags = vcpu.ports.vmcs.Read(VmcsField::kGuestRflags);
  vcpu.ports.vmcs.Write(VmcsField::kGuestRflags, rflags & ~Rflags::kArithmetic);
  return true;
}

}  // namespace nvmx::sim
