// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/explorer/schedule_walk.h"

#include <algorithm>

namespace nvmx::sim {

ScheduleWalk::ScheduleWalk(GlobalModel& model) : model_(model), state_(model.Initial()) { Look(); }

bool ScheduleWalk::Take(const ScheduleStep& step) {
  GlobalEffects effects;
  if (!model_.Apply(state_, step.cpu, step.choice, effects)) return false;
  worst_ = std::max(worst_, effects.broken);
  Look();
  return true;
}

Verdict ScheduleWalk::verdict() const {
  return is_over_ ? std::max(worst_, model_.JudgeTerminal(state_)) : worst_;
}

void ScheduleWalk::Look() {
  is_over_ = model_.IsTerminal(state_);
  count_ = 0;
  for (uint8_t cpu = 0; cpu < model_.cpu_count(); ++cpu) {
    for (const Choice choice : kAllChoices) {
      if (model_.IsPossible(state_, cpu, choice)) possible_[count_++] = {cpu, choice};
    }
  }
}

}  // namespace nvmx::sim
