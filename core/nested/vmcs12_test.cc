// SPDX-License-Identifier: Apache-2.0
//
// Who has the newest value of a field: VMCS12 or VMCS02. What is counted are the calls of the port.
#include "core/nested/vmcs12.h"

#include <algorithm>

#include "core/nested/nested_entry.h"
#include "core/nested/vmcs12_region.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "core/testing/matchers.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/rflags.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::Contains;
using testing::Not;

class Vmcs12Test : public testing::Test {
 protected:
  void RunL2() { l1_.RunL2(v_); }
  // L2 exits to L1.
  void Leave() {
    l1_.Exit(ExitReason::kVmcall);
    ASSERT_FALSE(l1_.L2Runs());
    l1_.log.clear();
  }
  void Resume() {
    l1_.log.clear();
    ASSERT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false), Enters());
    l1_.vmcs.vmcs02().Set<VmcsField::kVmEntryInterruptionInformation>(0);
  }
  void RunL2AndLeave() {
    RunL2();
    Leave();
  }
  // How many lines of the log begin with this.
  int Count(const std::string& begin) const {
    return static_cast<int>(std::count_if(
        l1_.log.begin(), l1_.log.end(),
        [&](const std::string& line) { return line.compare(0, begin.size(), begin) == 0; }));
  }
  std::vector<std::string> FieldsWritten() const {
    constexpr std::string_view kBegin = "VMWRITE ";
    std::vector<std::string> fields;
    for (const std::string& line : l1_.log) {
      if (line.compare(0, kBegin.size(), kBegin) == 0) fields.push_back(line.substr(kBegin.size()));
    }
    return fields;
  }
  static std::vector<std::string> WrittenEachTime() {
    return {Name(VmcsField::kGuestInterruptibilityState)};
  }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  VmcsImage& Vmcs02() { return l1_.vmcs.vmcs02(); }
  void Write(VmcsField field, uint64_t value) { WriteVmcs12(l1_.vcpu(), field, value); }
  uint64_t Read(VmcsField field) { return ReadVmcs12(l1_.vcpu(), field); }

  FakeVcpu l1_;
  VmcsImage v_ = ValidVmcs12(l1_.state.offered);
};

TEST_F(Vmcs12Test, AnEntryAfterNothingWasWrittenWritesAlmostNothing) {
  RunL2AndLeave();
  Resume();
  EXPECT_THAT(FieldsWritten(), testing::UnorderedElementsAreArray(WrittenEachTime()));
}

TEST_F(Vmcs12Test, AnEntryWritesWhatL1HasWritten) {
  RunL2AndLeave();
  Write(VmcsField::kGuestRip, 0x4444);
  Write(VmcsField::kExceptionBitmap, 0x40);
  Resume();
  std::vector<std::string> expected = WrittenEachTime();
  expected.push_back(Name(VmcsField::kGuestRip));
  expected.push_back(Name(VmcsField::kExceptionBitmap));
  EXPECT_THAT(FieldsWritten(), testing::UnorderedElementsAreArray(expected));
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestRip>(), 0x4444u);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kExceptionBitmap>(), 0x40u);
}

TEST_F(Vmcs12Test, AnAddressComesWithTheControlThatItIsFor) {
  struct Case {
    VmcsField controls;
    uint32_t control;
    VmcsField address;
  };
  using Primary = PrimaryProcessorBased;
  constexpr VmcsField kPrimary = VmcsField::kPrimaryProcessorBasedControls;
  for (const Case& c :
       {Case{kPrimary, Primary::kUseIoBitmaps, VmcsField::kIoBitmapAAddress},
        Case{kPrimary, Primary::kUseIoBitmaps, VmcsField::kIoBitmapBAddress},
        Case{kPrimary, Primary::kUseTprShadow, VmcsField::kVirtualApicAddress},
        Case{VmcsField::kSecondaryProcessorBasedControls, Secondary::kVirtualizeApicAccesses,
             VmcsField::kApicAccessAddress},
        Case{kPrimary, Primary::kActivateSecondaryControls, VmcsField::kApicAccessAddress}}) {
    constexpr uint64_t kPage = 0x55000;
    VmcsImage v = v_;
    v.Set<kPrimary>(v.Get<kPrimary>() | Primary::kActivateSecondaryControls);
    v.Set<VmcsField::kSecondaryProcessorBasedControls>(Secondary::kVirtualizeApicAccesses);
    v.Write(c.controls, v.Read(c.controls) & ~uint64_t{c.control});
    v.Write(c.address, kPage);
    l1_.RunL2(v);
    Leave();
    Vmcs02().Write(c.address, 0);
    Write(c.controls, Read(c.controls) | c.control);
    Resume();
    EXPECT_EQ(Vmcs02().Read(c.address), kPage) << Name(c.address);
    Leave();
  }
}

TEST_F(Vmcs12Test, ControlsAndHostStateAreCheckedAgainIfL1HasChangedThem) {
  RunL2AndLeave();
  const struct {
    VmcsField field;
    uint64_t invalid;
    VmInstructionError error;
  } kCases[] = {
      {VmcsField::kCr3TargetCount, 5, VmInstructionError::kVmEntryWithInvalidControlFields},
      {VmcsField::kHostTrSelector, 0, VmInstructionError::kVmEntryWithInvalidHostStateFields}};
  for (const auto& c : kCases) {
    const uint64_t valid = Read(c.field);
    Write(c.field, c.invalid);
    EXPECT_EQ(EnterL2(l1_.vcpu(), /*launch=*/false),
              EntryOutcome::Fail(VmxOutcome::FailValid(c.error)));
    EXPECT_EQ(EnterL2(l1_.vcpu(), /*launch=*/false),
              EntryOutcome::Fail(VmxOutcome::FailValid(c.error)))
        << "as long as it is there";
    Write(c.field, valid);
    Resume();
    Leave();
  }
}

TEST_F(Vmcs12Test, TheModeOfL1IsCheckedWithEachEntry) {
  RunL2AndLeave();
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestIa32Efer>(0);
  EXPECT_EQ(EnterL2(l1_.vcpu(), /*launch=*/false),
            EntryOutcome::Fail(
                VmxOutcome::FailValid(VmInstructionError::kVmEntryWithInvalidHostStateFields)));
}

TEST_F(Vmcs12Test, TheSameValueAgainIsNoChange) {
  RunL2AndLeave();
  Write(VmcsField::kExceptionBitmap, Vmcs12().Get<VmcsField::kExceptionBitmap>());
  Resume();
  EXPECT_THAT(FieldsWritten(), Not(Contains(Name(VmcsField::kExceptionBitmap))));
}

TEST_F(Vmcs12Test, WhatL1HasWrittenIsWrittenOnce) {
  RunL2AndLeave();
  Write(VmcsField::kExceptionBitmap, 0x40);
  Resume();
  Leave();
  Resume();
  EXPECT_THAT(FieldsWritten(), Not(Contains(Name(VmcsField::kExceptionBitmap))));
}

TEST_F(Vmcs12Test, AnExitReadsNoneOfTheRarelyReadState) {
  RunL2();
  l1_.Exit(ExitReason::kVmcall);
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (!kRarelyReadGuestState.Has(row.field)) continue;
    EXPECT_THAT(l1_.log, Not(Contains(std::string("VMREAD ") + row.name)));
  }
  EXPECT_LT(Count("VMREAD"), 50);
}

TEST_F(Vmcs12Test, L1ReadsWhatL2HasLeft) {
  RunL2();
  Vmcs02().Set<VmcsField::kGuestFsSelector>(0x1238);
  Vmcs02().Set<VmcsField::kGuestRip>(0x5678);
  Leave();
  EXPECT_EQ(Read(VmcsField::kGuestFsSelector), 0x1238u);
  EXPECT_EQ(Read(VmcsField::kGuestRip), 0x5678u);
  EXPECT_EQ(l1_.vmcs.Current(), VmcsRole::kVmcs01);
}

TEST_F(Vmcs12Test, TheRarelyReadStateIsFetchedOnceForAll) {
  RunL2AndLeave();
  Read(VmcsField::kGuestFsSelector);
  Read(VmcsField::kGuestGsBase);
  EXPECT_EQ(Count("VMPTRLD"), 2);
  l1_.log.clear();
  Read(VmcsField::kGuestRip);
  Read(VmcsField::kGuestDr7);
  EXPECT_TRUE(l1_.log.empty());
}

TEST_F(Vmcs12Test, WhatL1WritesIsNotFetchedOverIt) {
  RunL2();
  Vmcs02().Set<VmcsField::kGuestFsSelector>(0x1238);
  Vmcs02().Set<VmcsField::kGuestGsSelector>(0x1240);
  Leave();
  Write(VmcsField::kGuestFsSelector, 0x48);
  EXPECT_EQ(Read(VmcsField::kGuestGsSelector), 0x1240u);
  EXPECT_EQ(Read(VmcsField::kGuestFsSelector), 0x48u);
  Resume();
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestFsSelector>(), 0x48u);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestGsSelector>(), 0x1240u);
}

TEST_F(Vmcs12Test, TheSegmentsAreCheckedIfL1HasChangedOne) {
  RunL2();
  Vmcs02().Set<VmcsField::kGuestTrAccessRights>(0);
  Leave();
  Write(VmcsField::kGuestFsSelector, 0x48);
  EXPECT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false), GuestStateRefusedBy(0u, "GuestTrType"));
}

TEST_F(Vmcs12Test, TheSegmentsAreCheckedIfL2IsToRunInAnotherMode) {
  RunL2AndLeave();
  Write(VmcsField::kGuestRflags, Rflags::kFixed1 | Rflags::kVm);
  Write(VmcsField::kVmEntryControls,
        v_.Get<VmcsField::kVmEntryControls>() & ~(VmEntry::kIa32eModeGuest));
  Write(VmcsField::kGuestIa32Efer, 0);
  EXPECT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false),
              GuestStateRefusedBy(0u, "GuestVirtual8086Bases"));
}

TEST_F(Vmcs12Test, VmclearWritesWhatL2HasLeftToMemory) {
  RunL2();
  Vmcs02().Set<VmcsField::kGuestFsSelector>(0x1238);
  Leave();
  EXPECT_EQ(l1_.ExecuteWithPointer(ExitReason::kVmclear, FakeVcpu::kVmcs12Region),
            VmxOutcome::Succeed());
  EXPECT_EQ(l1_.memory.Peek<Vmcs12Region>(FakeVcpu::kVmcs12Region)
                .fields.Get<VmcsField::kGuestFsSelector>(),
            0x1238u);
}

TEST_F(Vmcs12Test, AnotherVmcs12WritesEverythingAnew) {
  constexpr uint64_t kOther = 0x40000;
  RunL2AndLeave();
  VmcsImage other = v_;
  other.Set<VmcsField::kGuestRip>(0x2E000);
  l1_.memory.Poke(kOther, Vmcs12Region{kVmcs12Revision, 0, 1, other});
  EXPECT_EQ(l1_.ExecuteWithPointer(ExitReason::kVmptrld, kOther), VmxOutcome::Succeed());
  Resume();
  EXPECT_GT(FieldsWritten().size(), 70u);
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestRip>(), 0x2E000u);
}

TEST_F(Vmcs12Test, TwoVmcs12sTakeTurns) {
  constexpr uint64_t kOther = 0x40000;
  RunL2();
  Vmcs02().Set<VmcsField::kGuestFsSelector>(0x1238);
  Leave();
  l1_.memory.Poke(kOther, Vmcs12Region{kVmcs12Revision, 0, 1, v_});
  ASSERT_EQ(l1_.ExecuteWithPointer(ExitReason::kVmptrld, kOther), VmxOutcome::Succeed());
  Resume();
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestFsSelector>(), 0x30u);
  Leave();
  ASSERT_EQ(l1_.ExecuteWithPointer(ExitReason::kVmptrld, FakeVcpu::kVmcs12Region),
            VmxOutcome::Succeed());
  Resume();
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestFsSelector>(), 0x1238u);
}

// --- Registers that the entry does not load, or the exit does not save ---

TEST_F(Vmcs12Test, WhatTheExitDoesNotSaveIsLoadedAgain) {
  v_.Set<VmcsField::kVmExitControls>(v_.Get<VmcsField::kVmExitControls>() & ~VmExit::kSaveIa32Pat);
  RunL2();
  Vmcs02().Set<VmcsField::kGuestIa32Pat>(0);
  Leave();
  EXPECT_EQ(Read(VmcsField::kGuestIa32Pat), v_.Get<VmcsField::kGuestIa32Pat>());
  Resume();
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestIa32Pat>(), v_.Get<VmcsField::kGuestIa32Pat>());
}

TEST_F(Vmcs12Test, WhatTheEntryDoesNotLoadIsL1sEachTime) {
  v_.Set<VmcsField::kVmEntryControls>(v_.Get<VmcsField::kVmEntryControls>() &
                                      ~VmEntry::kLoadIa32Pat);
  RunL2();
  Vmcs02().Set<VmcsField::kGuestIa32Pat>(0);
  Leave();
  l1_.vmcs.vmcs01().Set<VmcsField::kGuestIa32Pat>(0x0505'0505'0505'0505);
  Resume();
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestIa32Pat>(), 0x0505'0505'0505'0505u);
}

TEST_F(Vmcs12Test, WhatTheEntryBeginsToLoadIsVmcs12s) {
  v_.Set<VmcsField::kVmEntryControls>(v_.Get<VmcsField::kVmEntryControls>() &
                                      ~VmEntry::kLoadIa32Pat);
  v_.Set<VmcsField::kVmExitControls>(v_.Get<VmcsField::kVmExitControls>() & ~VmExit::kSaveIa32Pat);
  RunL2AndLeave();
  Write(VmcsField::kVmEntryControls, v_.Get<VmcsField::kVmEntryControls>() | VmEntry::kLoadIa32Pat);
  Resume();
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestIa32Pat>(), v_.Get<VmcsField::kGuestIa32Pat>());
}

TEST_F(Vmcs12Test, AnEntryThatFailsOverItsListLeavesL2sStateInVmcs12) {
  RunL2();
  Vmcs02().Set<VmcsField::kGuestIa32SysenterEip>(0x7000);
  Leave();
  const MsrList list =
      l1_.PutMsrList(FakeVcpu::kEntryLoadList,
                     {{Index(Msr::IA32_SYSENTER_EIP), 0, 0x9000}, {/*index=*/0x12345, 0, 0}});
  Write(VmcsField::kVmEntryMsrLoadAddress, list.address.value);
  Write(VmcsField::kVmEntryMsrLoadCount, list.count);
  EXPECT_THAT(EnterL2(l1_.vcpu(), /*launch=*/false), FailsLoadingMsr(2u));
  EXPECT_EQ(Read(VmcsField::kGuestIa32SysenterEip), 0x7000u);
  Write(VmcsField::kVmEntryMsrLoadCount, 0);
  Resume();
  EXPECT_EQ(Vmcs02().Get<VmcsField::kGuestIa32SysenterEip>(), 0x7000u);
}

TEST_F(Vmcs12Test, AnInjectedEventIsWrittenAndOnlyThen) {
  RunL2AndLeave();
  Write(VmcsField::kVmEntryInterruptionInformation,
        InterruptionInformation::HardwareException(Vector::kInvalidOpcode).value());
  Resume();
  EXPECT_THAT(FieldsWritten(), Contains(Name(VmcsField::kVmEntryInterruptionInformation)));
  Leave();
  Resume();
  EXPECT_THAT(FieldsWritten(), Not(Contains(Name(VmcsField::kVmEntryInterruptionInformation))));
}

}  // namespace
}  // namespace nvmx
