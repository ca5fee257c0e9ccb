// SPDX-License-Identifier: Apache-2.0
//
// The cases of the rules of VM entry about EPT, VPIDs, VM functions and the page-modification log
// (entry_rule_cases.h).
#ifndef NVMX_CORE_TESTING_NESTED_PAGING_RULE_CASES_H_
#define NVMX_CORE_TESTING_NESTED_PAGING_RULE_CASES_H_

#include <cstdint>
#include <string>

#include "core/testing/entry_rule_cases.h"
#include "core/vmx/ept.h"

namespace nvmx {

// An EPT pointer that each of the offered CPUs accepts: write-back, a walk of 4 levels.
inline constexpr uint64_t kEptp4 = 3 << 3 | 6;

// With EPT and that EPT pointer, after the change.
inline EntryChange EptpOf(
    std::string what, uint64_t eptp,
    std::function<void(EntrySubject&)> change = [](EntrySubject&) {}) {
  return {std::move(what), [=](EntrySubject& s) {
            change(s);
            UseSecondary(s, Secondary::kEnableEpt);
            s.v.Set<VmcsField::kEptPointer>(eptp);
          }};
}

// These secondary controls, with a valid EPT pointer.
inline void UseWithEptp(EntrySubject& s, uint32_t secondary) {
  UseSecondary(s, secondary);
  s.v.Set<VmcsField::kEptPointer>(kEptp4 | 0x5000);
}
inline EntryChange With(std::string what, uint32_t secondary) {
  return {std::move(what), [=](EntrySubject& s) { UseWithEptp(s, secondary); }};
}

// EPTP switching, as these secondary controls permit it.
inline void UseEptpSwitching(EntrySubject& s, uint32_t secondary) {
  UseWithEptp(s, secondary);
  s.v.Set<VmcsField::kVmFunctionControls>(VmFunction::kEptpSwitching);
}
inline constexpr uint32_t kEptAndVmFunctions =
    Secondary::kEnableEpt | Secondary::kEnableVmFunctions;

inline EntryChange EptpListAt(std::string what, uint64_t address) {
  return {std::move(what), [=](EntrySubject& s) {
            UseEptpSwitching(s, kEptAndVmFunctions);
            s.v.Set<VmcsField::kEptpListAddress>(address);
          }};
}
inline EntryChange LogAt(std::string what, uint64_t address) {
  return {std::move(what), [=](EntrySubject& s) {
            UseWithEptp(s, Secondary::kEnableEpt | Secondary::kEnablePml);
            s.v.Set<VmcsField::kPmlAddress>(address);
          }};
}

// The width of physical addresses is 39 bits.
inline constexpr uint64_t kBeyondTheWidth = uint64_t{1} << 39;

struct Vpid {
  static EntryChanges Breaking() { return {With("0", Secondary::kEnableVpid)}; }
  static EntryChanges Accepted() {
    const auto vpid = [](uint64_t value) {
      return [value](EntrySubject& s) {
        UseSecondary(s, Secondary::kEnableVpid);
        s.v.Set<VmcsField::kVirtualProcessorIdentifier>(value);
      };
    };
    return {{"1", vpid(1)},
            {"FFFFH", vpid(0xFFFF)},
            With("0, not enabled", 0),
            Setting<VmcsField::kSecondaryProcessorBasedControls>("0, not activated",
                                                                 Secondary::kEnableVpid)};
  }
};

struct EptPointer {
  static void WithoutWriteBack(EntrySubject& s) { Lack(s, EptVpidCap::kWriteBack); }
  static void WithoutUncacheable(EntrySubject& s) { Lack(s, EptVpidCap::kUncacheable); }
  static void WithoutFlags(EntrySubject& s) { Lack(s, EptVpidCap::kAccessedAndDirtyFlags); }
  static void With5Levels(EntrySubject& s) {
    s.offered.ept_vpid_cap |= EptVpidCap::kPageWalkLength5;
  }
  static void WithShadowStacks(EntrySubject& s) {
    s.offered.ept_vpid_cap |= EptVpidCap::kSupervisorShadowStackControl;
  }
  static EntryChanges Breaking() {
    EntryChanges changes = {EptpOf("WB, which the CPU lacks", kEptp4, &WithoutWriteBack),
                            EptpOf("UC, which the CPU lacks", 3 << 3, &WithoutUncacheable),
                            EptpOf("5 levels, which the CPU lacks", 4 << 3 | 6),
                            EptpOf("flags, which the CPU lacks", kEptp4 | 1 << 6, &WithoutFlags),
                            EptpOf("a bit beyond the width", kEptp4 | kBeyondTheWidth),
                            EptpOf("bit 63", kEptp4 | uint64_t{1} << 63)};
    for (uint64_t type : {1, 2, 3, 4, 5, 7}) {
      changes.push_back(EptpOf("memory type " + std::to_string(type), 3 << 3 | type));
    }
    for (uint64_t length : {0, 1, 2, 5, 6, 7}) {
      changes.push_back(EptpOf("walk length field " + std::to_string(length), length << 3 | 6));
    }
    for (unsigned bit = 7; bit <= 11; ++bit) {
      changes.push_back(EptpOf("bit " + std::to_string(bit), kEptp4 | uint64_t{1} << bit));
    }
    return changes;
  }
  static EntryChanges Accepted() {
    return {EptpOf("WB, 4 levels", kEptp4),
            EptpOf("UC", 3 << 3),
            EptpOf("5 levels", 4 << 3 | 6, &With5Levels),
            EptpOf("flags", kEptp4 | 1 << 6),
            EptpOf("bit 7, which means something", kEptp4 | 1 << 7, &WithShadowStacks),
            EptpOf("the last page", kEptp4 | (kBeyondTheWidth - 0x1000)),
            Setting<VmcsField::kEptPointer>("anything, not enabled", ~uint64_t{0})};
  }

 private:
  static void Lack(EntrySubject& s, uint64_t capability) { s.offered.ept_vpid_cap &= ~capability; }
};

struct PmlNeedsEpt {
  static EntryChanges Breaking() { return {With("PML alone", Secondary::kEnablePml)}; }
  static EntryChanges Accepted() {
    return {With("both", Secondary::kEnableEpt | Secondary::kEnablePml),
            With("EPT alone", Secondary::kEnableEpt)};
  }
};

struct PmlAddress {
  static EntryChanges Breaking() {
    return {LogAt("bit 0", 0x1001), LogAt("bit 11", 0x1800),
            LogAt("beyond the width", kBeyondTheWidth)};
  }
  static EntryChanges Accepted() {
    return {LogAt("0", 0), LogAt("the last page", kBeyondTheWidth - 0x1000),
            Setting<VmcsField::kPmlAddress>("not used", ~uint64_t{0})};
  }
};

struct UnrestrictedGuestNeedsEpt {
  static EntryChanges Breaking() {
    return {With("unrestricted guest alone", Secondary::kUnrestrictedGuest)};
  }
  static EntryChanges Accepted() {
    return {With("both", Secondary::kEnableEpt | Secondary::kUnrestrictedGuest)};
  }
};

struct VmFunctionReservedBits {
  static EntryChange Functions(std::string what, uint64_t functions) {
    return {std::move(what), [=](EntrySubject& s) {
              UseWithEptp(s, kEptAndVmFunctions);
              s.v.Set<VmcsField::kVmFunctionControls>(functions);
            }};
  }
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (unsigned bit = 1; bit < 64; ++bit) {
      changes.push_back(Functions("function " + std::to_string(bit), uint64_t{1} << bit));
    }
    changes.push_back({"EPTP switching, which the CPU lacks", [](EntrySubject& s) {
                         s.offered.vmfunc = 0;
                         UseEptpSwitching(s, kEptAndVmFunctions);
                       }});
    return changes;
  }
  static EntryChanges Accepted() {
    return {Functions("none", 0), Functions("EPTP switching", VmFunction::kEptpSwitching),
            Setting<VmcsField::kVmFunctionControls>("all, not enabled", ~uint64_t{0})};
  }
};

struct EptpSwitchingNeedsEpt {
  static EntryChanges Breaking() {
    return {{"EPTP switching without EPT",
             [](EntrySubject& s) { UseEptpSwitching(s, Secondary::kEnableVmFunctions); }}};
  }
  static EntryChanges Accepted() {
    return {{"with EPT", [](EntrySubject& s) { UseEptpSwitching(s, kEptAndVmFunctions); }},
            With("VM functions without any function", Secondary::kEnableVmFunctions)};
  }
};

struct EptpListAddress {
  static EntryChanges Breaking() {
    return {EptpListAt("bit 0", 0x1001), EptpListAt("bit 11", 0x1800),
            EptpListAt("beyond the width", kBeyondTheWidth)};
  }
  static EntryChanges Accepted() {
    return {EptpListAt("0", 0),
            EptpListAt("the last page", kBeyondTheWidth - 0x1000),
            {"not used", [](EntrySubject& s) {
               UseWithEptp(s, kEptAndVmFunctions);
               s.v.Set<VmcsField::kEptpListAddress>(~uint64_t{0});
             }}};
  }
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_NESTED_PAGING_RULE_CASES_H_
