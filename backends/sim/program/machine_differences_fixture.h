// SPDX-License-Identifier: Apache-2.0
//
// A program, what has been seen of it so far, and what the rows say of a difference behind that.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_MACHINE_DIFFERENCES_FIXTURE_H_
#define NVMX_BACKENDS_SIM_PROGRAM_MACHINE_DIFFERENCES_FIXTURE_H_

#include <optional>
#include <utility>
#include <vector>

#include "backends/sim/program/machine_differences.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"

namespace nvmx::sim {

class MachineDifferencesFixture : public testing::Test {
 protected:
  MachineDifferencesFixture() { program_.cpus.resize(1); }

  static lhv::Observation Field(VmcsField field, uint64_t value, uint64_t operation = 0) {
    return {.kind = lhv::ObservationKind::kVmExit,
            .level = 1,
            .operation = operation,
            .selector = Encoding(field),
            .value = value};
  }
  // L1 has seen an exit.
  void SeeExit(uint32_t reason, uint64_t operation = 0) {
    log_.push_back(Field(VmcsField::kExitReason, reason, operation));
    log_.push_back(Field(VmcsField::kVmExitInterruptionInformation, 0, operation));
    log_.push_back(Field(VmcsField::kIdtVectoringInformation, 0, operation));
  }
  void SeeExit(ExitReason reason) { SeeExit(static_cast<uint32_t>(reason)); }
  void L1(std::vector<lhv::Operation> operations) { program_.cpus[0].l1 = std::move(operations); }

  // What becomes of a difference behind what has been seen.
  Explained Explain(std::optional<lhv::Observation> reference,
                    std::optional<lhv::Observation> machine, CpuEnd end = CpuEnd::kComplete,
                    CpuEnd reference_end = CpuEnd::kComplete) {
    return ExplainAt({0, log_.size(), reference, machine, reference_end, end}, log_);
  }
  // The machine has stopped, and of what it saw nothing is left.
  Explained ExplainLoss(const lhv::Observation& first) {
    const std::vector<lhv::Observation> nothing;
    return ExplainAt({0, 0, first, std::nullopt, CpuEnd::kComplete, CpuEnd::kShutdown}, nothing);
  }
  Explained ExplainField(VmcsField field, uint64_t reference, uint64_t machine) {
    return Explain(Field(field, reference), Field(field, machine));
  }

  lhv::GuestProgram program_;
  std::vector<lhv::Observation> log_;

 private:
  Explained ExplainAt(const Difference& difference, const std::vector<lhv::Observation>& machine) {
    const Capabilities hardware = SimulatedCapabilities();
    for (const MachineDifference& row : AllMachineDifferences()) {
      const Explained explained = row.matches({program_, hardware, difference, log_, machine});
      if (explained != Explained::kNot) return explained;
    }
    return Explained::kNot;
  }
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_MACHINE_DIFFERENCES_FIXTURE_H_
