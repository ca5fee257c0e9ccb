// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/fit_for_machines.h"

#include "backends/sim/program/not_comparable.h"

namespace nvmx::sim {

std::string WhyUnfitForMachines(const lhv::GuestProgram& program, const ProgramResult& reference) {
  for (const CpuResult& cpu : reference.cpus) {
    switch (cpu.end) {
      case CpuEnd::kShutdown:
      case CpuEnd::kWaitsForSipi:
      case CpuEnd::kStepLimit:
        return Name(cpu.end);
      default:
        break;
    }
  }
  return WhyNotComparable(program);
}

}  // namespace nvmx::sim
