// SPDX-License-Identifier: Apache-2.0
//
// For the tests of entry_rules.def: each rule has a struct of its own name with the changes to a
// valid VMCS12 that break it, and the neighbouring ones that it must accept. A list of cases is
// made from the table of the rules, so a rule without a struct does not compile.
#ifndef NVMX_CORE_TESTING_ENTRY_RULE_CASES_H_
#define NVMX_CORE_TESTING_ENTRY_RULE_CASES_H_

#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "core/testing/builders.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_image.h"
#include "gtest/gtest.h"

namespace nvmx {

// What the checks of VM entry look at: valid at first.
struct EntrySubject {
  Capabilities offered = BuildOfferedCapabilities();
  VmcsImage v = ValidVmcs12(offered);

  // Sets or clears bits of a field.
  void SetBits(VmcsField field, uint64_t bits) { v.Write(field, v.Read(field) | bits); }
  void ClearBits(VmcsField field, uint64_t bits) { v.Write(field, v.Read(field) & ~bits); }
};

struct EntryChange {
  std::string what;
  std::function<void(EntrySubject&)> apply;
};
using EntryChanges = std::vector<EntryChange>;

struct EntryRuleCase {
  std::string rule;
  // The exit qualification that a rule about guest state gives.
  uint64_t qualification;
  std::string_view source;
  EntryChanges breaking;
  EntryChanges accepted;
};
inline void PrintTo(const EntryRuleCase& c, std::ostream* os) { *os << c.rule; }

inline std::string RuleName(const testing::TestParamInfo<EntryRuleCase>& info) {
  return info.param.rule;
}

// Calls check(subject, what) for the subject after each change.
template <typename Check>
void ForEachChange(const EntryChanges& changes, Check check) {
  EXPECT_FALSE(changes.empty());
  for (const EntryChange& change : changes) {
    SCOPED_TRACE(change.what);
    EntrySubject subject;
    change.apply(subject);
    check(subject);
  }
}

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_ENTRY_RULE_CASES_H_
