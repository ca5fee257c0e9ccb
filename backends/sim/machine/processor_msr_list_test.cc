// SPDX-License-Identifier: Apache-2.0
//
// The lists of MSRs that VM entries and VM exits process. SDM Vol. 3C, 27.4 "Loading MSRs", 28.4
// "Saving MSRs", 28.6 "Loading MSRs", 28.7 "VMX Aborts".
#include <string>

#include "backends/sim/machine/testing/processor_fixture.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmx_abort.h"
#include "core/x86/msr.h"

namespace nvmx::sim {
namespace {

constexpr uint64_t kNonCanonical = uint64_t{1} << 63;
constexpr uint32_t kUnknownMsr = 0xDEAD;

MsrListEntry Entry(Msr msr, uint64_t data = 0) { return {.index = Index(msr), .data = data}; }

struct BadEntry {
  const char* name;
  MsrListEntry entry;
};
void PrintTo(const BadEntry& bad, std::ostream* out) { *out << bad.name; }

const BadEntry kBadInEveryList[] = {
    {"UnknownMsr", {.index = kUnknownMsr}},
    {"LowestReservedBit", {.index = Index(Msr::IA32_STAR), .reserved = 1}},
    {"HighestReservedBit", {.index = Index(Msr::IA32_STAR), .reserved = 0x80000000}},
    {"FirstOfTheX2ApicRange", {.index = kX2ApicMsrFirst}},
    {"LastOfTheX2ApicRange", {.index = kX2ApicMsrLast}},
    {"X2ApicId", Entry(Msr::IA32_X2APIC_APICID)},
    {"MicrocodeTrigger", Entry(Msr::IA32_BIOS_UPDT_TRIG)},
    {"MicrocodeRevision", Entry(Msr::IA32_BIOS_SIGN_ID)},
};
const BadEntry kBadToLoad[] = {
    {"FsBase", Entry(Msr::IA32_FS_BASE)},
    {"GsBase", Entry(Msr::IA32_GS_BASE)},
    {"SmmMonitorCtl", Entry(Msr::IA32_SMM_MONITOR_CTL)},
    {"ReadOnly", Entry(Msr::IA32_MTRRCAP, kMtrrCap)},
    {"Capability", Entry(Msr::IA32_VMX_BASIC)},
    {"NonCanonical", Entry(Msr::IA32_LSTAR, kNonCanonical)},
    {"NonCanonicalSwitched", Entry(Msr::IA32_SYSENTER_EIP, kNonCanonical)},
    {"MtrrWithReservedType", Entry(Msr::IA32_MTRR_PHYSBASE0, 2)},
    {"MtrrBeyondTheWidth", Entry(Msr::IA32_MTRR_PHYSBASE0, uint64_t{1} << 40)},
    {"PatWithReservedType", Entry(Msr::IA32_PAT, 2)},
    {"EferWithReservedBit", Entry(Msr::IA32_EFER, Efer::kLme | 2)},
    {"EferThatChangesLmeWhilePaging", Entry(Msr::IA32_EFER, 0)},
    {"DebugctlWithReservedBit", Entry(Msr::IA32_DEBUGCTL, uint64_t{1} << 40)},
    {"TscAuxAbove32Bits", Entry(Msr::IA32_TSC_AUX, uint64_t{1} << 32)},
    {"ApicBaseWithReservedBit", Entry(Msr::IA32_APIC_BASE, ApicBase::kEnable | 1)},
    {"ApicBaseBeyondTheWidth", Entry(Msr::IA32_APIC_BASE, ApicBase::kEnable | uint64_t{1} << 40)},
};
const BadEntry kBadToStore[] = {
    {"Smbase", Entry(Msr::IA32_SMBASE)},
};

std::vector<BadEntry> Join(std::span<const BadEntry> a, std::span<const BadEntry> b) {
  std::vector<BadEntry> all(a.begin(), a.end());
  all.insert(all.end(), b.begin(), b.end());
  return all;
}
const auto kNameOf = [](const testing::TestParamInfo<BadEntry>& info) {
  return std::string(info.param.name);
};

class ProcessorMsrList : public ProcessorTest {
 protected:
  uint64_t Msr64(Msr msr) const { return cpu_.ReadMsr(Index(msr)).value_or(~uint64_t{0}); }
};

// --- VM-entry MSR-load list

TEST_F(ProcessorMsrList, EntryLoadsAllEntriesInOrder) {
  UseEntryLoadList({Entry(Msr::IA32_STAR, 1), Entry(Msr::IA32_CSTAR, 2), Entry(Msr::IA32_STAR, 3)});
  cpu_.EnterGuest();
  EXPECT_TRUE(cpu_.in_guest());
  EXPECT_EQ(Msr64(Msr::IA32_STAR), 3u);
  EXPECT_EQ(Msr64(Msr::IA32_CSTAR), 2u);
}

TEST_F(ProcessorMsrList, TheApicCanBeMovedAndTurnedOff) {
  constexpr uint64_t kElsewhere = 0xFFFF'F000;
  UseEntryLoadList({Entry(Msr::IA32_APIC_BASE, kElsewhere | ApicBase::kBsp | ApicBase::kEnable)});
  cpu_.EnterGuest();
  EXPECT_EQ(Msr64(Msr::IA32_APIC_BASE), kElsewhere | ApicBase::kBsp | ApicBase::kEnable);
  EXPECT_TRUE(cpu_.WriteMsr(Index(Msr::IA32_APIC_BASE), kElsewhere));
}

// SDM Vol. 4, Table 2-2 "IA-32 Architectural MSRs", IA32_SYSENTER_CS.
TEST_F(ProcessorMsrList, SysenterCsKeeps32Bits) {
  UseEntryLoadList({Entry(Msr::IA32_SYSENTER_CS, 0x1'2345'6789)});
  cpu_.EnterGuest();
  EXPECT_EQ(Msr64(Msr::IA32_SYSENTER_CS), 0x2345'6789u);
}

TEST_F(ProcessorMsrList, EntryLoadComesAfterTheGuestState) {
  Write(VmcsField::kGuestIa32SysenterCs, 1);
  Add(VmcsField::kVmEntryControls, VmEntry::kLoadIa32Pat);
  UseEntryLoadList({Entry(Msr::IA32_SYSENTER_CS, 2), Entry(Msr::IA32_PAT, 6)});
  cpu_.EnterGuest();
  EXPECT_EQ(state().switched.sysenter_cs, 2u);
  EXPECT_EQ(state().switched.pat, 6u);
}

TEST_F(ProcessorMsrList, EntryLoadComesBeforeTheInjectedEvent) {
  Write(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
  UseEntryLoadList({{.index = kUnknownMsr}});
  cpu_.EnterGuest();
  const uint64_t below_top = lhv::kWindowBase + lhv::kL1StackTop - 8;
  uint64_t pushed = 0;
  memory_.Read(below_top, std::as_writable_bytes(std::span(&pushed, 1)));
  EXPECT_EQ(pushed, 0u);
}

TEST_F(ProcessorMsrList, AnEmptyListMayHaveAnyAddress) {
  for (VmcsField address : {VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmExitMsrLoadAddress,
                            VmcsField::kVmExitMsrStoreAddress}) {
    Write(address, ~uint64_t{0});
  }
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(root_.exits, 1);
  EXPECT_TRUE(root_.refusals.empty());
}

class EntryLoadFailure : public ProcessorMsrList, public testing::WithParamInterface<BadEntry> {};

TEST_P(EntryLoadFailure, NumbersTheFirstBadEntryAndKeepsWhatWasLoadedBeforeIt) {
  Write(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma);
  Add(VmcsField::kVmEntryControls, VmEntry::kLoadIa32Efer);
  const MsrListEntry good[] = {Entry(Msr::IA32_STAR, 11), Entry(Msr::IA32_LSTAR, 12),
                               Entry(Msr::IA32_CSTAR, 13)};
  for (size_t position = 0; position <= 3; ++position) {
    SCOPED_TRACE(position);
    state().plain = PlainMsrs{};
    std::vector<MsrListEntry> list(good, good + 3);
    list.insert(list.begin() + static_cast<ptrdiff_t>(position), GetParam().entry);
    list.push_back({.index = kUnknownMsr});
    UseEntryLoadList(list);
    cpu_.EnterGuest();
    EXPECT_FALSE(cpu_.in_guest());
    EXPECT_EQ(Read(VmcsField::kExitReason), kExitReasonMsrFailure);
    EXPECT_EQ(Read(VmcsField::kExitQualification), position + 1);
    EXPECT_EQ(Msr64(Msr::IA32_STAR), position > 0 ? 11u : 0u);
    EXPECT_EQ(Msr64(Msr::IA32_LSTAR), position > 1 ? 12u : 0u);
    EXPECT_EQ(Msr64(Msr::IA32_CSTAR), position > 2 ? 13u : 0u);
  }
}
INSTANTIATE_TEST_SUITE_P(Entries, EntryLoadFailure,
                         testing::ValuesIn(Join(kBadInEveryList, kBadToLoad)), kNameOf);

TEST_F(ProcessorMsrList, AListThatLeavesMemoryFailsWhereItDoes) {
  const uint64_t last = lhv::kWindowBase + lhv::kWindowBytes - sizeof(MsrListEntry);
  UseList(VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount,
          {Entry(Msr::IA32_STAR, 5)}, last);
  Write(VmcsField::kVmEntryMsrLoadCount, 2);
  cpu_.EnterGuest();
  EXPECT_EQ(Read(VmcsField::kExitQualification), 2u);
  EXPECT_EQ(Msr64(Msr::IA32_STAR), 5u);
}

class FailedEntry : public ProcessorMsrList {
 protected:
  FailedEntry() { UseEntryLoadList({{.index = kUnknownMsr}}); }
};

TEST_F(FailedEntry, LeavesBlockingByNmiAsItWasBefore) {
  for (uint64_t blocked : {0, 1}) {
    for (uint32_t pin :
         {0u, PinBased::kNmiExiting, PinBased::kNmiExiting | PinBased::kVirtualNmis}) {
      for (uint32_t bit : {0u, Interruptibility::kBlockingByNmi}) {
        SCOPED_TRACE(testing::Message() << blocked << " " << pin << " " << bit);
        Write(VmcsField::kPinBasedControls, PinBased::kDefault1 | pin);
        Write(VmcsField::kGuestInterruptibilityState, bit);
        state().nmi_blocked = blocked;
        cpu_.EnterGuest();
        EXPECT_EQ(state().nmi_blocked, blocked);
      }
    }
  }
}

TEST_F(FailedEntry, LeavesTheLaunchStateTheGuestStateAndTheInjectedEventAlone) {
  Write(VmcsField::kVmEntryInterruptionInformation, InterruptionInformation::Nmi().value());
  const ActiveVmcs before = state().vmcs[0];
  cpu_.EnterGuest();
  EXPECT_EQ(state().vmcs[0].launched, 0u);
  for (const VmcsFieldInformation& row : kVmcsFields) {
    if (row.field == VmcsField::kExitReason || row.field == VmcsField::kExitQualification) continue;
    EXPECT_EQ(Read(row.field), before.fields.Read(row.field)) << row.name;
  }
}

TEST_F(FailedEntry, LoadsHostStateAndTheExitLoadListButStoresNothing) {
  UseExitLoadList({Entry(Msr::IA32_STAR, 7)});
  UseExitStoreList({Entry(Msr::IA32_STAR, 99)});
  cpu_.EnterGuest();
  EXPECT_EQ(state().switched.rip, kHostRip);
  EXPECT_EQ(Msr64(Msr::IA32_STAR), 7u);
  EXPECT_EQ(Stored(0), 99u);
  EXPECT_EQ(root_.exits, 0) << "the instruction returns; software goes on behind it";
}

TEST_F(FailedEntry, EndsInAVmxAbortIfTheExitLoadListFailsToo) {
  UseExitLoadList({{.index = kUnknownMsr}});
  cpu_.EnterGuest();
  EXPECT_EQ(state().vmcs[0].abort_indicator, static_cast<uint64_t>(VmxAbort::kLoadingHostMsrs));
  EXPECT_FALSE(cpu_.IsActive());
}

// --- VM-exit MSR-store list

TEST_F(ProcessorMsrList, ExitStoresWhatTheGuestLeft) {
  UseExitStoreList({Entry(Msr::IA32_STAR, 99), Entry(Msr::IA32_PAT, 99),
                    Entry(Msr::IA32_FS_BASE, 99), Entry(Msr::IA32_GS_BASE, 99),
                    Entry(Msr::IA32_MTRR_PHYSBASE0, 99)});
  Write(VmcsField::kGuestFsBase, 0xF5);
  Write(VmcsField::kGuestGsBase, 0x65);
  Add(VmcsField::kVmEntryControls, VmEntry::kLoadIa32Pat);
  Add(VmcsField::kVmExitControls, VmExit::kLoadIa32Pat);
  Write(VmcsField::kGuestIa32Pat, 4);
  cpu_.EnterGuest();
  ASSERT_TRUE(cpu_.WriteMsr(Index(Msr::IA32_STAR), 5));
  ASSERT_TRUE(cpu_.WriteMsr(Index(Msr::IA32_MTRR_PHYSBASE0), 6));
  ExitByVmcall();
  EXPECT_EQ(Stored(0), 5u);
  EXPECT_EQ(Stored(1), 4u) << "the host's PAT was loaded before";
  EXPECT_EQ(Stored(2), 0xF5u);
  EXPECT_EQ(Stored(3), 0x65u);
  EXPECT_EQ(Stored(4), 6u);
}

TEST_F(ProcessorMsrList, ExitStoresBeforeItLoads) {
  UseExitStoreList({Entry(Msr::IA32_STAR, 99)});
  UseExitLoadList({Entry(Msr::IA32_STAR, 7)});
  cpu_.EnterGuest();
  ASSERT_TRUE(cpu_.WriteMsr(Index(Msr::IA32_STAR), 5));
  ExitByVmcall();
  EXPECT_EQ(Stored(0), 5u);
  EXPECT_EQ(Msr64(Msr::IA32_STAR), 7u);
}

class ExitStoreFailure : public ProcessorMsrList, public testing::WithParamInterface<BadEntry> {};

TEST_P(ExitStoreFailure, IsAVmxAbortThatKeepsWhatWasStoredBefore) {
  UseExitStoreList({Entry(Msr::IA32_STAR, 99), GetParam().entry, Entry(Msr::IA32_STAR, 98)});
  cpu_.EnterGuest();
  ASSERT_TRUE(cpu_.WriteMsr(Index(Msr::IA32_STAR), 5));
  ExitByVmcall();
  EXPECT_EQ(state().vmcs[0].abort_indicator, static_cast<uint64_t>(VmxAbort::kSavingGuestMsrs));
  EXPECT_EQ(Stored(0), 5u);
  EXPECT_EQ(Stored(2), 98u);
}
INSTANTIATE_TEST_SUITE_P(Entries, ExitStoreFailure,
                         testing::ValuesIn(Join(kBadInEveryList, kBadToStore)), kNameOf);

// --- VM-exit MSR-load list

TEST_F(ProcessorMsrList, ExitLoadIsTheLastStepOfTheExit) {
  Write(VmcsField::kHostIa32SysenterCs, 1);
  UseExitLoadList({Entry(Msr::IA32_SYSENTER_CS, 2), Entry(Msr::IA32_SYSENTER_ESP, 3)});
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(state().switched.sysenter_cs, 2u);
  EXPECT_EQ(state().switched.sysenter_esp, 3u);
}

class ExitLoadFailure : public ProcessorMsrList, public testing::WithParamInterface<BadEntry> {};

TEST_P(ExitLoadFailure, IsAVmxAbortThatKeepsWhatWasLoadedBefore) {
  Write(VmcsField::kGuestIa32Efer, Efer::kLme | Efer::kLma);
  Add(VmcsField::kVmEntryControls, VmEntry::kLoadIa32Efer);
  UseExitLoadList({Entry(Msr::IA32_STAR, 1), GetParam().entry, Entry(Msr::IA32_STAR, 3)});
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(state().vmcs[0].abort_indicator, static_cast<uint64_t>(VmxAbort::kLoadingHostMsrs));
  EXPECT_EQ(Msr64(Msr::IA32_STAR), 1u);
}
INSTANTIATE_TEST_SUITE_P(Entries, ExitLoadFailure,
                         testing::ValuesIn(Join(kBadInEveryList, kBadToLoad)), kNameOf);

TEST_F(ProcessorMsrList, AVmxAbortStopsTheProcessorForGood) {
  UseExitLoadList({{.index = kUnknownMsr}});
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(root_.exits, 0) << "software in root operation never runs again";
  EXPECT_FALSE(cpu_.IsActive());
  EXPECT_FALSE(cpu_.CanTakeNmi());
  EXPECT_FALSE(CanTakeInterrupt());
}

TEST_F(ProcessorMsrList, TheIndicatorIsThatOfTheVmcsThatAborted) {
  UseExitLoadList({{.index = kUnknownMsr}});
  const uint64_t address = Read(VmcsField::kVmExitMsrLoadAddress);
  Write(VmcsField::kVmExitMsrLoadCount, 0);
  cpu_.MakeCurrent(VmcsRole::kVmcs02);
  Write(VmcsField::kVmExitMsrLoadAddress, address);
  Write(VmcsField::kVmExitMsrLoadCount, 1);
  cpu_.EnterGuest();
  ExitByVmcall();
  EXPECT_EQ(state().vmcs[0].abort_indicator, 0u);
  EXPECT_EQ(state().vmcs[1].abort_indicator, static_cast<uint64_t>(VmxAbort::kLoadingHostMsrs));
}

// --- What VM entry checks of the lists. SDM Vol. 3C, 27.2.1.2 "VM-Exit Control Fields", 27.2.1.3
// "VM-Entry Control Fields".

struct AddressCase {
  const char* name;
  uint64_t address, count;
  bool accepted;
};
void PrintTo(const AddressCase& c, std::ostream* out) { *out << c.name; }

constexpr uint64_t kBeyond = uint64_t{1} << 40;

class ListAddress : public ProcessorMsrList, public testing::WithParamInterface<AddressCase> {};

TEST_P(ListAddress, IsCheckedForEachList) {
  constexpr struct {
    VmcsField address, count;
    const char* rule;
  } kLists[] = {{VmcsField::kVmEntryMsrLoadAddress, VmcsField::kVmEntryMsrLoadCount,
                 "VM-entry MSR-load address"},
                {VmcsField::kVmExitMsrLoadAddress, VmcsField::kVmExitMsrLoadCount,
                 "VM-exit MSR-load address"},
                {VmcsField::kVmExitMsrStoreAddress, VmcsField::kVmExitMsrStoreCount,
                 "VM-exit MSR-store address"}};
  for (const auto& list : kLists) {
    Write(list.address, GetParam().address);
    Write(list.count, GetParam().count);
    root_.refusals.clear();
    cpu_.EnterGuest();
    if (GetParam().accepted) {
      EXPECT_TRUE(root_.refusals.empty());
    } else {
      ASSERT_EQ(root_.refusals.size(), 1u);
      EXPECT_EQ(root_.refusals[0], list.rule);
      EXPECT_FALSE(cpu_.in_guest());
    }
    Write(list.count, 0);
    state().operation = Operation::kRoot;
  }
}
INSTANTIATE_TEST_SUITE_P(Addresses, ListAddress,
                         testing::Values(AddressCase{"Aligned", 0x104000, 1, true},
                                         AddressCase{"By8", 0x104008, 1, false},
                                         AddressCase{"By1", 0x104001, 1, false},
                                         AddressCase{"LastBelowTheWidth", kBeyond - 16, 1, true},
                                         AddressCase{"EndsBeyondTheWidth", kBeyond - 16, 2, false},
                                         AddressCase{"BeginsBeyondTheWidth", kBeyond, 1, false},
                                         AddressCase{"Wraps", ~uint64_t{15}, 2, false}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace nvmx::sim
