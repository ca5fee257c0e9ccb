// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_cpu.h"

#include "core/vmx/interruptibility.h"
#include "core/x86/msr.h"
#include "lhv/guest_cpu.h"
#include "lhv/layout.h"

namespace nvmx::sim {

ProgramCpu::ProgramCpu(const Parts& parts)
    : index_(parts.index),
      bus_(parts.bus),
      processor_(parts.memory, *this, parts.capabilities, parts.options) {
  if (index_ == 0) processor_.state().plain.apic_base |= ApicBase::kBsp;
}

void ProgramCpu::Load(const lhv::CpuProgram& program, uint64_t steps) {
  program_ = program.View();
  interpreter_.emplace(program_, index_, static_cast<lhv::ObservationLog&>(*this));
  steps_ = steps;
  log_.clear();
  refused_entries_.clear();
}

bool ProgramCpu::Turn() {
  // An event can lead to the next without an instruction in between, but not for ever: one that is
  // taken is gone, and a window that is open must be closed by whoever opened it.
  constexpr int kMostEventsInARow = 64;
  bool moved = false;
  for (int events = 0; events < kMostEventsInARow && TakeEvent(); ++events) moved = true;
  if (!processor_.IsActive()) return moved;
  const unsigned level = processor_.level();
  if (interpreter_->Step(processor_) != lhv::StepResult::kRan) {
    return processor_.EndInterruptShadow() || moved;
  }
  if (level == 2 && processor_.level() == 1) LeftL2(*interpreter_);
  ++steps_;
  return true;
}

bool ProgramCpu::TakeEvent() {
  DropUselessSignals();
  const Signals signals = SignalsNow();
  const BoundaryEvent event = processor_.NextEvent(signals);
  switch (event) {
    case BoundaryEvent::kNone:
      return false;
    case BoundaryEvent::kInit:
      pending_.local_apic.TakeInit();
      break;
    case BoundaryEvent::kSipi:
      pending_.local_apic.DropSipi();
      break;
    case BoundaryEvent::kNmi:
      pending_.nmi = false;
      break;
    case BoundaryEvent::kInterrupt:
      if (processor_.AcknowledgesInterrupt()) pending_.local_apic.TakeInterrupt();
      break;
    default:
      break;
  }
  ++steps_;
  processor_.Take(event, signals);
  return true;
}

Signals ProgramCpu::SignalsNow() const {
  return {.init = pending_.local_apic.has_init(),
          .sipi = pending_.local_apic.sipi(),
          .nmi = pending_.nmi,
          .interrupt = pending_.local_apic.HighestInterrupt()};
}

// An INIT is lost on a processor that waits for a SIPI, a SIPI on one that does not; but one that
// came with an INIT finds that INIT's effect, unless VMX root operation blocks the INIT.
void ProgramCpu::DropUselessSignals() {
  if (processor_.WaitsForSipi()) {
    pending_.local_apic.TakeInit();
    return;
  }
  const bool init_is_blocked = processor_.state().operation == Operation::kRoot;
  if (!pending_.local_apic.has_init() || init_is_blocked) pending_.local_apic.DropSipi();
}

void ProgramCpu::ReceiveIpi(uint64_t delivery_mode, uint8_t vector) {
  using lhv::InterruptCommand;
  switch (delivery_mode) {
    case InterruptCommand::kFixed:
      pending_.local_apic.PutInterrupt(vector);
      return;
    case InterruptCommand::kNmi:
      if (pending_.nmi) NmiMerges();
      pending_.nmi = true;
      return;
    case InterruptCommand::kInit:
      pending_.local_apic.PutInit();
      break;
    case InterruptCommand::kStartUp:
      pending_.local_apic.PutSipi(vector);
      break;
    default:
      return;
  }
  DropUselessSignals();
}

bool ProgramCpu::IsBehindSetup() const {
  return processor_.level() == 1 && processor_.Rip() == AddressInL1(program_.run_begin);
}

uint64_t ProgramCpu::AddressInL1(size_t operation) const {
  return lhv::OperationAddress(lhv::CodeOf(index_, lhv::kL1CodeBase), operation);
}

CpuEnd ProgramCpu::End() const {
  switch (static_cast<ActivityState>(processor_.state().activity_state)) {
    case ActivityState::kActive:
      break;
    case ActivityState::kHlt:
      return CpuEnd::kHalted;
    case ActivityState::kShutdown:
      return CpuEnd::kShutdown;
    case ActivityState::kWaitForSipi:
      return CpuEnd::kWaitsForSipi;
  }
  if (interpreter_->HasInstructionAt(processor_.Rip())) return CpuEnd::kStepLimit;
  const uint64_t rip = processor_.Rip();
  if (rip == AddressInL1(program_.l1.size())) return CpuEnd::kComplete;
  const uint64_t l2 = lhv::CodeOf(index_, lhv::kL2CodeBase);
  if (rip == lhv::OperationAddress(l2, program_.l2.size())) {
    return CpuEnd::kCompleteInL2;
  }
  return CpuEnd::kLost;
}

}  // namespace nvmx::sim
