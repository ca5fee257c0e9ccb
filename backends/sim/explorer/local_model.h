// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_LOCAL_MODEL_H_
#define NVMX_BACKENDS_SIM_EXPLORER_LOCAL_MODEL_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "backends/sim/explorer/scenario.h"

namespace nvmx::sim {

// What one CPU does, learned from the real code as an automaton.
//
// A CPU meets the others only at its points: it reads or writes one shared cell there, sends an
// NMI, or takes one. So what it does next is a function of its own state and of the value it finds
// in that one cell, and the real code has to run only once for each such pair, however many states
// of the whole machine contain it. The model runs it on a machine of which only this CPU moves,
// gives the cell the value in question, and remembers what came out. Nothing is abstracted: a step
// of the automaton is a step of the code.
//
// Two states are one if their keys are equal (SimCpu::LocalKey()).

using LocalState = uint32_t;

// The value of a cell, as a small number: itself; for a block the number of its content, in the
// order of appearance; for a cell that names a CPU one of the three below.
using CellValue = uint8_t;
inline constexpr CellValue kNobody = 0;
inline constexpr CellValue kSelf = 1;
inline constexpr CellValue kOther = 2;

// The cells as one CPU sees them: the System's, then its own.
struct CellView {
  const char* name;
  CellKind kind;
  bool own;
};

struct LocalStateInfo {
  PointKind kind;
  SharedOperation operation;
  bool at_least;     // of kSpin: `wanted` or more
  bool writes;       // a step may change the cell; a wait that takes nothing and a load do not
  uint8_t cell;      // position in cells(); kNoCell
  CellValue wanted;  // of kSpin
  bool can_take_nmi;
};
inline constexpr uint8_t kNoCell = 0xFF;

struct LocalStep {
  LocalState to;
  CellValue new_value;  // of the state's cell, if a step writes it and the choice was one
  StepEffects effects;
};

class LocalModel {
 public:
  // The model of one CPU of the scenario, which must outlive it.
  static absl::StatusOr<std::unique_ptr<LocalModel>> Create(const Scenario& scenario, uint32_t cpu);

  const std::vector<CellView>& cells() const { return cells_; }
  LocalState initial() const { return 0; }
  const LocalStateInfo& info(LocalState state) const { return states_[state].info; }
  size_t state_count() const { return states_.size(); }
  // How often the real code ran for a step that was not known yet.
  size_t learned_steps() const { return steps_.size(); }

  // The step from a state, learned now if need be. `value`: what the state's cell holds; ignored
  // where the step does not depend on it. nullptr if the code left what the model can represent;
  // status() says how.
  const LocalStep* Step(LocalState state, CellValue value) {
    const Known& known = states_[state];
    const CellValue input = known.depends ? value : 0;
    if (input < known.by_value.size() && known.by_value[input] >= 0) {
      return &steps_[static_cast<size_t>(known.by_value[input])];
    }
    return Learn(state, Choice::kStep, value);
  }
  const LocalStep* TakeNmi(LocalState state) {
    const Known& known = states_[state];
    if (known.by_nmi >= 0) return &steps_[static_cast<size_t>(known.by_nmi)];
    return Learn(state, Choice::kTakeNmi, 0);
  }
  const absl::Status& status() const { return status_; }
  // Whether some code reads that block: if not, its content decides nothing.
  bool block_is_read() const { return block_is_read_; }

 private:
  struct KeyHash {
    size_t operator()(const SimCpu::Key& key) const { return key.low; }
  };
  struct Known {
    LocalStateInfo info;
    // Whether the effect of a step depends on the value of the cell: an addition or a load.
    bool depends;
    std::vector<int32_t> by_value;  // index into steps_, or -1
    int32_t by_nmi = -1;
    // How to come here: the step before.
    LocalState parent;
    Choice parent_choice;
    CellValue parent_value;
  };

  LocalModel(const Scenario& scenario, uint32_t cpu) : scenario_(scenario), cpu_(cpu) {}
  const LocalStep* Learn(LocalState state, Choice choice, CellValue value);
  void GoTo(LocalState state);
  void Make(Choice choice, CellValue value);
  LocalState Intern(LocalState parent, Choice choice, CellValue value);
  CellValue ReadCell(uint8_t cell);
  void WriteCell(uint8_t cell, CellValue value);
  void Fail(const std::string& why);

  const Scenario& scenario_;
  const uint32_t cpu_;
  std::unique_ptr<Machine> machine_;
  std::vector<CellView> cells_;
  std::vector<SharedCell*> cell_pointers_;
  std::vector<std::vector<std::byte>> block_contents_;
  bool block_is_read_ = false;
  std::vector<Known> states_;
  std::deque<LocalStep> steps_;  // callers hold pointers
  absl::flat_hash_map<SimCpu::Key, LocalState, KeyHash> by_key_;
  LocalState cursor_ = 0;  // where the machine stands
  absl::Status status_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_LOCAL_MODEL_H_
