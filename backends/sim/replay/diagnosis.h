// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_REPLAY_DIAGNOSIS_H_
#define NVMX_BACKENDS_SIM_REPLAY_DIAGNOSIS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backends/sim/explorer/scenario.h"
#include "backends/sim/machine/machine.h"

namespace nvmx::sim {

// What one CPU waits for, and which other CPUs would have to do something for it.
struct Wait {
  std::string what;                // "print_lock to be free", "quiesce_acknowledged = 1"
  std::string now;                 // its present value in words
  std::string thing;               // short: "print_lock", "the acknowledgement of CPU 1"
  std::vector<uint32_t> for_cpus;  // nobody: nothing that a CPU still does can end it
};

// The wait of a CPU that stands at a spin; nothing otherwise.
std::optional<Wait> WaitOf(const Machine& machine, uint32_t cpu);

// The locks that a CPU holds.
std::vector<std::string> LocksHeldBy(const Machine& machine, uint32_t cpu);

// The CPUs of a cycle of waits, in order, each waiting for the next and the last for the first;
// empty if there is none.
std::vector<uint32_t> FindCycle(const Machine& machine);

// "CPU 0 -> print_lock, held by CPU 1 -> the acknowledgement of CPU 0"; for no cycle, who waits for
// nobody.
std::string DescribeCycle(const Machine& machine);

// One sentence: which rule was broken, by whom, at which step.
std::string DescribeReason(const Machine& machine);

// "L0, handling a VM exit from L2: exit reason 0 (Exception or NMI)", "L2, at vmcall (file:12)".
std::string DescribePlace(const Scenario& scenario, const Machine& machine, uint32_t cpu);

// "step 33: quiesce NMI, consumed by a VM exit from L2, not acknowledged".
std::string DescribeLastNmi(const Machine& machine, uint32_t cpu);

// "blocked since the NMI exit of step 33; latch empty".
std::string DescribeNmiState(const Machine& machine, uint32_t cpu);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_REPLAY_DIAGNOSIS_H_
