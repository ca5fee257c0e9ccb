// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/explanation.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/sim/program/difference_text.h"
#include "lhv/observation_text.h"
#include "lhv/operation_text.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;

// Where an observation comes from: several in a row can come from one operation.
struct Place {
  uint32_t level;
  uint64_t operation;
  friend bool operator==(const Place&, const Place&) = default;
};

std::string OperationAt(const lhv::CpuProgram& program, const Place& place) {
  const std::vector<lhv::Operation>& code = place.level == 1 ? program.l1 : program.l2;
  if (place.operation >= code.size()) return "";
  return absl::StrCat("    ", lhv::OperationText(program, code[place.operation]), "\n");
}

std::string CpuText(const lhv::CpuProgram& program, const CpuResult& result) {
  std::string text;
  std::optional<Place> last;
  size_t refused = 0;
  for (size_t at = 0; at <= result.log.size(); ++at) {
    for (;
         refused < result.refused_entries.size() && result.refused_entries[refused].position == at;
         ++refused) {
      absl::StrAppend(&text, "    ", RuleText(result.refused_entries[refused]), "\n");
    }
    if (at == result.log.size()) break;
    const Observation& observation = result.log[at];
    const Place place{observation.level, observation.operation};
    if (place != last) absl::StrAppend(&text, OperationAt(program, place));
    last = place;
    absl::StrAppend(&text, "  ", lhv::ToString(observation), "\n");
  }
  absl::StrAppend(&text, "  ends: ", Name(result.end), "\n");
  return text;
}

}  // namespace

std::string ExplanationText(const lhv::GuestProgram& program, const Comparison& comparison) {
  std::string text =
      absl::StrCat(program.name, program.name.empty() ? "" : ": ", Name(comparison.likeness), "\n",
                   DifferenceText(program, comparison));
  for (size_t cpu = 0; cpu < comparison.nested.cpus.size(); ++cpu) {
    absl::StrAppend(&text, "\nCPU ", cpu, " on the core\n",
                    CpuText(program.cpus[cpu], comparison.nested.cpus[cpu]));
  }
  return text;
}

}  // namespace nvmx::sim
