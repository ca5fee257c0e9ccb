// SPDX-License-Identifier: Apache-2.0
#include "fuzz/target.h"

#include "fuzz/assembler_target.h"
#include "fuzz/program_target.h"
#include "fuzz/schedule_target.h"

namespace nvmx::fuzz {

std::optional<Find> Target::Run(std::span<const std::byte> bytes) {
  features_.clear();
  valid_ = true;
  ++reached_->executions;
  std::optional<Find> find = RunInput(bytes);
  if (!valid_) ++reached_->invalid;
  if (find) ++reached_->finds;
  return find;
}

void Target::AddFeature(uint64_t kind, uint64_t value) {
  // Any mixture will do that does not map the few values that occur to one.
  constexpr uint64_t kMix = 0x9E3779B97F4A7C15;
  features_.push_back(static_cast<uint32_t>((kind * kMix ^ value) * kMix >> 32));
}

std::unique_ptr<Target> MakeTarget(const TargetInformation& information) {
  switch (information.form) {
    case InputForm::kSchedule:
      return MakeScheduleTarget();
    case InputForm::kText:
      return MakeAssemblerTarget();
    default:
      return MakeProgramTarget(information);
  }
}

}  // namespace nvmx::fuzz
