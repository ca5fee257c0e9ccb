// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_SCHEDULE_WALK_H_
#define NVMX_BACKENDS_SIM_EXPLORER_SCHEDULE_WALK_H_

#include <array>
#include <cstddef>
#include <iterator>
#include <span>

#include "backends/sim/explorer/global_model.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"

namespace nvmx::sim {

// One schedule, step by step, from the beginning of the model on. What it found counts only if
// the model need not be restarted afterwards (GlobalModel::must_restart()).
class ScheduleWalk {
 public:
  // The model must outlive this.
  explicit ScheduleWalk(GlobalModel& model);

  // Nobody can move by himself any more.
  bool IsOver() const { return is_over_; }
  // The steps that are possible now, by CPU and then in the order of kAllChoices. At the end a
  // device may still send an NMI.
  std::span<const ScheduleStep> possible() const { return {possible_.data(), count_}; }
  const GlobalState& state() const { return state_; }
  // Makes one of them. False: the code left what the model can represent; its status says how.
  bool Take(const ScheduleStep& step);
  // The worst that has been seen; with the end, if it is over.
  Verdict verdict() const;

 private:
  void Look();

  GlobalModel& model_;
  GlobalState state_;
  Verdict worst_ = Verdict::kCompletes;
  std::array<ScheduleStep, std::size(kAllChoices) * kMaxExploredCpus> possible_;
  size_t count_ = 0;
  bool is_over_ = false;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_SCHEDULE_WALK_H_
