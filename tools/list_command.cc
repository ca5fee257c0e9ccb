// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "backends/sim/explorer/explorer.h"
#include "backends/sim/explorer/scenario.h"
#include "backends/sim/profiles/profile.h"
#include "tools/command_line.h"
#include "tools/commands.h"

namespace nvmx::tools {
namespace {

std::string Expectation(const sim::Scenario& scenario) {
  if (scenario.expects_merge) return "completes, merges";
  if (scenario.expects_exchange) return "completes, exchanges";
  return sim::Name(scenario.expected);
}

// What was found, in the same words.
std::string Found(const sim::Scenario& scenario, const sim::ExploreResult& result) {
  if (!result.exhausted) return "cut off";
  std::string found = sim::Name(result.verdict());
  if (scenario.expects_merge && result.merges) found += ", merges";
  if (scenario.expects_exchange && result.exchanges) found += ", exchanges";
  return found;
}

}  // namespace

int RunList(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) return Complain("list takes no arguments");
  for (const std::string& name : sim::ScenarioNames()) {
    absl::StatusOr<sim::Scenario> scenario = sim::LoadScenario(name);
    if (!scenario.ok()) return Complain(std::string(scenario.status().message()));
    absl::PrintF("%-26s %-21s %s\n", name, Expectation(*scenario), scenario->summary);
  }
  absl::PrintF("\nprocessors\n");
  for (const sim::ProfileFile& file : sim::ProfileFiles()) {
    const absl::StatusOr<sim::Profile> profile = sim::ReadProfile(file.path, file.text);
    if (!profile.ok()) return Complain(std::string(profile.status().message()));
    absl::PrintF("%-26s %s\n", file.name, profile->processor);
  }
  return kAsExpected;
}

int RunVerdicts(const std::vector<std::string>& arguments) {
  if (!arguments.empty()) return Complain("verdicts takes no arguments");
  int status = kAsExpected;
  absl::PrintF("%-26s %4s  %-21s %-21s %9s %11s %8s\n", "scenario", "CPUs", "expected", "found",
               "states", "transitions", "seconds");
  for (const std::string& name : sim::ScenarioNames()) {
    absl::StatusOr<sim::Scenario> scenario = sim::LoadScenario(name);
    if (!scenario.ok()) return Complain(std::string(scenario.status().message()));
    absl::StatusOr<sim::ExploreResult> result = sim::Explore(*scenario, {});
    if (!result.ok()) return Complain(std::string(result.status().message()));
    const std::string expected = Expectation(*scenario);
    const std::string found = Found(*scenario, *result);
    if (expected != found) status = kNotAsExpected;
    absl::PrintF("%-26s %4d  %-21s %-21s %9d %11d %8.3f%s\n", name, scenario->cpus, expected, found,
                 result->states, result->transitions, result->seconds,
                 expected == found ? "" : "  DIFFERS");
  }
  return status;
}

}  // namespace nvmx::tools
