// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/program_machine.h"

#include <algorithm>

#include "backends/sim/machine/guest_tables.h"
#include "lhv/layout.h"

namespace nvmx::sim {

ProgramMachine::ProgramMachine(uint32_t cpus)
    : cpu_count_(cpus), memory_(cpus), was_cut_off_(cpus) {}

void ProgramMachine::Run(const lhv::GuestProgram& program, ProgramResult& result) {
  window_is_remembered_ = false;
  LoadFromReset(program);
  Finish(result);
}

void ProgramMachine::RunBehindSetup(const lhv::GuestProgram& program, ProgramResult& result) {
  LoadBehindSetup(program);
  Finish(result);
}

void ProgramMachine::Finish(ProgramResult& result) {
  result.cpus.resize(cpu_count_);
  RunToTheEnd();
  result.steps = 0;
  for (uint32_t index = 0; index < cpu_count_; ++index) {
    result.cpus[index].end = was_cut_off_[index] ? CpuEnd::kStepLimit : End(index);
    result.cpus[index].log.swap(cpu(index).log());
    result.cpus[index].refused_entries.swap(cpu(index).refused_entries());
    result.steps += cpu(index).steps();
  }
  Report(result);
}

void ProgramMachine::LoadBehindSetup(const lhv::GuestProgram& program) {
  if (!window_is_remembered_) RememberSetup(lhv::GuestProgram(remembered_->program));
  memory_.RestoreWindow(0, *remembered_->window);
  WriteBlocks(program, remembered_->program.cpus[0].memory.size());
  cpu(0).Load(program.cpus[0], remembered_->steps);
  cpu(0).log() = remembered_->log;
  RestoreStart();
}

void ProgramMachine::LoadFromReset(const lhv::GuestProgram& program) {
  memory_.Clear();
  for (uint32_t index = 0; index < cpu_count_; ++index) {
    WriteGuestTables(memory_, index, program.l1_mode);
    cpu(index).Load(program.cpus[index]);
  }
  WriteBlocks(program, 0);
  Reset(program.l1_mode);
  // Each setup runs alone.
  for (uint32_t index = 0; index < cpu_count_; ++index) {
    while (!cpu(index).IsBehindSetup() && cpu(index).steps() < step_limit_ && Turn(index)) {
    }
  }
}

void ProgramMachine::WriteBlocks(const lhv::GuestProgram& program, size_t first) {
  for (uint32_t index = 0; index < cpu_count_; ++index) {
    const std::vector<lhv::MemoryBlock>& blocks = program.cpus[index].memory;
    for (size_t block = first; block < blocks.size(); ++block) {
      memory_.Write(lhv::WindowOf(index) + blocks[block].offset, blocks[block].bytes);
    }
  }
}

void ProgramMachine::RememberSetup(const lhv::GuestProgram& program) {
  LoadFromReset(program);
  remembered_ = std::make_unique<RememberedSetup>();
  remembered_->program = program;
  remembered_->window = memory_.SaveWindow(0);
  remembered_->log = cpu(0).log();
  remembered_->steps = cpu(0).steps();
  SaveStart();
  window_is_remembered_ = true;
}

void ProgramMachine::RunToTheEnd() {
  for (;;) {
    uint64_t steps = 0;
    for (uint32_t index = 0; index < cpu_count_; ++index) {
      was_cut_off_[index] = Turn(index);
      steps += cpu(index).steps();
    }
    const bool moved =
        std::find(was_cut_off_.begin(), was_cut_off_.end(), true) != was_cut_off_.end();
    if (steps >= step_limit_ || (!moved && !PassTime())) return;
  }
}

bool ProgramMachine::PassTime() {
  bool passed = false;
  for (uint32_t index = 0; index < cpu_count_; ++index) {
    if (cpu(index).processor().PassTimeToTimer()) passed = true;
  }
  return passed;
}

void ProgramMachine::SendIpi(uint32_t from, uint64_t interrupt_command) {
  using lhv::InterruptCommand;
  const uint64_t mode = interrupt_command & InterruptCommand::kDeliveryMode;
  const uint64_t shorthand = interrupt_command & InterruptCommand::kShorthand;
  const uint64_t destination = interrupt_command >> InterruptCommand::kDestinationShift;
  for (uint32_t index = 0; index < cpu_count_; ++index) {
    const bool addressed = shorthand == InterruptCommand::kAllExcludingSelf ? index != from
                           : shorthand == InterruptCommand::kSelf           ? index == from
                                                                            : index == destination;
    if (!addressed) continue;
    cpu(index).ReceiveIpi(mode,
                          static_cast<uint8_t>(interrupt_command & InterruptCommand::kVector));
  }
}

}  // namespace nvmx::sim
