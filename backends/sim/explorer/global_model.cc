// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/global_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

// The parts of a CPU's word.
constexpr unsigned kLatchShift = 24;  // 2 bits: NmiSource of the latched NMI
constexpr unsigned kHandledShift =
    26;  // 2 bits: NmiSource of the NMI that was taken and is not settled
constexpr unsigned kOwnerShift = 28;  // 8 bits: which cells name this CPU
constexpr unsigned kOwedShift = 36;   // 4 bits: NMIs given to the guest by L0 and not delivered yet
constexpr unsigned kBalanceShift =
    40;  // 4 bits, + kBalanceZero: NMIs sent to the guest less those that arrived or merged
constexpr unsigned kOwnCellsShift = 44;  // 4 bits for each own cell
constexpr uint64_t kLocalMask = (uint64_t{1} << kLatchShift) - 1;
constexpr uint64_t kNibble = 15;
constexpr int kBalanceZero = 4;
// The parts of the shared word: 4 bits for each cell, and the device NMIs that may still come.
constexpr unsigned kDeviceNmisShift = 60;

uint64_t Get(uint64_t word, unsigned shift, uint64_t mask = kNibble) {
  return word >> shift & mask;
}
void Put(uint64_t& word, unsigned shift, uint64_t value, uint64_t mask = kNibble) {
  word = (word & ~(mask << shift)) | value << shift;
}

LocalState Local(uint64_t cpu) { return static_cast<LocalState>(cpu & kLocalMask); }
int Balance(uint64_t cpu) { return static_cast<int>(Get(cpu, kBalanceShift)) - kBalanceZero; }

void AddToBalance(uint64_t& cpu, int change) {
  Put(cpu, kBalanceShift, static_cast<uint64_t>(Balance(cpu) + change + kBalanceZero) & kNibble);
}

bool SendsToOneCpu(const lhv::GuestProgram& program) {
  for (const lhv::CpuProgram& cpu : program.cpus) {
    for (const auto* code : {&cpu.l1, &cpu.l2}) {
      for (const lhv::Operation& operation : *code) {
        if (operation.kind == lhv::OperationKind::kSendNmi &&
            operation.selector != lhv::kToAllOthers && operation.selector != lhv::kToSelf) {
          return true;
        }
      }
    }
  }
  return false;
}

// Whether a CPU of the program can come to wait for a SIPI: it then enters itself into a set of
// CPUs by its number, and is not interchangeable with another.
bool CanWaitForSipi(const lhv::GuestProgram& program) {
  for (const lhv::CpuProgram& cpu : program.cpus) {
    for (const lhv::Operation& operation : cpu.l1) {
      if (operation.kind == lhv::OperationKind::kVmwrite && operation.value != 0 &&
          operation.selector == static_cast<uint32_t>(VmcsField::kGuestActivityState)) {
        return true;
      }
    }
  }
  return false;
}

// The code as CPU 0 has it: where an operation puts L2 is in the code of the CPU itself.
std::vector<lhv::Operation> AsOfCpu0(std::vector<lhv::Operation> code, uint32_t cpu) {
  const uint64_t l2 = lhv::CodeOf(cpu, lhv::kL2CodeBase);
  for (lhv::Operation& operation : code) {
    if (operation.kind == lhv::OperationKind::kVmwrite &&
        operation.selector == Encoding(VmcsField::kGuestRip) && operation.value >= l2 &&
        operation.value - l2 < lhv::kCodeBytesPerCpu) {
      operation.value -= l2 - lhv::kL2CodeBase;
    }
  }
  return code;
}

// Whether a CPU of that number and the one before it do the same.
bool SameProgram(const std::vector<lhv::CpuProgram>& programs, uint32_t cpu) {
  const lhv::CpuProgram& a = programs[cpu - 1];
  const lhv::CpuProgram& b = programs[cpu];
  const auto same_memory = [](const lhv::MemoryBlock& x, const lhv::MemoryBlock& y) {
    return x.offset == y.offset && x.bytes == y.bytes;
  };
  return AsOfCpu0(a.l1, cpu - 1) == AsOfCpu0(b.l1, cpu) && a.l2 == b.l2 &&
         a.run_begin == b.run_begin &&
         std::equal(a.memory.begin(), a.memory.end(), b.memory.begin(), b.memory.end(),
                    same_memory);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GlobalModel>> GlobalModel::Create(const Scenario& scenario,
                                                                 bool use_symmetry) {
  std::unique_ptr<GlobalModel> model(new GlobalModel(scenario));
  model->cpu_count_ = scenario.cpus;
  use_symmetry =
      use_symmetry && !SendsToOneCpu(scenario.program) && !CanWaitForSipi(scenario.program);
  model->uses_symmetry_ = use_symmetry;
  for (uint32_t cpu = 0; cpu < scenario.cpus; ++cpu) {
    const auto& programs = scenario.program.cpus;
    if (use_symmetry && cpu > 0 && SameProgram(programs, cpu)) {
      model->class_of_.push_back(model->class_of_.back());
      continue;
    }
    absl::StatusOr<std::unique_ptr<LocalModel>> local = LocalModel::Create(scenario, cpu);
    if (!local.ok()) return local.status();
    model->class_of_.push_back(static_cast<uint32_t>(model->models_.size()));
    model->models_.push_back(*std::move(local));
  }
  model->PlaceCells();
  return model;
}

void GlobalModel::PlaceCells() {
  places_.clear();
  uint8_t shared = 0;
  uint8_t owner = kOwnerShift;
  uint8_t own = kOwnCellsShift;
  for (const CellView& cell : models_[0]->cells()) {
    if (cell.own) {
      places_.push_back({Place::Where::kCpu, own});
      own += 4;
    } else if (cell.kind == CellKind::kCpu || cell.kind == CellKind::kLock) {
      places_.push_back({Place::Where::kOwnerBit, owner++});
    } else if (cell.kind == CellKind::kBlock && !blocks_count_) {
      // Nobody reads it: its content decides nothing and would only multiply the states.
      places_.push_back({Place::Where::kNowhere, 0});
    } else {
      places_.push_back({Place::Where::kShared, shared});
      shared += 4;
    }
  }
}

bool GlobalModel::must_restart() {
  if (blocks_count_) return false;
  for (const auto& model : models_) blocks_count_ |= model->block_is_read();
  if (blocks_count_) PlaceCells();
  return blocks_count_;
}

GlobalState GlobalModel::Initial() const {
  GlobalState state{};
  Put(state.shared, kDeviceNmisShift, scenario_.device_nmis);
  for (uint32_t cpu = 0; cpu < cpu_count_; ++cpu) {
    Put(state.cpu[cpu], kBalanceShift, kBalanceZero);
  }
  return state;
}

CellValue GlobalModel::Value(const GlobalState& state, uint32_t cpu, uint8_t cell) const {
  const Place& place = places_[cell];
  switch (place.where) {
    case Place::Where::kShared:
      return static_cast<CellValue>(Get(state.shared, place.shift));
    case Place::Where::kCpu:
      return static_cast<CellValue>(Get(state.cpu[cpu], place.shift));
    case Place::Where::kOwnerBit:
      for (uint32_t other = 0; other < cpu_count_; ++other) {
        if (Get(state.cpu[other], place.shift, 1) != 0) return other == cpu ? kSelf : kOther;
      }
      return kNobody;
    case Place::Where::kNowhere:
      break;
  }
  return 0;
}

void GlobalModel::SetValue(GlobalState& state, uint32_t cpu, uint8_t cell, CellValue value) const {
  const Place& place = places_[cell];
  switch (place.where) {
    case Place::Where::kShared:
      Put(state.shared, place.shift, value);
      return;
    case Place::Where::kCpu:
      Put(state.cpu[cpu], place.shift, value);
      return;
    case Place::Where::kOwnerBit:
      if (value == kOther) return;
      for (uint32_t other = 0; other < cpu_count_; ++other)
        Put(state.cpu[other], place.shift, 0, 1);
      if (value == kSelf) Put(state.cpu[cpu], place.shift, 1, 1);
      return;
    case Place::Where::kNowhere:
      return;
  }
}

bool GlobalModel::IsPossible(const GlobalState& state, uint32_t cpu, Choice choice) const {
  const uint64_t word = state.cpu[cpu];
  const LocalStateInfo& info = Model(cpu).info(Local(word));
  switch (choice) {
    case Choice::kStep:
      if (info.kind == PointKind::kSpin) {
        const CellValue value = Value(state, cpu, info.cell);
        return value == info.wanted || (info.at_least && value > info.wanted);
      }
      return info.kind != PointKind::kRest && info.kind != PointKind::kStopped;
    case Choice::kTakeNmi:
      return Get(word, kLatchShift, 3) != 0 && info.can_take_nmi;
    case Choice::kDeviceNmi:
      return Get(state.shared, kDeviceNmisShift) != 0;
  }
  return false;
}

void GlobalModel::PutNmi(GlobalState& state, uint32_t cpu, NmiSource source,
                         GlobalEffects& effects) const {
  uint64_t& word = state.cpu[cpu];
  if (source == NmiSource::kGuest) AddToBalance(word, +1);
  if (Get(word, kLatchShift, 3) != 0) {
    // Two have become one: the hardware's rule, which no software can repair.
    AddToBalance(word, -1);
    effects.merged = true;
    return;
  }
  Put(word, kLatchShift, static_cast<uint64_t>(source), 3);
}

void GlobalModel::Judge(GlobalState& state, uint32_t cpu, const StepEffects& step,
                        GlobalEffects& effects) const {
  uint64_t& word = state.cpu[cpu];
  const auto handled = static_cast<NmiSource>(Get(word, kHandledShift, 3));
  if (step.acknowledged) {
    effects.exchanged = handled == NmiSource::kGuest;
    Put(word, kHandledShift, 0, 3);
  }
  if (step.given_to_guest) {
    AddToBalance(word, -1);
    Put(word, kOwedShift, Get(word, kOwedShift) + 1);
    Put(word, kHandledShift, 0, 3);
  }
  if (step.merged_for_guest) {
    AddToBalance(word, -1);
    Put(word, kHandledShift, 0, 3);
    effects.merged = true;
  }
  if (step.merged_while_held) {
    Put(word, kOwedShift, Get(word, kOwedShift) - 1);
    effects.merged = true;
  }
  if (step.nmi_taken && step.destination == NmiDestination::kGuestIdt) {
    if (handled == NmiSource::kGuest) AddToBalance(word, -1);
    Put(word, kHandledShift, 0, 3);
  }
  if (step.delivered_to_guest != 0) {
    const uint64_t owed = Get(word, kOwedShift);
    if (owed < step.delivered_to_guest) effects.broken = Verdict::kNmiStolen;
    Put(word, kOwedShift, owed - std::min<uint64_t>(owed, step.delivered_to_guest));
  }
  if (step.lock_before_settling) effects.broken = Verdict::kLockBeforeSettling;
  if (step.l0_failed) effects.broken = Verdict::kL0Failed;
}

bool GlobalModel::Apply(GlobalState& state, uint32_t cpu, Choice choice, GlobalEffects& effects) {
  effects = {};
  uint64_t& word = state.cpu[cpu];
  if (choice == Choice::kDeviceNmi) {
    Put(state.shared, kDeviceNmisShift, Get(state.shared, kDeviceNmisShift) - 1);
    PutNmi(state, cpu, NmiSource::kGuest, effects);
    return true;
  }
  LocalModel& model = Model(cpu);
  const LocalStateInfo info = model.info(Local(word));
  const bool uses_cell = choice == Choice::kStep && info.cell != kNoCell;
  const LocalStep* step =
      choice == Choice::kTakeNmi
          ? model.TakeNmi(Local(word))
          : model.Step(Local(word), uses_cell ? Value(state, cpu, info.cell) : CellValue{0});
  if (step == nullptr) {
    status_ = model.status();
    return false;
  }
  if (choice == Choice::kTakeNmi) {
    Put(word, kHandledShift, Get(word, kLatchShift, 3), 3);
    Put(word, kLatchShift, 0, 3);
  }
  word = (word & ~kLocalMask) | step->to;
  if (uses_cell && info.writes && uses_symmetry_ &&
      this->cell(info.cell).kind == CellKind::kCpuSet) {
    status_ = absl::FailedPreconditionError(
        absl::StrCat("CPU ", cpu,
                     " writes a set of CPUs, in a program whose CPUs were taken to be "
                     "interchangeable. It can still be replayed and run"));
    return false;
  }
  if (uses_cell && info.writes) SetValue(state, cpu, info.cell, step->new_value);
  const bool by_l0 = info.kind == PointKind::kSendIpi;
  if (step->effects.sends_nmi_to_others) {
    for (uint32_t other = 0; other < cpu_count_; ++other) {
      if (other != cpu)
        PutNmi(state, other, by_l0 ? NmiSource::kQuiesce : NmiSource::kGuest, effects);
    }
  }
  if (step->effects.sends_nmi_to && *step->effects.sends_nmi_to < cpu_count_) {
    PutNmi(state, *step->effects.sends_nmi_to, by_l0 ? NmiSource::kQuiesce : NmiSource::kGuest,
           effects);
  }
  const bool merged = effects.merged;
  Judge(state, cpu, step->effects, effects);
  effects.merged |= merged;
  return true;
}

bool GlobalModel::IsTerminal(const GlobalState& state) const {
  for (uint32_t cpu = 0; cpu < cpu_count_; ++cpu) {
    if (IsPossible(state, cpu, Choice::kStep) || IsPossible(state, cpu, Choice::kTakeNmi)) {
      return false;
    }
  }
  return true;
}

Verdict GlobalModel::JudgeTerminal(const GlobalState& state) const {
  Verdict verdict = Verdict::kCompletes;
  for (uint32_t cpu = 0; cpu < cpu_count_; ++cpu) {
    const uint64_t word = state.cpu[cpu];
    if (Model(cpu).info(Local(word)).kind != PointKind::kRest) return Verdict::kDeadlock;
    // An NMI that is still latched can only be one that the CPU blocks; one that L0 still holds is
    // in its own cell.
    const int outstanding = Balance(word) - (Get(word, kLatchShift, 3) != 0 ? 1 : 0);
    const auto held = static_cast<int>(Get(word, kOwnCellsShift));
    const auto owed = static_cast<int>(Get(word, kOwedShift));
    if (outstanding < 0 || owed < held) verdict = std::max(verdict, Verdict::kNmiStolen);
    if (outstanding > 0 || owed > held) verdict = std::max(verdict, Verdict::kNmiLost);
  }
  return verdict;
}

GlobalState GlobalModel::Canonical(const GlobalState& state,
                                   std::array<uint8_t, kMaxExploredCpus>* order) const {
  GlobalState canonical = state;
  std::array<uint8_t, kMaxExploredCpus> place{};
  for (uint8_t cpu = 0; cpu < cpu_count_; ++cpu) place[cpu] = cpu;
  for (uint32_t cpu = 1; cpu < cpu_count_; ++cpu) {
    for (uint32_t at = cpu;
         at > 0 && class_of_[at] == class_of_[at - 1] && canonical.cpu[at] < canonical.cpu[at - 1];
         --at) {
      std::swap(canonical.cpu[at], canonical.cpu[at - 1]);
      std::swap(place[at], place[at - 1]);
    }
  }
  if (order != nullptr) *order = place;
  return canonical;
}

size_t GlobalModel::local_states() const {
  size_t count = 0;
  for (const auto& model : models_) count += model->state_count();
  return count;
}

size_t GlobalModel::learned_steps() const {
  size_t count = 0;
  for (const auto& model : models_) count += model->learned_steps();
  return count;
}

const LocalStateInfo& GlobalModel::LocalInfo(const GlobalState& state, uint32_t cpu) const {
  return Model(cpu).info(Local(state.cpu[cpu]));
}

NmiSource GlobalModel::Latch(const GlobalState& state, uint32_t cpu) const {
  return static_cast<NmiSource>(Get(state.cpu[cpu], kLatchShift, 3));
}

uint64_t GlobalModel::CellWord(const GlobalState& state, uint32_t cpu, size_t cell) const {
  const Place& place = places_[cell];
  if (place.where != Place::Where::kOwnerBit) return Value(state, cpu, static_cast<uint8_t>(cell));
  for (uint32_t owner = 0; owner < cpu_count_; ++owner) {
    if (Get(state.cpu[owner], place.shift, 1) != 0) return uint64_t{owner} + 1;
  }
  return 0;
}

}  // namespace nvmx::sim
