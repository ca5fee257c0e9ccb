// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_GLOBAL_MODEL_H_
#define NVMX_BACKENDS_SIM_EXPLORER_GLOBAL_MODEL_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/explorer/local_model.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"

namespace nvmx::sim {

inline constexpr uint32_t kMaxExploredCpus = 8;

// A state of the whole machine: one word for what is shared, and one for each CPU (its local state,
// its NMI latch, which cells name it, its own cells, and what it owes its guest). Compared as it
// is, not by a hash.
struct GlobalState {
  uint64_t shared;
  std::array<uint64_t, kMaxExploredCpus> cpu;
};

// What one step showed, beside the new state.
struct GlobalEffects {
  bool merged = false;                   // a latch that was full got another NMI
  bool exchanged = false;                // an NMI of the guest's acknowledged a quiesce
  Verdict broken = Verdict::kCompletes;  // a rule that the step itself broke
};

// The machine as the product of its CPUs' automata (LocalModel): the same states and steps as the
// real code on all CPUs, at the price of a few machine instructions each.
class GlobalModel {
 public:
  // `use_symmetry`: CPUs with the same program are interchangeable.
  static absl::StatusOr<std::unique_ptr<GlobalModel>> Create(const Scenario& scenario,
                                                             bool use_symmetry);

  uint32_t cpu_count() const { return cpu_count_; }
  GlobalState Initial() const;

  bool IsPossible(const GlobalState& state, uint32_t cpu, Choice choice) const;
  // Makes a possible choice. False if the code left what the model can represent; status() says
  // how.
  bool Apply(GlobalState& state, uint32_t cpu, Choice choice, GlobalEffects& effects);
  // What a state means in which no CPU can do anything by itself.
  bool IsTerminal(const GlobalState& state) const;
  Verdict JudgeTerminal(const GlobalState& state) const;

  // The representative of all states that differ by the numbering of interchangeable CPUs. `order`,
  // if wanted, gets the CPU that stands at each place of it.
  GlobalState Canonical(const GlobalState& state,
                        std::array<uint8_t, kMaxExploredCpus>* order = nullptr) const;
  // Whether CPU `cpu` is interchangeable with the one before it and in the same state: then its
  // choices lead nowhere new.
  bool IsTwinOfPredecessor(const GlobalState& state, uint32_t cpu) const {
    return cpu > 0 && class_of_[cpu] == class_of_[cpu - 1] && state.cpu[cpu] == state.cpu[cpu - 1];
  }

  // What the local automata have become.
  size_t local_states() const;
  size_t learned_steps() const;
  uint32_t class_count() const { return static_cast<uint32_t>(models_.size()); }
  const absl::Status& status() const { return status_; }
  // A block that was thought to be written only has been read: what was explored before may lack
  // states. Explore again.
  bool must_restart();
  // The local state of a CPU, and its name and value of a cell, for comparison with a real machine.
  const LocalStateInfo& LocalInfo(const GlobalState& state, uint32_t cpu) const;
  NmiSource Latch(const GlobalState& state, uint32_t cpu) const;
  size_t cell_count() const { return places_.size(); }
  uint64_t CellWord(const GlobalState& state, uint32_t cpu, size_t cell) const;
  const CellView& cell(size_t number) const { return models_[0]->cells()[number]; }

 private:
  // Where the value of a cell is kept.
  struct Place {
    enum class Where : uint8_t { kShared, kOwnerBit, kCpu, kNowhere } where;
    uint8_t shift;
  };

  explicit GlobalModel(const Scenario& scenario) : scenario_(scenario) {}
  void PlaceCells();
  LocalModel& Model(uint32_t cpu) { return *models_[class_of_[cpu]]; }
  const LocalModel& Model(uint32_t cpu) const { return *models_[class_of_[cpu]]; }
  CellValue Value(const GlobalState& state, uint32_t cpu, uint8_t cell) const;
  void SetValue(GlobalState& state, uint32_t cpu, uint8_t cell, CellValue value) const;
  void PutNmi(GlobalState& state, uint32_t cpu, NmiSource source, GlobalEffects& effects) const;
  void Judge(GlobalState& state, uint32_t cpu, const StepEffects& step,
             GlobalEffects& effects) const;

  const Scenario& scenario_;
  uint32_t cpu_count_ = 0;
  std::vector<std::unique_ptr<LocalModel>> models_;  // one for each class of interchangeable CPUs
  std::vector<uint32_t> class_of_;                   // by CPU; CPUs of one class are neighbours
  std::vector<Place> places_;
  bool blocks_count_ = false;
  bool uses_symmetry_ = false;
  absl::Status status_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_GLOBAL_MODEL_H_
