// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_checks.h"

#include "core/nested/entry_conditions.h"
#include "core/nested/entry_rules.h"
#include "core/nested/entry_segments.h"
#include "core/nested/ept12.h"
#include "core/nested/msr_lists.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/address.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx {
namespace {

EntryOutcome Refuse(VmInstructionError error, EntryRuleNumber rule) {
  return EntryOutcome::Fail(VmxOutcome::FailValid(error), RuleOf(rule).name);
}

EntryOutcome FailEntry(uint64_t qualification, EntryRuleNumber rule) {
  return EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState, qualification,
                                    RuleOf(rule).name);
}

}  // namespace

std::optional<EntryOutcome> CheckControlsAndHostState(const VmcsImage& v, const Capabilities& c,
                                                      const EntrySurroundings& e) {
#define NVMX_CONTROL_RULE(name, condition, source)                                                 \
  if (!(condition)) {                                                                              \
    return Refuse(VmInstructionError::kVmEntryWithInvalidControlFields, EntryRuleNumber::k##name); \
  }
#include "core/nested/entry_rules.def"
#define NVMX_HOST_RULE(name, condition, source)                           \
  if (!(condition)) {                                                     \
    return Refuse(VmInstructionError::kVmEntryWithInvalidHostStateFields, \
                  EntryRuleNumber::k##name);                              \
  }
#include "core/nested/entry_rules.def"
  return std::nullopt;
}

std::optional<EntryOutcome> CheckGuestState(const VmcsImage& v, const Capabilities& c,
                                            const EntrySurroundings& e) {
#define NVMX_GUEST_RULE(name, qualification, condition, source) \
  if (!(condition)) return FailEntry(qualification, EntryRuleNumber::k##name);
#define NVMX_GUEST_REGISTER_RULE NVMX_GUEST_RULE
#define NVMX_GUEST_SEGMENT_RULE(name, qualification, condition, source) \
  NVMX_GUEST_RULE(name, qualification, e.segments_are_as_l2_left_them || (condition), source)
#define NVMX_GUEST_NON_REGISTER_RULE NVMX_GUEST_RULE
#include "core/nested/entry_rules.def"
#undef NVMX_GUEST_RULE
  return std::nullopt;
}

}  // namespace nvmx
