// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/machine.h"

#include "absl/strings/str_cat.h"
#include "lhv/guest_cpu.h"
#include "xxhash.h"

namespace nvmx::sim {

absl::StatusOr<std::unique_ptr<Machine>> Machine::Create(const lhv::GuestProgram& program,
                                                         const MachineOptions& options) {
  std::unique_ptr<Machine> machine(new Machine(program, options));
  for (uint32_t cpu = 0; cpu < machine->cpu_count(); ++cpu) {
    if (!machine->cpus_[cpu]->RunSetup()) {
      return absl::InvalidArgumentError(
          absl::StrCat(program.name, ": the setup of CPU ", cpu,
                       " does not reach its end: it waits, halts, or loops. A setup runs alone, "
                       "before the other CPUs"));
    }
  }
  for (uint32_t cpu = 0; cpu < machine->cpu_count(); ++cpu) {
    if (machine->cpus_[cpu]->latch().full()) {
      return absl::InvalidArgumentError(
          absl::StrCat(program.name, ": a setup sends CPU ", cpu,
                       " an NMI, which nobody takes there; send it in `run`"));
    }
  }
  machine->recording_ = true;
  return machine;
}

Machine::Machine(const lhv::GuestProgram& program, const MachineOptions& options)
    : system_(static_cast<uint32_t>(program.cpus.size()), options.log_mtrr_writes),
      memory_(static_cast<uint32_t>(program.cpus.size())),
      l0_memory_(memory_, static_cast<uint32_t>(program.cpus.size())),
      trace_(options.keep_trace) {
  for (uint32_t index = 0; index < program.cpus.size(); ++index) {
    cpus_.push_back(std::make_unique<SimCpu>(
        index, SimCpu::Parts{memory_, system_, *this, *options.variant, program.cpus[index]}));
    if (options.enable_keys) cpus_.back()->EnableKeys();
  }
  QuiesceCells& quiesce = system_.quiesce;
  for (const SharedCell* cell : {&quiesce.lock.cell(), &system_.print_lock.cell(),
                                 static_cast<const SharedCell*>(&quiesce.initiator),
                                 static_cast<const SharedCell*>(&quiesce.acknowledged),
                                 static_cast<const SharedCell*>(&quiesce.resume_signal),
                                 static_cast<const SharedCell*>(&quiesce.resumed),
                                 static_cast<const SharedCell*>(&system_.ept01_memory_types),
                                 static_cast<const SharedCell*>(&system_.ept01_generation),
                                 static_cast<const SharedCell*>(&system_.ept01_changes)}) {
    cells_.push_back({const_cast<SharedCell*>(cell), CellPlace::kSystem});
  }
  for (uint32_t index = 0; index < cpu_count(); ++index) {
    cells_.push_back({&cpus_[index]->cells().guest_nmis_pending, index});
  }
}

uint32_t Machine::CellNumber(const SharedCell* cell) const {
  for (uint32_t number = 0; number < cells_.size(); ++number) {
    if (cells_[number].cell == cell) return number;
  }
  return ~uint32_t{0};
}

bool Machine::IsPossible(uint32_t cpu, Choice choice) const {
  if (cpu >= cpu_count()) return false;
  const SimCpu& c = *cpus_[cpu];
  switch (choice) {
    case Choice::kStep:
      return c.CanStep();
    case Choice::kTakeNmi:
      return c.latch().full() && c.CanTakeNmi();
    case Choice::kDeviceNmi:
      return true;
  }
  return false;
}

void Machine::Step(uint32_t cpu, Choice choice) {
  ++step_;
  SimCpu& c = *cpus_[cpu];
  Record(cpu, EventKind::kChoice, 0, static_cast<uint64_t>(choice),
         static_cast<uint64_t>(c.point().kind));
  if (choice == Choice::kDeviceNmi) {
    PutNmi(cpu, NmiSource::kGuest);
    return;
  }
  SharedCell* cell = c.point().cell;
  c.Advance(choice);
  if (cell != nullptr && choice == Choice::kStep && cell->kind() != CellKind::kBlock) {
    Record(cpu, EventKind::kCellChanged, 0, CellNumber(cell), cell->Peek());
  }
}

uint64_t Machine::StateDigest() {
  std::vector<uint64_t> words;
  for (const std::unique_ptr<SimCpu>& cpu : cpus_) {
    words.push_back(cpu->PrivateDigest());
    words.push_back(static_cast<uint64_t>(cpu->latch().source()));
  }
  for (const CellPlace& place : cells_) {
    const std::span<std::byte> bytes = place.cell->bytes();
    words.push_back(XXH3_64bits(bytes.data(), bytes.size()));
  }
  return XXH3_64bits(words.data(), words.size() * sizeof words[0]);
}

void Machine::PutNmi(uint32_t cpu, NmiSource source) {
  NmiAccount& account = cpus_[cpu]->account();
  if (source == NmiSource::kGuest) ++account.sent_to_guest;
  const bool merged = !cpus_[cpu]->latch().Put(source);
  if (merged) ++account.merged;
  Record(cpu, merged ? EventKind::kNmiMerged : EventKind::kNmiLatched, 0,
         static_cast<uint64_t>(source), 0);
}

void Machine::Send(uint32_t from, uint64_t interrupt_command, NmiSource source) {
  using lhv::InterruptCommand;
  const uint64_t mode = interrupt_command & InterruptCommand::kDeliveryMode;
  const uint64_t shorthand = interrupt_command & InterruptCommand::kShorthand;
  for (uint32_t cpu = 0; cpu < cpu_count(); ++cpu) {
    const bool addressed = shorthand == InterruptCommand::kAllExcludingSelf ? cpu != from
                           : shorthand == InterruptCommand::kSelf
                               ? cpu == from
                               : cpu == interrupt_command >> InterruptCommand::kDestinationShift;
    if (!addressed || isolated_) continue;
    if (mode == InterruptCommand::kNmi) {
      PutNmi(cpu, source);
    } else {
      cpus_[cpu]->ReceiveIpi(mode,
                             static_cast<uint8_t>(interrupt_command & InterruptCommand::kVector));
    }
  }
}

void Machine::Record(uint32_t cpu, EventKind kind, uint32_t core_kind, uint64_t first,
                     uint64_t second) {
  if (recording_) trace_.Append({step_, cpu, kind, core_kind, first, second});
}

}  // namespace nvmx::sim
