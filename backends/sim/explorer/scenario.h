// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_EXPLORER_SCENARIO_H_
#define NVMX_BACKENDS_SIM_EXPLORER_SCENARIO_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/machine/machine.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// What became of a set of schedules. Worse ones come later.
enum class Verdict : uint8_t {
  kCompletes,           // every schedule ends with all programs at their end
  kLockBeforeSettling,  // a lock was asked for between an NMI exit and its settlement
  kNmiStolen,           // a guest was given an NMI that nobody had sent it
  kNmiLost,             // L0 dropped an NMI that was a guest's
  kL0Failed,            // an assertion of L0's, or a VM entry that hardware refused
  kDeadlock,            // nobody can move, and somebody is not at its end
};
const char* Name(Verdict verdict);

// A named set-up: guest programs, how many CPUs, which variant of the code, and what must come out.
struct Scenario {
  std::string name;
  std::string summary;
  std::string file_name;
  std::string variant = "correct";
  uint32_t cpus = 2;
  bool log_mtrr_writes = true;
  // NMIs that devices may send, to any CPU at any time.
  uint32_t device_nmis = 0;
  Verdict expected = Verdict::kCompletes;
  // The scenario is about the latch merging two NMIs, or about a device's NMI and L0's changing
  // places: some schedule must show it.
  bool expects_merge = false;
  bool expects_exchange = false;
  lhv::GuestProgram program;
};

// Changes that a person asks for. Zero or empty: as the scenario says.
struct ScenarioChanges {
  uint32_t cpus = 0;
  std::string variant;
  int device_nmis = -1;
};

// A scenario of the collection, by name, or of a file, if the name is a path (has a '/' or ends in
// ".yaml"). NotFound, or InvalidArgument with "file:line:column: ..." .
absl::StatusOr<Scenario> LoadScenario(const std::string& name_or_path,
                                      const ScenarioChanges& changes = {});

// The same from text.
absl::StatusOr<Scenario> ParseScenario(const std::string& name, const std::string& file_name,
                                       const std::string& text, const ScenarioChanges& changes);

// The names of the collection, in the order in which they are best read.
std::vector<std::string> ScenarioNames();

// Makes the changes, but for those that need the program to be assembled again. InvalidArgument if
// one is out of range.
absl::Status ApplyChanges(const ScenarioChanges& changes, Scenario& scenario);

// A machine for it. The scenario must outlive it.
absl::StatusOr<std::unique_ptr<Machine>> BuildMachine(const Scenario& scenario, bool keep_trace,
                                                      bool enable_keys = false);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_EXPLORER_SCENARIO_H_
