// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/nested_machine.h"

#include "absl/strings/str_cat.h"
#include "backends/sim/program/ticks.h"

namespace nvmx::sim {

NestedMachine::NestedMachine(uint32_t cpus, const Variant& variant, const Capabilities& hardware)
    : ProgramMachine(cpus), l0_memory_(memory(), cpus, hardware), variant_(variant) {
  system_.emplace(cpus);
  const ProcessorOptions options{.ticks_per_instruction = kTicksPerInstruction};
  for (uint32_t index = 0; index < cpus; ++index) {
    cpus_.push_back(std::make_unique<NestedCpu>(
        ProgramCpu::Parts{index, memory(), *this, hardware, options},
        NestedCpu::L0Parts{*system_, l0_memory_, *this, variant_, cpus > 1}));
  }
}

void NestedMachine::Reset(lhv::L1Mode mode) {
  system_.emplace(cpu_count());
  for (const std::unique_ptr<NestedCpu>& cpu : cpus_) cpu->Reset(mode);
}

bool NestedMachine::Turn(uint32_t index) {
  NestedCpu& cpu = *cpus_[index];
  // It may still be inside L0 since its last turn.
  if (!cpu.HasFinishedTurn() && !FinishTurn(index)) return false;
  const bool moved = cpu.Run();
  if (!cpu.HasFinishedTurn()) FinishTurn(index);
  return moved;
}

bool NestedMachine::FinishTurn(uint32_t index) {
  NestedCpu& cpu = *cpus_[index];
  while (!cpu.HasFinishedTurn()) {
    bool moved = cpu.RunL0Only();
    for (const std::unique_ptr<NestedCpu>& other : cpus_) {
      if (other.get() != &cpu && other->RunL0Only()) moved = true;
    }
    if (!moved) return false;
  }
  return true;
}

void NestedMachine::SendHostNmiToAllOthers(uint32_t from) {
  for (uint32_t index = 0; index < cpu_count(); ++index) {
    if (index != from) cpus_[index]->ReceiveHostNmi();
  }
}

void NestedMachine::Report(ProgramResult& result) {
  result.defect = Defect();
  for (uint32_t index = 0; index < cpu_count(); ++index) {
    result.cpus[index].forbidden_access_at = cpus_[index]->forbidden_access_at();
    result.cpus[index].nmi_merged_at = cpus_[index]->nmi_merged_at();
  }
}

std::string NestedMachine::Defect() {
  for (const std::unique_ptr<NestedCpu>& cpu : cpus_) {
    if (!cpu->defect().empty()) return cpu->defect();
  }
  if (++runs_ % runs_between_checks_ == 0 && l0_memory_.IsDamaged()) {
    return "something wrote to memory that is L0's alone";
  }
  return {};
}

void NestedMachine::SaveStart() {
  start_ = std::make_unique<Start>(Start{cpus_[0]->processor().state(), cpus_[0]->SaveL0State()});
}

void NestedMachine::RestoreStart() {
  system_.emplace(cpu_count());
  cpus_[0]->processor().state() = start_->processor;
  cpus_[0]->processor().mmu().tlb().Clear();
  cpus_[0]->RestoreL0State(start_->l0);
}

}  // namespace nvmx::sim
