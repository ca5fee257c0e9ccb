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
#include <utility>
#include <vector>

#include "core/nested/entry_surroundings.h"
#include "core/testing/builders.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"
#include "core/vmx/vmcs_image.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx {

// What the checks of VM entry look at: valid at first.
struct EntrySubject {
  Capabilities offered = BuildOfferedCapabilities();
  VmcsImage v = ValidVmcs12(offered);
  EntrySurroundings e;

  // Sets or clears bits of a field.
  void SetBits(VmcsField field, uint64_t bits) { v.Write(field, v.Read(field) | bits); }
  void ClearBits(VmcsField field, uint64_t bits) { v.Write(field, v.Read(field) & ~bits); }
};

struct EntryChange {
  std::string what;
  std::function<void(EntrySubject&)> apply;
};
using EntryChanges = std::vector<EntryChange>;

// The field with another value, or with these bits inverted.
template <VmcsField F>
EntryChange Setting(std::string what, uint64_t value) {
  return {std::move(what), [value](EntrySubject& s) { s.v.Set<F>(value); }};
}
template <VmcsField F>
EntryChange Flipping(std::string what, uint64_t bits) {
  return {std::move(what), [bits](EntrySubject& s) { s.v.Set<F>(s.v.Get<F>() ^ bits); }};
}

// Makes the guest one of 32-bit protected mode.
inline void LeaveIa32eMode(EntrySubject& s) {
  s.ClearBits(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
  s.ClearBits(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma);
  s.v.Set<VmcsField::kGuestCsAccessRights>(0xC09B);
}

// Activates secondary controls, these among them.
inline void UseSecondary(EntrySubject& s, uint32_t controls) {
  s.SetBits(VmcsField::kPrimaryProcessorBasedControls,
            PrimaryProcessorBased::kActivateSecondaryControls);
  s.SetBits(VmcsField::kSecondaryProcessorBasedControls, controls);
}

// Makes the guest an unrestricted one.
inline void BeUnrestricted(EntrySubject& s) {
  UseSecondary(s, Secondary::kEnableEpt | Secondary::kUnrestrictedGuest);
  constexpr uint64_t kEptp = 0x5000 | 3 << 3 | 6;  // a walk of 4 levels, write-back
  s.v.Set<VmcsField::kEptPointer>(kEptp);
}

// Makes L1, and so its host state, one of 32-bit protected mode.
inline void BeUnder32BitL1(EntrySubject& s) {
  LeaveIa32eMode(s);
  s.e.l1_in_ia32e_mode = false;
  s.ClearBits(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize | VmExit::kLoadIa32Efer);
}

// Makes the guest one of virtual-8086 mode.
inline void EnterVirtual8086Mode(EntrySubject& s) {
  LeaveIa32eMode(s);
  s.SetBits(VmcsField::kGuestRflags, Rflags::kVm);
  for (uint32_t i = 0; i < 6; ++i) {
    const auto of_segment = [i](VmcsField of_es) {
      return static_cast<VmcsField>(static_cast<uint32_t>(of_es) + 2 * i);
    };
    const uint64_t selector = 0x1000 + i;
    s.v.Write(of_segment(VmcsField::kGuestEsSelector), selector);
    s.v.Write(of_segment(VmcsField::kGuestEsBase), selector << 4);
    s.v.Write(of_segment(VmcsField::kGuestEsLimit), 0xFFFF);
    s.v.Write(of_segment(VmcsField::kGuestEsAccessRights), 0xF3);
  }
}

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
