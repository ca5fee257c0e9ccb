// SPDX-License-Identifier: Apache-2.0
//
// A VMCS that every check of VM entry accepts, and what a test needs to break one rule at a time.
#ifndef NVMX_BACKENDS_SIM_MACHINE_TESTING_VM_ENTRY_FIXTURE_H_
#define NVMX_BACKENDS_SIM_MACHINE_TESTING_VM_ENTRY_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <ostream>
#include <set>
#include <string>

#include "backends/sim/machine/vm_entry_checks.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "gtest/gtest.h"

namespace nvmx::sim {

class SparseMemory final : public EntryMemory {
 public:
  void Put(uint64_t address, std::span<const std::byte> bytes) {
    for (std::byte byte : bytes) bytes_[address++] = byte;
  }
  template <typename T>
  void PutValue(uint64_t address, T value) {
    Put(address, std::as_bytes(std::span(&value, 1)));
  }
  void ReadPhysical(uint64_t address, std::span<std::byte> bytes) const override {
    for (std::byte& byte : bytes) {
      const auto found = bytes_.find(address++);
      byte = found == bytes_.end() ? std::byte{0xFF} : found->second;
    }
  }

 private:
  std::map<uint64_t, std::byte> bytes_;
};

// A processor that has every feature that a rule is about.
inline Capabilities EverythingCapabilities() {
  constexpr uint64_t kRevision = 0x1234;
  Capabilities c;
  c.basic = kRevision | uint64_t{4096} << VmxBasic::kRegionSizeShift |
            uint64_t{6} << VmxBasic::kMemoryTypeShift | VmxBasic::kTrueControls;
  c.true_pinbased_ctls = MakeControlCapability(PinBased::kDefault1, 0xFF);
  c.true_procbased_ctls = MakeControlCapability(
      PrimaryProcessorBased::kDefault1 &
          ~(PrimaryProcessorBased::kCr3LoadExiting | PrimaryProcessorBased::kCr3StoreExiting),
      0xFFFDFFFE);
  c.procbased_ctls2 = MakeControlCapability(0, 0x027FFFFF);
  c.true_exit_ctls =
      MakeControlCapability(VmExit::kDefault1 & ~VmExit::kSaveDebugControls, 0x007FFFFF);
  c.true_entry_ctls =
      MakeControlCapability(VmEntry::kDefault1 & ~VmEntry::kLoadDebugControls, 0x0000FFFF);
  c.misc = VmxMisc::kActivityStateHlt | VmxMisc::kActivityStateShutdown |
           VmxMisc::kActivityStateWaitForSipi | uint64_t{4} << VmxMisc::kCr3TargetCountShift |
           VmxMisc::kInstructionLengthZero;
  c.cr0_fixed0 = Cr0::kPe | Cr0::kNe | Cr0::kPg;
  c.cr0_fixed1 = 0xFFFFFFFF;
  c.cr4_fixed0 = Cr4::kVmxe;
  c.cr4_fixed1 = 0x00BF'FFFF;  // with CET, without PKS
  c.ept_vpid_cap = EptVpidCap::kPageWalkLength4 | EptVpidCap::kUncacheable | EptVpidCap::kWriteBack;
  c.vmfunc = VmFunction::kEptpSwitching;
  c.physical_address_width = 40;
  c.linear_address_width = 48;
  return c;
}

struct EntryFixture {
  static constexpr uint64_t kPage = 0x10'0000;
  static constexpr uint64_t kBeyondWidth = uint64_t{1} << 40;
  static constexpr uint64_t kNotCanonical = uint64_t{1} << 63;
  static constexpr uint64_t kEptp = 0x5'0000 | 3 << 3 | 6;
  static constexpr uint64_t kCurrentVmcs = 0x20'0000;

  VmcsImage vmcs;
  Capabilities capabilities = EverythingCapabilities();
  SparseMemory memory;
  bool long_mode = true;

  EntryFixture() {
    WriteControls();
    WriteHost();
    WriteGuest();
  }

  EntryOutcome Check() const {
    const EntryInput input{vmcs, capabilities, memory, kCurrentVmcs, long_mode};
    if (const EntryOutcome outcome = CheckControls(input); !outcome.entered()) return outcome;
    if (const EntryOutcome outcome = CheckHostState(input); !outcome.entered()) return outcome;
    return CheckGuestState(input);
  }

  void Set(VmcsField field, uint64_t value) { vmcs.Write(field, value); }
  void Or(VmcsField field, uint64_t bits) { Set(field, vmcs.Read(field) | bits); }
  void Clear(VmcsField field, uint64_t bits) { Set(field, vmcs.Read(field) & ~bits); }
  void Pin(uint64_t bits) { Or(VmcsField::kPinBasedControls, bits); }
  void Primary(uint64_t bits) { Or(VmcsField::kPrimaryProcessorBasedControls, bits); }
  void Secondary(uint64_t bits) {
    Primary(PrimaryProcessorBased::kActivateSecondaryControls);
    Or(VmcsField::kSecondaryProcessorBasedControls, bits);
  }
  void Exit(uint64_t bits) { Or(VmcsField::kVmExitControls, bits); }
  void Entry(uint64_t bits) { Or(VmcsField::kVmEntryControls, bits); }
  void Inject(InterruptionType type, uint8_t vector, bool error_code = false) {
    Set(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::Make(type, vector, error_code).value());
  }
  void InjectInterrupt() {
    Inject(InterruptionType::kExternalInterrupt, 0x21);
    Or(VmcsField::kGuestRflags, Rflags::kIf);
  }
  void InjectNmi() { Inject(InterruptionType::kNmi, 2); }

  void UseEpt() {
    Secondary(Secondary::kEnableEpt);
    Set(VmcsField::kEptPointer, kEptp);
  }
  void UseUnrestrictedGuest() {
    UseEpt();
    Secondary(Secondary::kUnrestrictedGuest);
  }
  void UseTprShadow(uint32_t threshold = 0, uint8_t vtpr = 0) {
    Primary(PrimaryProcessorBased::kUseTprShadow);
    Set(VmcsField::kVirtualApicAddress, kPage);
    Set(VmcsField::kTprThreshold, threshold);
    memory.PutValue<uint8_t>(kPage + 0x80, vtpr);
  }
  void UseVirtualInterruptDelivery() {
    UseTprShadow();
    Secondary(Secondary::kVirtualInterruptDelivery);
    Pin(PinBased::kExternalInterruptExiting);
  }
  void UsePostedInterrupts() {
    UseVirtualInterruptDelivery();
    Pin(PinBased::kProcessPostedInterrupts);
    Exit(VmExit::kAcknowledgeInterruptOnExit);
    Set(VmcsField::kPostedInterruptDescriptorAddress, kPage + 64);
  }
  void UseEptpSwitching() {
    UseEpt();
    Secondary(Secondary::kEnableVmFunctions);
    Set(VmcsField::kVmFunctionControls, VmFunction::kEptpSwitching);
    Set(VmcsField::kEptpListAddress, kPage);
  }
  // A host and a guest of 32 bits, entered outside IA-32e mode.
  void Make32BitHost() {
    long_mode = false;
    Clear(VmcsField::kVmExitControls, VmExit::kHostAddressSpaceSize);
    Make32BitGuest();
  }
  // A guest in protected mode with PAE paging.
  void Make32BitGuest() {
    Clear(VmcsField::kVmEntryControls, VmEntry::kIa32eModeGuest);
    Set(VmcsField::kGuestCsAccessRights, 0xC09B);
    for (unsigned i = 0; i < 4; ++i) memory.PutValue<uint64_t>(kGuestCr3 + 8 * i, 0);
  }
  // Guest paging without PAE.
  void MakeLegacyPagedGuest() {
    Make32BitGuest();
    Clear(VmcsField::kGuestCr4, Cr4::kPae);
  }
  void MakeRealModeGuest() {
    UseUnrestrictedGuest();
    MakeLegacyPagedGuest();
    Clear(VmcsField::kGuestCr0, Cr0::kPe | Cr0::kPg);
  }
  void MakeVirtual8086Guest() {
    MakeLegacyPagedGuest();
    Or(VmcsField::kGuestRflags, Rflags::kVm);
    for (uint32_t i = 0; i < 6; ++i) {
      Set(At(VmcsField::kGuestEsSelector, i), 0x1000);
      Set(At(VmcsField::kGuestEsBase, i), 0x10000);
      Set(At(VmcsField::kGuestEsLimit, i), 0xFFFF);
      Set(At(VmcsField::kGuestEsAccessRights, i), 0xF3);
    }
  }
  void UseLdtr() {
    Set(VmcsField::kGuestLdtrSelector, 0x48);
    Set(VmcsField::kGuestLdtrAccessRights, 0x82);
  }
  void Block(uint32_t bits) { Or(VmcsField::kGuestInterruptibilityState, bits); }
  void SetActivity(ActivityState state) {
    Set(VmcsField::kGuestActivityState, static_cast<uint64_t>(state));
  }
  void Link(uint64_t address, uint32_t header) {
    Set(VmcsField::kVmcsLinkPointer, address);
    memory.PutValue(address, header);
  }

  static VmcsField At(VmcsField of_es, uint32_t segment) {
    return static_cast<VmcsField>(Encoding(of_es) + 2 * segment);
  }

  static constexpr uint64_t kGuestCr3 = 0x2000;

 private:
  void WriteControls() {
    Set(VmcsField::kPinBasedControls, PinBased::kDefault1);
    Set(VmcsField::kPrimaryProcessorBasedControls, PrimaryProcessorBased::kDefault1);
    Set(VmcsField::kVmExitControls, VmExit::kDefault1 | VmExit::kHostAddressSpaceSize);
    Set(VmcsField::kVmEntryControls, VmEntry::kDefault1 | VmEntry::kIa32eModeGuest);
    Set(VmcsField::kVmcsLinkPointer, ~uint64_t{0});
  }
  void WriteHost() {
    Set(VmcsField::kHostCr0, Cr0::kPe | Cr0::kNe | Cr0::kPg);
    Set(VmcsField::kHostCr4, Cr4::kPae | Cr4::kVmxe);
    Set(VmcsField::kHostCr3, 0x1000);
    for (VmcsField selector : {VmcsField::kHostEsSelector, VmcsField::kHostCsSelector,
                               VmcsField::kHostSsSelector, VmcsField::kHostTrSelector}) {
      Set(selector, 0x8);
    }
    Set(VmcsField::kHostRip, 0x3000);
    Set(VmcsField::kHostIa32Pat, kPatReset);
    Set(VmcsField::kHostIa32Efer, Efer::kLme | Efer::kLma);
  }
  void WriteGuest() {
    Set(VmcsField::kGuestCr0, Cr0::kPe | Cr0::kNe | Cr0::kPg);
    Set(VmcsField::kGuestCr3, kGuestCr3);
    Set(VmcsField::kGuestCr4, Cr4::kPae | Cr4::kVmxe);
    Set(VmcsField::kGuestDr7, Dr7::kInit);
    Set(VmcsField::kGuestRip, 0x4000);
    Set(VmcsField::kGuestRflags, Rflags::kFixed1);
    Set(VmcsField::kGuestIa32Pat, kPatReset);
    Set(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma);
    for (uint32_t i = 0; i < 6; ++i) {
      Set(At(VmcsField::kGuestEsSelector, i), 0x10);
      Set(At(VmcsField::kGuestEsLimit, i), 0xFFFFFFFF);
      Set(At(VmcsField::kGuestEsAccessRights, i), 0xC093);
    }
    Set(VmcsField::kGuestCsSelector, 0x8);
    Set(VmcsField::kGuestCsAccessRights, 0xA09B);
    Set(VmcsField::kGuestTrSelector, 0x18);
    Set(VmcsField::kGuestTrLimit, 0x67);
    Set(VmcsField::kGuestTrAccessRights, 0x8B);
    Set(VmcsField::kGuestLdtrAccessRights, 0x10000);
  }
};

// One way to break a rule, and the nearest thing that passes.
struct EntryCase {
  const char* rule;
  void (*broken)(EntryFixture& f);
  void (*neighbour)(EntryFixture& f);
  uint64_t qualification = 0;
};
inline void PrintTo(const EntryCase& c, std::ostream* out) { *out << c.rule; }

// The outcome that breaking a rule of a class has.
using ClassOutcome = EntryOutcome (*)(uint64_t qualification);
inline EntryOutcome InvalidControls(uint64_t) {
  return EntryOutcome::Fail(
      VmxOutcome::FailValid(VmInstructionError::kVmEntryWithInvalidControlFields));
}
inline EntryOutcome InvalidHostState(uint64_t) {
  return EntryOutcome::Fail(
      VmxOutcome::FailValid(VmInstructionError::kVmEntryWithInvalidHostStateFields));
}
inline EntryOutcome InvalidGuestState(uint64_t qualification) {
  return EntryOutcome::EntryFailure(ExitReason::kVmEntryFailureInvalidGuestState, qualification);
}

inline void ExpectCase(const EntryCase& c, ClassOutcome outcome) {
  EntryFixture broken;
  ASSERT_TRUE(broken.Check().entered()) << broken.Check().rule();
  c.broken(broken);
  const EntryOutcome found = broken.Check();
  EXPECT_STREQ(found.rule(), c.rule);
  EXPECT_EQ(found, outcome(c.qualification));
  EntryFixture neighbour;
  c.neighbour(neighbour);
  EXPECT_TRUE(neighbour.Check().entered()) << neighbour.Check().rule();
}

// Every rule has a case, and no two rules of a class have the same name.
template <size_t N>
void ExpectEveryRuleHasACase(std::initializer_list<std::span<const EntryRule>> classes,
                             const EntryCase (&cases)[N]) {
  std::set<std::string> names;
  for (std::span<const EntryRule> rules : classes) {
    for (const EntryRule& rule : rules) {
      EXPECT_TRUE(names.insert(rule.name).second) << rule.name << " is there twice";
      EXPECT_TRUE(std::any_of(std::begin(cases), std::end(cases),
                              [&](const EntryCase& c) { return std::string(c.rule) == rule.name; }))
          << rule.name << " has no test";
    }
  }
}

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TESTING_VM_ENTRY_FIXTURE_H_
