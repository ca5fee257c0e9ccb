// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_rules.h"

#include <array>

namespace nvmx {
namespace {

constexpr std::array<EntryRule, static_cast<size_t>(EntryRuleNumber::kCount)> kRules = {{
#define NVMX_RULE(name, condition, source) {#name, source},
#define NVMX_GUEST_RULE(name, qualification, condition, source) {#name, source},
#define NVMX_CONTROL_RULE NVMX_RULE
#define NVMX_HOST_RULE NVMX_RULE
#define NVMX_GUEST_REGISTER_RULE NVMX_GUEST_RULE
#define NVMX_GUEST_SEGMENT_RULE NVMX_GUEST_RULE
#define NVMX_GUEST_NON_REGISTER_RULE NVMX_GUEST_RULE
#include "core/nested/entry_rules.def"
#undef NVMX_RULE
#undef NVMX_GUEST_RULE
}};

}  // namespace

const EntryRule& RuleOf(EntryRuleNumber number) { return kRules[static_cast<size_t>(number)]; }

std::optional<EntryRuleNumber> BrokenRule(const EntryOutcome& outcome) {
  if (outcome.rule() == nullptr) return std::nullopt;
  for (size_t number = 0; number < kRules.size(); ++number) {
    // The name itself, not its letters: such an outcome has it from this table.
    if (outcome.rule() == kRules[number].name) return static_cast<EntryRuleNumber>(number);
  }
  return std::nullopt;
}

}  // namespace nvmx
