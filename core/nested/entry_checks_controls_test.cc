// SPDX-License-Identifier: Apache-2.0
//
// Every NVMX_CONTROL_RULE of entry_rules.def: what breaks it is refused with VMfailValid 7 by that
// rule, and its neighbours are accepted.
#include "core/nested/entry_checks.h"
#include "core/testing/entry_rule_cases.h"
#include "core/testing/matchers.h"
#include "core/testing/nested_paging_rule_cases.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/msr_list.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using S = EntrySubject;

constexpr VmcsField kPin = VmcsField::kPinBasedControls;
constexpr VmcsField kPrimary = VmcsField::kPrimaryProcessorBasedControls;
constexpr VmcsField kSecondary = VmcsField::kSecondaryProcessorBasedControls;
constexpr VmcsField kExit = VmcsField::kVmExitControls;
constexpr VmcsField kEntry = VmcsField::kVmEntryControls;

// Clears each bit that must be 1 and sets each that must be 0, one at a time.
EntryChanges EachReservedBit(VmcsField field, uint64_t capability) {
  EntryChanges changes;
  for (unsigned bit = 0; bit < 32; ++bit) {
    const auto mask = uint64_t{1} << bit;
    if ((capability & mask) != 0) {
      changes.push_back({"bit " + std::to_string(bit) + " is 0",
                         [field, mask](S& s) { s.ClearBits(field, mask); }});
    } else if ((capability >> 32 & mask) == 0) {
      changes.push_back({"bit " + std::to_string(bit) + " is 1",
                         [field, mask](S& s) { s.SetBits(field, mask); }});
    }
  }
  return changes;
}

// On a CPU without the TRUE capability MSRs the default1 controls must be 1.
void WithoutTrueMsrs(S& s) {
  s.offered.basic &= ~VmxBasic::kTrueControls;
  s.offered.true_pinbased_ctls = 0;
  s.offered.true_procbased_ctls = 0;
  s.offered.true_exit_ctls = 0;
  s.offered.true_entry_ctls = 0;
  s.v = ValidVmcs12(s.offered);
}

void Inject(S& s, InterruptionInformation event) {
  s.v.Set<VmcsField::kVmEntryInterruptionInformation>(event.value());
}
EntryChange Injecting(const char* what, InterruptionType type, uint8_t vector,
                      bool error_code = false) {
  return {what, [=](S& s) { Inject(s, InterruptionInformation::Make(type, vector, error_code)); }};
}

struct PinBasedReservedBits {
  static EntryChanges Breaking() {
    return EachReservedBit(kPin, BuildOfferedCapabilities().PinBasedControls());
  }
  static EntryChanges Accepted() {
    return {{"no optional control",
             [](S& s) { s.ClearBits(kPin, PinBased::kNmiExiting | PinBased::kVirtualNmis); }},
            {"without the TRUE MSRs the others decide", WithoutTrueMsrs}};
  }
};

struct PrimaryProcessorBasedReservedBits {
  static EntryChanges Breaking() {
    EntryChanges changes =
        EachReservedBit(kPrimary, BuildOfferedCapabilities().PrimaryProcessorBasedControls());
    changes.push_back({"a default1 control is 0 and the CPU has no TRUE MSRs", [](S& s) {
                         WithoutTrueMsrs(s);
                         s.ClearBits(kPrimary, PrimaryProcessorBased::kCr3LoadExiting);
                       }});
    return changes;
  }
  static EntryChanges Accepted() {
    return {{"no optional control",
             [](S& s) { s.ClearBits(kPrimary, PrimaryProcessorBased::kHltExiting); }},
            {"every optional control", [](S& s) {
               s.SetBits(kPrimary, PrimaryProcessorBased::kHltExiting |
                                       PrimaryProcessorBased::kNmiWindowExiting);
             }}};
  }
};

struct SecondaryProcessorBasedReservedBits {
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (const EntryChange& change :
         EachReservedBit(kSecondary, BuildOfferedCapabilities().procbased_ctls2)) {
      changes.push_back({change.what, [change](S& s) {
                           UseSecondary(s, 0);
                           change.apply(s);
                         }});
    }
    return changes;
  }
  static EntryChanges Accepted() {
    return {{"none", [](S& s) { UseSecondary(s, 0); }},
            {"some", [](S& s) { UseSecondary(s, Secondary::kEnableRdtscp); }},
            Setting<kSecondary>("all, not activated", ~0u)};
  }
};

struct Cr3TargetCount {
  static EntryChanges Breaking() {
    return {Setting<VmcsField::kCr3TargetCount>("5 of 4", 5),
            {"1, none offered", [](S& s) {
               s.offered.misc &= ~VmxMisc::kCr3TargetCount;
               s.v.Set<VmcsField::kCr3TargetCount>(1);
             }}};
  }
  static EntryChanges Accepted() {
    return {Setting<VmcsField::kCr3TargetCount>("0", 0),
            Setting<VmcsField::kCr3TargetCount>("4 of 4", 4)};
  }
};

// What a field that holds the address of a page must not and may hold; `turn_on` makes it count.
template <VmcsField Field>
EntryChange PageAt(std::string what, void (*turn_on)(S&), uint64_t address) {
  return {Name(Field) + (" " + what), [=](S& s) {
            turn_on(s);
            s.v.Set<Field>(address);
          }};
}
template <VmcsField Field>
EntryChanges BadPages(void (*turn_on)(S&)) {
  const uint64_t end = uint64_t{1} << BuildOfferedCapabilities().physical_address_width;
  return {PageAt<Field>("not aligned", turn_on, 0x1800), PageAt<Field>("bit 0", turn_on, 0x1001),
          PageAt<Field>("beyond the width", turn_on, end),
          PageAt<Field>("bit 63", turn_on, uint64_t{1} << 63)};
}
template <VmcsField Field>
EntryChanges GoodPages(void (*turn_on)(S&)) {
  const uint64_t end = uint64_t{1} << BuildOfferedCapabilities().physical_address_width;
  return {PageAt<Field>("0", turn_on, 0), PageAt<Field>("the last page", turn_on, end - 0x1000),
          Setting<Field>("not used", ~uint64_t{0})};
}
EntryChanges Join(EntryChanges a, const EntryChanges& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
template <uint32_t Control>
void UsePrimary(S& s) {
  s.SetBits(kPrimary, Control);
}
void UseShadowing(S& s) { UseSecondary(s, Secondary::kVmcsShadowing); }
void UseApicAccesses(S& s) { UseSecondary(s, Secondary::kVirtualizeApicAccesses); }
constexpr auto kUseIo = &UsePrimary<PrimaryProcessorBased::kUseIoBitmaps>;
constexpr auto kUseMsr = &UsePrimary<PrimaryProcessorBased::kUseMsrBitmaps>;
constexpr auto kUseTpr = &UsePrimary<PrimaryProcessorBased::kUseTprShadow>;

struct IoBitmapAddresses {
  static EntryChanges Breaking() {
    return Join(BadPages<VmcsField::kIoBitmapAAddress>(kUseIo),
                BadPages<VmcsField::kIoBitmapBAddress>(kUseIo));
  }
  static EntryChanges Accepted() {
    return Join(GoodPages<VmcsField::kIoBitmapAAddress>(kUseIo),
                GoodPages<VmcsField::kIoBitmapBAddress>(kUseIo));
  }
};

struct MsrBitmapAddress {
  static EntryChanges Breaking() { return BadPages<VmcsField::kMsrBitmapAddress>(kUseMsr); }
  static EntryChanges Accepted() { return GoodPages<VmcsField::kMsrBitmapAddress>(kUseMsr); }
};

struct VirtualApicAddress {
  static EntryChanges Breaking() { return BadPages<VmcsField::kVirtualApicAddress>(kUseTpr); }
  static EntryChanges Accepted() { return GoodPages<VmcsField::kVirtualApicAddress>(kUseTpr); }
};

struct ApicAccessAddress {
  static EntryChanges Breaking() {
    return BadPages<VmcsField::kApicAccessAddress>(&UseApicAccesses);
  }
  static EntryChanges Accepted() {
    return Join(GoodPages<VmcsField::kApicAccessAddress>(&UseApicAccesses),
                {{"the control is 1, but secondary controls are not activated", [](S& s) {
                    UseApicAccesses(s);
                    s.ClearBits(kPrimary, PrimaryProcessorBased::kActivateSecondaryControls);
                    s.v.Set<VmcsField::kApicAccessAddress>(1);
                  }}});
  }
};

struct VmcsShadowingBitmaps {
  static EntryChanges Breaking() {
    return Join(BadPages<VmcsField::kVmreadBitmapAddress>(&UseShadowing),
                BadPages<VmcsField::kVmwriteBitmapAddress>(&UseShadowing));
  }
  static EntryChanges Accepted() {
    return Join(GoodPages<VmcsField::kVmreadBitmapAddress>(&UseShadowing),
                GoodPages<VmcsField::kVmwriteBitmapAddress>(&UseShadowing));
  }
};

struct TprThresholdReservedBits {
  static EntryChange Threshold(uint32_t threshold) {
    return {"threshold " + std::to_string(threshold), [=](S& s) {
              kUseTpr(s);
              s.e.vtpr = 0xF0;
              s.v.Set<VmcsField::kTprThreshold>(threshold);
            }};
  }
  static EntryChanges Breaking() { return {Threshold(0x10), Threshold(0x80000000)}; }
  static EntryChanges Accepted() {
    return {Threshold(0xF), Setting<VmcsField::kTprThreshold>("no TPR shadow", 0x10)};
  }
};

struct TprThreshold {
  static EntryChange Compare(uint32_t threshold, uint8_t vtpr) {
    return {"threshold " + std::to_string(threshold) + ", VTPR " + std::to_string(vtpr), [=](S& s) {
              kUseTpr(s);
              s.e.vtpr = vtpr;
              s.v.Set<VmcsField::kTprThreshold>(threshold);
            }};
  }
  static EntryChanges Breaking() { return {Compare(1, 0x0F), Compare(15, 0xE0)}; }
  static EntryChanges Accepted() {
    return {Compare(1, 0x10),
            Compare(15, 0xF0),
            Compare(0, 0),
            Setting<VmcsField::kTprThreshold>("no TPR shadow", 1),
            {"with virtualized APIC accesses it is not checked", [](S& s) {
               Compare(15, 0).apply(s);
               UseApicAccesses(s);
             }}};
  }
};

struct X2ApicModeNeedsTprShadow {
  static EntryChanges Breaking() {
    return {{"without", [](S& s) { UseSecondary(s, Secondary::kVirtualizeX2ApicMode); }}};
  }
  static EntryChanges Accepted() {
    return {{"with", [](S& s) {
               kUseTpr(s);
               UseSecondary(s, Secondary::kVirtualizeX2ApicMode);
             }}};
  }
};

struct X2ApicModeExcludesApicAccesses {
  static EntryChanges Breaking() {
    return {{"both", [](S& s) {
               kUseTpr(s);
               UseSecondary(s,
                            Secondary::kVirtualizeX2ApicMode | Secondary::kVirtualizeApicAccesses);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"APIC accesses", [](S& s) {
               kUseTpr(s);
               UseApicAccesses(s);
             }}};
  }
};

struct TscMultiplier {
  static EntryChange Multiplier(uint64_t multiplier) {
    return {std::to_string(multiplier), [=](S& s) {
              UseSecondary(s, Secondary::kUseTscScaling);
              s.v.Set<VmcsField::kTscMultiplier>(multiplier);
            }};
  }
  static EntryChanges Breaking() { return {Multiplier(0)}; }
  static EntryChanges Accepted() {
    return {Multiplier(1), Setting<VmcsField::kTscMultiplier>("0, not used", 0)};
  }
};

struct SavePreemptionTimerNeedsTimer {
  static EntryChanges Breaking() {
    return {{"save without timer",
             [](S& s) { s.SetBits(kExit, VmExit::kSaveVmxPreemptionTimerValue); }}};
  }
  static EntryChanges Accepted() {
    return {{"save with timer",
             [](S& s) {
               s.SetBits(kExit, VmExit::kSaveVmxPreemptionTimerValue);
               s.SetBits(kPin, PinBased::kActivateVmxPreemptionTimer);
             }},
            {"timer without save",
             [](S& s) { s.SetBits(kPin, PinBased::kActivateVmxPreemptionTimer); }}};
  }
};

struct VirtualNmisNeedNmiExiting {
  static EntryChanges Breaking() {
    return {{"virtual NMIs without NMI exiting",
             [](S& s) { s.ClearBits(kPin, PinBased::kNmiExiting); }}};
  }
  static EntryChanges Accepted() {
    return {{"NMI exiting without virtual NMIs",
             [](S& s) { s.ClearBits(kPin, PinBased::kVirtualNmis); }}};
  }
};

struct NmiWindowNeedsVirtualNmis {
  static EntryChanges Breaking() {
    return {{"NMI exiting only",
             [](S& s) {
               s.ClearBits(kPin, PinBased::kVirtualNmis);
               s.SetBits(kPrimary, PrimaryProcessorBased::kNmiWindowExiting);
             }},
            {"neither NMI control", [](S& s) {
               s.ClearBits(kPin, PinBased::kNmiExiting | PinBased::kVirtualNmis);
               s.SetBits(kPrimary, PrimaryProcessorBased::kNmiWindowExiting);
             }}};
  }
  static EntryChanges Accepted() {
    return {{"NMI window with virtual NMIs",
             [](S& s) { s.SetBits(kPrimary, PrimaryProcessorBased::kNmiWindowExiting); }}};
  }
};

struct VmExitReservedBits {
  static EntryChanges Breaking() {
    return EachReservedBit(kExit, BuildOfferedCapabilities().VmExitControls());
  }
  static EntryChanges Accepted() {
    return {{"nothing saved or loaded but what must be", [](S& s) {
               s.ClearBits(kExit, VmExit::kSaveDebugControls | VmExit::kSaveIa32Pat |
                                      VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer |
                                      VmExit::kLoadIa32Efer);
             }}};
  }
};

struct VmEntryReservedBits {
  static EntryChanges Breaking() {
    return EachReservedBit(kEntry, BuildOfferedCapabilities().VmEntryControls());
  }
  static EntryChanges Accepted() {
    return {{"nothing loaded but what must be", [](S& s) {
               s.ClearBits(kEntry, VmEntry::kLoadDebugControls | VmEntry::kLoadIa32Pat |
                                       VmEntry::kLoadIa32Efer);
             }}};
  }
};

// The three lists have the same rule; msr_list_area_test.cc has its details.
template <VmcsField Address, VmcsField Count>
struct MsrListRule {
  static EntryChange Area(const char* what, uint64_t address, uint64_t count) {
    return {what, [=](S& s) {
              s.v.Set<Address>(address);
              s.v.Set<Count>(count);
            }};
  }
  static EntryChanges Breaking() {
    const uint64_t end = uint64_t{1} << BuildOfferedCapabilities().physical_address_width;
    return {Area("not aligned", 0x1008, 1), Area("one entry beyond the width", end - 16, 2),
            Area("513 entries", 0x1000, 513), Area("bit 63 of the address", uint64_t{1} << 63, 1)};
  }
  static EntryChanges Accepted() {
    const uint64_t end = uint64_t{1} << BuildOfferedCapabilities().physical_address_width;
    return {Area("empty, address misaligned and too wide", ~uint64_t{0}, 0),
            Area("the last entry within the width", end - 16, 1), Area("512 entries", 0x1010, 512)};
  }
};
struct VmExitMsrStoreList
    : MsrListRule<VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount> {};
struct VmExitMsrLoadList
    : MsrListRule<VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount> {};
struct VmEntryMsrLoadList
    : MsrListRule<VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount> {};

struct InjectionType {
  static EntryChanges Breaking() {
    return {Injecting("type 1", InterruptionType::kReserved, 0),
            {"type 7, monitor trap flag not offered", [](S& s) {
               s.offered.true_procbased_ctls &=
                   ~(uint64_t{PrimaryProcessorBased::kMonitorTrapFlag} << 32);
               Inject(s, InterruptionInformation::MonitorTrapFlag());
             }}};
  }
  static EntryChanges Accepted() {
    return {Injecting("external interrupt", InterruptionType::kExternalInterrupt, 0x20),
            Injecting("hardware exception", InterruptionType::kHardwareException, 6),
            Injecting("pending MTF VM exit", InterruptionType::kOtherEvent, 0),
            {"type 1, not valid", [](S& s) {
               s.v.Set<VmcsField::kVmEntryInterruptionInformation>(
                   uint32_t{1} << InterruptionInformation::kTypeShift);
             }}};
  }
};

struct InjectionVector {
  static EntryChanges Breaking() {
    return {Injecting("NMI with vector 3", InterruptionType::kNmi, 3),
            Injecting("NMI with vector 0", InterruptionType::kNmi, 0),
            Injecting("hardware exception 32", InterruptionType::kHardwareException, 32),
            Injecting("hardware exception 255", InterruptionType::kHardwareException, 255),
            Injecting("other event 1", InterruptionType::kOtherEvent, 1)};
  }
  static EntryChanges Accepted() {
    return {Injecting("NMI with vector 2", InterruptionType::kNmi, 2),
            Injecting("hardware exception 31", InterruptionType::kHardwareException, 31),
            Injecting("external interrupt 255", InterruptionType::kExternalInterrupt, 255),
            {"NMI with vector 3, not valid",
             [](S& s) { s.v.Set<VmcsField::kVmEntryInterruptionInformation>(0x203); }}};
  }
};

// 27.2.1.3 names these seven; vector 21 (#CP) is among those that must not have one.
struct InjectionDeliversErrorCode {
  static bool Has(uint8_t vector) {
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
  }
  static EntryChange Exception(uint8_t vector, bool error_code) {
    return {"exception " + std::to_string(vector) + (error_code ? " with" : " without"), [=](S& s) {
              Inject(s, InterruptionInformation::Make(InterruptionType::kHardwareException, vector,
                                                      error_code));
            }};
  }
  // The change, on a CPU that injects any exception with or without an error code.
  static EntryChange OnRelaxedCpu(EntryChange change) {
    return {change.what + ", IA32_VMX_BASIC[56] is 1", [change](S& s) {
              s.offered.basic |= VmxBasic::kAnyHardwareExceptionErrorCode;
              change.apply(s);
            }};
  }
  // The change, before CR0.PE is cleared.
  static EntryChange InRealMode(EntryChange change) {
    return {change.what + ", CR0.PE is 0", [change](S& s) {
              change.apply(s);
              s.ClearBits(VmcsField::kGuestCr0, 1);
            }};
  }
  static EntryChanges Breaking() {
    EntryChanges changes = {
        Injecting("NMI with", InterruptionType::kNmi, 2, true),
        Injecting("external interrupt with", InterruptionType::kExternalInterrupt, 0x20, true),
        Injecting("software exception with", InterruptionType::kSoftwareException, 3, true),
        InRealMode(Exception(13, true)),
        OnRelaxedCpu(InRealMode(Exception(13, true))),
        OnRelaxedCpu(Injecting("NMI with", InterruptionType::kNmi, 2, true))};
    for (uint8_t vector = 0; vector < 32; ++vector) {
      changes.push_back(Exception(vector, !Has(vector)));
    }
    return changes;
  }
  static EntryChanges Accepted() {
    EntryChanges changes = {InRealMode(Exception(13, false)),
                            {"NMI with, not valid", [](S& s) {
                               s.v.Set<VmcsField::kVmEntryInterruptionInformation>(0xA02);
                             }}};
    for (uint8_t vector = 0; vector < 32; ++vector) {
      changes.push_back(Exception(vector, Has(vector)));
      changes.push_back(OnRelaxedCpu(Exception(vector, !Has(vector))));
    }
    return changes;
  }
};

struct InjectionErrorCodeReservedBits {
  static EntryChange ErrorCode(uint32_t error_code, Vector vector) {
    return {std::string("error code ") + std::to_string(error_code) + " of " + Name(vector),
            [=](S& s) {
              Inject(s, InterruptionInformation::HardwareException(vector));
              s.v.Set<VmcsField::kVmEntryExceptionErrorCode>(error_code);
            }};
  }
  static EntryChanges Breaking() {
    return {ErrorCode(1u << 16, Vector::kPageFault), ErrorCode(1u << 31, Vector::kPageFault)};
  }
  static EntryChanges Accepted() {
    return {
        ErrorCode(0xFFFF, Vector::kPageFault),
        ErrorCode(~0u, Vector::kInvalidOpcode),
        {"all ones, no event", [](S& s) { s.v.Set<VmcsField::kVmEntryExceptionErrorCode>(~0u); }}};
  }
};

struct InjectionInstructionLength {
  static EntryChange Length(uint32_t length, InterruptionType type, uint8_t vector) {
    return {"type " + std::to_string(static_cast<int>(type)) + ", length " + std::to_string(length),
            [=](S& s) {
              Inject(s, InterruptionInformation::Make(type, vector));
              s.v.Set<VmcsField::kVmEntryInstructionLength>(length);
            }};
  }
  static EntryChanges EachType(uint32_t length) {
    return {Length(length, InterruptionType::kSoftwareInterrupt, 0x80),
            Length(length, InterruptionType::kPrivilegedSoftwareException, 1),
            Length(length, InterruptionType::kSoftwareException, 3)};
  }
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (const EntryChange& change : EachType(0)) {
      changes.push_back({change.what + ", IA32_VMX_MISC[30] is 0", [change](S& s) {
                           s.offered.misc &= ~VmxMisc::kInstructionLengthZero;
                           change.apply(s);
                         }});
    }
    for (uint32_t length : {16u, 0x100u, ~0u}) {
      for (const EntryChange& change : EachType(length)) changes.push_back(change);
    }
    return changes;
  }
  static EntryChanges Accepted() {
    EntryChanges changes = EachType(1);
    for (const EntryChange& change : EachType(15)) changes.push_back(change);
    changes.push_back(Length(0, InterruptionType::kHardwareException, 6));
    changes.push_back(Length(16, InterruptionType::kNmi, 2));
    for (const EntryChange& change : EachType(0)) changes.push_back(change);
    return changes;
  }
};

struct InjectionReservedBits {
  static EntryChanges Breaking() {
    EntryChanges changes;
    for (unsigned bit = 12; bit <= 30; ++bit) {
      changes.push_back(
          {"bit " + std::to_string(bit), [bit](S& s) {
             Inject(s, InterruptionInformation(InterruptionInformation::Nmi().value() | 1u << bit));
           }});
    }
    return changes;
  }
  static EntryChanges Accepted() {
    return {{"every reserved bit, not valid", [](S& s) {
               s.v.Set<VmcsField::kVmEntryInterruptionInformation>(
                   InterruptionInformation::kReservedOnEntry);
             }}};
  }
};

std::vector<EntryRuleCase> Cases() {
  return {
#define NVMX_CONTROL_RULE(name, condition, source) \
  {#name, 0, source, name::Breaking(), name::Accepted()},
#include "core/nested/entry_rules.def"
  };
}

class ControlRuleTest : public testing::TestWithParam<EntryRuleCase> {};

TEST_P(ControlRuleTest, WhatBreaksTheRuleIsVmfailValid7) {
  ForEachChange(GetParam().breaking, [](const S& s) {
    EXPECT_THAT(CheckControlsAndHostState(s.v, s.offered, s.e),
                RefusedBy(VmInstructionError::kVmEntryWithInvalidControlFields, GetParam().rule));
  });
}

TEST_P(ControlRuleTest, TheNeighbourIsAccepted) {
  ForEachChange(GetParam().accepted, [](const S& s) {
    EXPECT_EQ(CheckControlsAndHostState(s.v, s.offered, s.e), std::nullopt);
  });
}

TEST_P(ControlRuleTest, TheRuleCitesTheManual) {
  EXPECT_EQ(GetParam().source.substr(0, 16), "SDM Vol. 3C, 27.");
}

INSTANTIATE_TEST_SUITE_P(EntryRules, ControlRuleTest, testing::ValuesIn(Cases()), RuleName);

TEST(ControlRuleOrderTest, ControlsAreCheckedBeforeHostState) {
  EntrySubject s;
  s.v.Set<VmcsField::kHostCr0>(0);
  s.v.Set<VmcsField::kVmEntryControls>(0);
  EXPECT_THAT(
      CheckControlsAndHostState(s.v, s.offered, s.e),
      RefusedBy(VmInstructionError::kVmEntryWithInvalidControlFields, "VmEntryReservedBits"));
}

}  // namespace
}  // namespace nvmx
