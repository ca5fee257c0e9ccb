// SPDX-License-Identifier: Apache-2.0
//
// The rules of VM entry as values: their names and where the SDM has them. What they say is in
// entry_checks.h.
#ifndef NVMX_CORE_NESTED_ENTRY_RULES_H_
#define NVMX_CORE_NESTED_ENTRY_RULES_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/vmx/outcomes.h"

namespace nvmx {

// A row of entry_rules.def.
struct EntryRule {
  const char* name;
  const char* source;  // volume, section number and title
};

// The number of each rule, in the order in which they are applied.
enum class EntryRuleNumber : uint16_t {
#define NVMX_RULE(name, condition, source) k##name,
#define NVMX_GUEST_RULE(name, qualification, condition, source) k##name,
#define NVMX_CONTROL_RULE NVMX_RULE
#define NVMX_HOST_RULE NVMX_RULE
#define NVMX_GUEST_REGISTER_RULE NVMX_GUEST_RULE
#define NVMX_GUEST_SEGMENT_RULE NVMX_GUEST_RULE
#define NVMX_GUEST_NON_REGISTER_RULE NVMX_GUEST_RULE
#include "core/nested/entry_rules.def"
#undef NVMX_RULE
#undef NVMX_GUEST_RULE
  kCount,  // how many there are; no rule
};

const EntryRule& RuleOf(EntryRuleNumber number);

// The number of the rule that an outcome of entry_checks.h names. Nothing if it names none.
std::optional<EntryRuleNumber> BrokenRule(const EntryOutcome& outcome);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_ENTRY_RULES_H_
