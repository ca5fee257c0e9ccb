// SPDX-License-Identifier: Apache-2.0
//
// Many generated programs, compared; and whether that said anything.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_CAMPAIGN_H_
#define NVMX_BACKENDS_SIM_PROGRAM_CAMPAIGN_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "backends/sim/program/comparison.h"
#include "backends/sim/program/generator/generator.h"
#include "lhv/assembled.h"

namespace nvmx::sim {

// What the programs of a campaign reached on the reference. A campaign without differences is worth
// as much as this says.
struct Reached {
  static constexpr size_t kExitReasons = 80;
  static constexpr size_t kVmInstructionErrors = 32;

  uint64_t programs = 0;
  uint64_t entered_l2 = 0;  // programs in which L2 ran or exited
  uint64_t entry_failures = 0;
  std::array<uint64_t, kExitReasons> exits{};            // programs with such an exit, by reason
  std::array<uint64_t, kExitReasons> failures{};         // the same of VM-entry failures
  std::array<uint64_t, kVmInstructionErrors> vmfails{};  // programs with such an error
  std::array<uint64_t, 256> vectors{};                   // programs with such an event delivered
  std::map<CpuEnd, uint64_t> ends;

  void Add(const ProgramResult& reference);
};

// A kind of difference, and the first program that showed it.
struct ProgramFinding {
  std::string signature;
  uint64_t count = 0;
  uint64_t number = 0;  // of the program, in its seed
};

struct CampaignResult {
  std::map<Likeness, uint64_t> likenesses;
  std::map<std::string, uint64_t> declared;
  Reached reached;
  std::vector<ProgramFinding> findings;  // in the order in which they were found
  double seconds = 0;                    // of one processor
};

struct CampaignOptions {
  GeneratorOptions generator;
  uint64_t first = 0;
  uint64_t count = 1000;
  // Of the processors that the programs run on.
  Capabilities hardware = SimulatedCapabilities();
  // NestedMachine::GiveShadowVmcs().
  bool l1_has_shadow_vmcs = false;
  // Called after each program; false ends the campaign.
  std::function<bool(uint64_t number)> progress;
};

CampaignResult RunCampaign(const CampaignOptions& options);

// What the difference is about, without the values in it: two programs with the same signature
// probably show the same defect.
std::string SignatureOf(const lhv::GuestProgram& program, const Comparison& comparison);

// The result for a person; a table.
std::string CampaignText(const CampaignResult& result);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_CAMPAIGN_H_
