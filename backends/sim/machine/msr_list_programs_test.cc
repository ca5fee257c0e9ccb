// SPDX-License-Identifier: Apache-2.0
//
// Lists of MSRs from end to end: L1 executes VMLAUNCH, the core is L0, the simulated processor runs
// it all.
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/sim/machine/testing/program_run.h"
#include "core/vmx/vmx_abort.h"
#include "core/x86/efer.h"
#include "core/x86/memory_type.h"
#include "core/x86/msr.h"
#include "gmock/gmock.h"

namespace nvmx::sim {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr uint64_t kMsrLoadingFailed = 0x80000022;
constexpr uint64_t kVmcallExit = 18;

// The lists of a program, each as the elements of a YAML list of entries; nothing: the VMCS has no
// such list.
struct Lists {
  std::string entry_load = {}, exit_store = {}, exit_load = {};
  std::string at = {};  // where the list lies, of whichever there is
};

std::string Block(const char* name, const std::string& entries, const std::string& at) {
  if (entries.empty()) return "";
  return absl::StrCat("      ", name, ": {msr_list: [", entries, "]",
                      at.empty() ? "" : absl::StrCat(", at: ", at), "}\n");
}
std::string Use(const char* name, const std::string& entries) {
  return entries.empty() ? "" : absl::StrCat("      - use_msr_list: {", name, ": ", name, "}\n");
}

// A program with these lists that enters L2 and looks at the exit, with further operations of its
// setup, of its run, and of its run before it enters L2.
std::string Program(const Lists& lists, const std::vector<std::string>& setup = {},
                    const std::vector<std::string>& run = {},
                    const std::vector<std::string>& run_first = {}) {
  const auto lines = [](const std::vector<std::string>& operations) {
    std::string text;
    for (const std::string& operation : operations) {
      absl::StrAppend(&text, "      - ", operation, "\n");
    }
    return text;
  };
  return absl::StrCat(
      "name: lists\ncpus:\n  - repeat: all\n    memory:\n"
      "      vmxon: {bytes: 4096}\n      vmcs: {bytes: 4096}\n",
      Block("entry_load", lists.entry_load, lists.at),
      Block("exit_store", lists.exit_store, lists.at),
      Block("exit_load", lists.exit_load, lists.at),
      "    setup:\n      - enter_vmx: vmxon\n      - baseline_vmcs: vmcs\n",
      Use("entry_load", lists.entry_load), Use("exit_store", lists.exit_store),
      Use("exit_load", lists.exit_load), lines(setup), "    run:\n", lines(run_first),
      "      - vmlaunch\n      - observe_exit\n", lines(run), "    l2: [vmcall]\n");
}

std::string Entry(const std::string& msr, uint64_t value, uint64_t repeat = 1) {
  return absl::StrCat("{msr: ", msr, ", value: ", value, ", repeat: ", repeat, "}");
}

// The three lists, to say the same of each.
enum class Which { kEntryLoad, kExitStore, kExitLoad };
constexpr Which kAllLists[] = {Which::kEntryLoad, Which::kExitStore, Which::kExitLoad};
void PrintTo(Which which, std::ostream* out) {
  *out << (which == Which::kEntryLoad   ? "entry load"
           : which == Which::kExitStore ? "exit store"
                                        : "exit load");
}
const char* FieldPrefix(Which which) {
  return which == Which::kEntryLoad   ? "VM_ENTRY_MSR_LOAD"
         : which == Which::kExitStore ? "VM_EXIT_MSR_STORE"
                                      : "VM_EXIT_MSR_LOAD";
}
const char* BlockName(Which which) {
  return which == Which::kEntryLoad   ? "entry_load"
         : which == Which::kExitStore ? "exit_store"
                                      : "exit_load";
}
Lists Only(Which which, const std::string& entries, const std::string& at = "") {
  Lists lists{.at = at};
  (which == Which::kEntryLoad   ? lists.entry_load
   : which == Which::kExitStore ? lists.exit_store
                                : lists.exit_load) = entries;
  return lists;
}

bool VmfailedWith7(ProgramRun& run) {
  for (const lhv::Observation& o : run.cpu().observations()) {
    if (o.kind == lhv::ObservationKind::kVmfailValid &&
        o.selector == static_cast<uint64_t>(lhv::InstructionKind::kVmlaunch)) {
      return o.value == 7;
    }
  }
  return false;
}

// The data of entry `number`, from 0, of a list in L1's memory.
uint64_t Data(ProgramRun& run, const char* block, uint64_t number, uint32_t cpu = 0) {
  return run.Memory64(run.AddressOf(block, cpu) + number * 16 + 8);
}

uint32_t AbortIndicator(ProgramRun& run) {
  return static_cast<uint32_t>(run.Memory64(run.AddressOf("vmcs")) >> 32);
}

class MsrListPrograms : public testing::Test {
 protected:
  // Runs to the end, which is not to be one of L0's own defects.
  static void Finish(ProgramRun& run) {
    ASSERT_TRUE(run.ToTheEnd());
    EXPECT_FALSE(run.l0_failed());
  }
  static void ExpectOneExit(ProgramRun& run, uint64_t reason, uint64_t qualification = 0) {
    EXPECT_THAT(run.ExitFields(VmcsField::kExitReason), ElementsAre(reason));
    EXPECT_THAT(run.ExitFields(VmcsField::kExitQualification), ElementsAre(qualification));
  }
};
class EachMsrList : public MsrListPrograms, public testing::WithParamInterface<Which> {};
INSTANTIATE_TEST_SUITE_P(Lists, EachMsrList, testing::ValuesIn(kAllLists));

// --- How many entries.

TEST_P(EachMsrList, NoEntriesWithAnAddressOfGarbageAreAccepted) {
  ProgramRun run(Program({}, {absl::StrCat("vmwrite: {field: ", FieldPrefix(GetParam()),
                                           "_ADDRESS, value: 0xffffffffffffffff}")}));
  Finish(run);
  ExpectOneExit(run, kVmcallExit);
}

TEST_P(EachMsrList, OneEntryIsProcessed) {
  ProgramRun run(Program(Only(GetParam(), Entry("IA32_STAR", 5)),
                         {"wrmsr: {msr: IA32_STAR, value: 3}"}, {"rdmsr: IA32_STAR"}));
  Finish(run);
  ExpectOneExit(run, kVmcallExit);
  const bool loads = GetParam() != Which::kExitStore;
  EXPECT_THAT(run.MsrValues(0xC0000081, 1), ElementsAre(loads ? 5u : 3u));
  EXPECT_EQ(Data(run, BlockName(GetParam()), 0), loads ? 5u : 3u);
}

TEST_P(EachMsrList, TheMostThatIsRecommendedIsProcessedToTheLast) {
  ProgramRun run(Program(
      Only(GetParam(), absl::StrCat(Entry("IA32_STAR", 5, 511), ", ", Entry("IA32_CSTAR", 6))),
      {"wrmsr: {msr: IA32_CSTAR, value: 3}"}, {"rdmsr: IA32_CSTAR"}));
  Finish(run);
  ExpectOneExit(run, kVmcallExit);
  const bool loads = GetParam() != Which::kExitStore;
  EXPECT_THAT(run.MsrValues(0xC0000083, 1), ElementsAre(loads ? 6u : 3u));
  EXPECT_EQ(Data(run, BlockName(GetParam()), 511), loads ? 6u : 3u);
}

TEST_P(EachMsrList, OneMoreIsRefused) {
  ProgramRun run(Program(Only(GetParam(), Entry("IA32_STAR", 5, 513)), {}, {"rdmsr: IA32_STAR"}));
  Finish(run);
  EXPECT_TRUE(VmfailedWith7(run)) << absl::StrJoin(run.Log(), "\n");
  EXPECT_THAT(run.MsrValues(0xC0000081, 1), ElementsAre(0u));
}

// --- Where it lies.

TEST_P(EachMsrList, AListMayCrossTwoPageBoundaries) {
  // 16 bytes on the first page, a whole page, and one entry on the third.
  ProgramRun run(Program(Only(GetParam(),
                              absl::StrCat(Entry("IA32_STAR", 5), ", ", Entry("IA32_LSTAR", 6, 256),
                                           ", ", Entry("IA32_CSTAR", 7)),
                              "0x1fff0"),
                         {"wrmsr: {msr: IA32_STAR, value: 1}", "wrmsr: {msr: IA32_LSTAR, value: 2}",
                          "wrmsr: {msr: IA32_CSTAR, value: 3}"},
                         {"rdmsr: IA32_STAR", "rdmsr: IA32_LSTAR", "rdmsr: IA32_CSTAR"}));
  Finish(run);
  ExpectOneExit(run, kVmcallExit);
  const bool loads = GetParam() != Which::kExitStore;
  EXPECT_THAT(run.MsrValues(0xC0000081, 1), ElementsAre(loads ? 5u : 1u));
  EXPECT_THAT(run.MsrValues(0xC0000082, 1), ElementsAre(loads ? 6u : 2u));
  EXPECT_THAT(run.MsrValues(0xC0000083, 1), ElementsAre(loads ? 7u : 3u));
  EXPECT_EQ(Data(run, BlockName(GetParam()), 0), loads ? 5u : 1u);
  EXPECT_EQ(Data(run, BlockName(GetParam()), 256), loads ? 6u : 2u);
  EXPECT_EQ(Data(run, BlockName(GetParam()), 257), loads ? 7u : 3u);
}

TEST_P(EachMsrList, AnAddressThatIsNotAlignedOrTooWideIsRefused) {
  for (const char* address :
       {"0x110008", "0x110001", "0xfffffffff0", "0x10000000000", "0xfffffffffffffff0"}) {
    // Two entries: the fourth address is the last 16 bytes that the width allows.
    ProgramRun run(Program(
        {}, {absl::StrCat("vmwrite: {field: ", FieldPrefix(GetParam()),
                          "_ADDRESS, value: ", address, "}"),
             absl::StrCat("vmwrite: {field: ", FieldPrefix(GetParam()), "_COUNT, value: 2}")}));
    Finish(run);
    EXPECT_TRUE(VmfailedWith7(run)) << address;
  }
}

// --- What fails.

TEST_F(MsrListPrograms, AFailureAtEntryKeepsTheEntriesBeforeIt) {
  // Entries 1, 3 and 5 of five good ones are replaced by a bad one in turn.
  for (uint64_t bad : {0, 2, 4}) {
    std::vector<std::string> entries;
    for (uint64_t number = 0; number < 5; ++number) {
      // The machine-check registers IA32_MC0_CTL on are plain.
      entries.push_back(number == bad ? Entry("0xdead", 0)
                                      : Entry(absl::StrCat(0x400 + number), number + 1));
    }
    std::vector<std::string> reads;
    for (uint64_t number = 0; number < 5; ++number) {
      reads.push_back(absl::StrCat("rdmsr: ", 0x400 + number));
    }
    ProgramRun run(Program({.entry_load = absl::StrJoin(entries, ", ")}, {}, reads));
    Finish(run);
    ExpectOneExit(run, kMsrLoadingFailed, bad + 1);
    for (uint64_t number = 0; number < 5; ++number) {
      EXPECT_THAT(run.MsrValues(static_cast<uint32_t>(0x400 + number), 1),
                  ElementsAre(number < bad ? number + 1 : 0u))
          << "entry " << number << ", bad " << bad;
    }
    EXPECT_EQ(run.cpu().vcpu_state().vmcs12_launched, 0u);
  }
}

TEST_F(MsrListPrograms, MtrrsLoadedBeforeABadEntryStayAndTakeEffect) {
  ProgramRun run(Program({.entry_load = "{msr: 0x20a, value: 0xaaaaa000}, {msr: 0xdead}, "
                                        "{msr: 0x20c, value: 0xccccc000}"},
                         {}, {"rdmsr: 0x20a", "rdmsr: 0x20c"}));
  Finish(run);
  ExpectOneExit(run, kMsrLoadingFailed, 2);
  EXPECT_THAT(run.MsrValues(0x20A, 1), ElementsAre(0xAAAAA000u));
  EXPECT_THAT(run.MsrValues(0x20C, 1), ElementsAre(0u));
  EXPECT_EQ(run.cpu().vcpu_state().memory_types_stale, 0u);
  MtrrSettings types;
  std::memcpy(&types, run.machine().system().ept01_memory_types.bytes().data(), sizeof types);
  EXPECT_EQ(types.variable[5].base, 0xAAAAA000u);
}

TEST_F(MsrListPrograms, ABadEntryInTheExitLoadListIsAVmxAbort) {
  ProgramRun run(Program({.exit_load = "{msr: 0x20a, value: 0xaaaaa000}, {msr: 0xdead}, "
                                       "{msr: 0x20c, value: 0xccccc000}"},
                         {}, {"rdmsr: 0x20a"}));
  Finish(run);
  EXPECT_THAT(run.Log(), IsEmpty()) << "L1 executes nothing any more";
  EXPECT_EQ(AbortIndicator(run), static_cast<uint32_t>(VmxAbort::kLoadingHostMsrs));
  EXPECT_EQ(run.cpu().vcpu_state().in_vmx_abort, 1u);
  EXPECT_EQ(run.cpu().vcpu_state().mtrr.variable[5].base, 0xAAAAA000u);
  EXPECT_EQ(run.cpu().vcpu_state().mtrr.variable[6].base, 0u);
}

TEST_F(MsrListPrograms, ABadEntryInTheExitStoreListIsAVmxAbort) {
  ProgramRun run(Program({.exit_store = "{msr: IA32_STAR, value: 9}, {msr: 0xdead, value: 9}, "
                                        "{msr: IA32_STAR, value: 9}",
                          .exit_load = "{msr: IA32_CSTAR, value: 7}"},
                         {"wrmsr: {msr: IA32_STAR, value: 5}"}, {"rdmsr: IA32_STAR"}));
  Finish(run);
  EXPECT_THAT(run.Log(), IsEmpty());
  EXPECT_EQ(AbortIndicator(run), static_cast<uint32_t>(VmxAbort::kSavingGuestMsrs));
  EXPECT_EQ(Data(run, "exit_store", 0), 5u);
  EXPECT_EQ(Data(run, "exit_store", 2), 9u);
  EXPECT_EQ(run.cpu().processor().ReadMsr(0xC0000083), uint64_t{0}) << "no MSR was loaded";
}

TEST_F(MsrListPrograms, ABadExitLoadListAfterAFailedEntryIsAVmxAbort) {
  ProgramRun run(Program({.entry_load = "{msr: 0xdead}", .exit_load = "{msr: 0xdead}"}));
  Finish(run);
  EXPECT_THAT(run.Log(), IsEmpty());
  EXPECT_EQ(AbortIndicator(run), static_cast<uint32_t>(VmxAbort::kLoadingHostMsrs));
}

TEST_F(MsrListPrograms, AFailedEntryLoadsTheExitLoadListAndStoresNothing) {
  ProgramRun run(Program({.entry_load = "{msr: 0xdead}",
                          .exit_store = "{msr: IA32_STAR, value: 9}",
                          .exit_load = "{msr: IA32_CSTAR, value: 7}"},
                         {"wrmsr: {msr: IA32_STAR, value: 5}"}, {"rdmsr: IA32_CSTAR"}));
  Finish(run);
  ExpectOneExit(run, kMsrLoadingFailed, 1);
  EXPECT_THAT(run.MsrValues(0xC0000083, 1), ElementsAre(7u));
  EXPECT_EQ(Data(run, "exit_store", 0), 9u);
}

TEST_F(MsrListPrograms, AfterAFailedEntryL1CanRepairTheListAndLaunch) {
  ProgramRun run(Program({.entry_load = "{msr: 0xdead}"}, {},
                         {"vmwrite: {field: VM_ENTRY_MSR_LOAD_COUNT, value: 0}", "vmlaunch",
                          "observe_exit: [exit_reason]"}));
  Finish(run);
  EXPECT_THAT(run.ExitFields(VmcsField::kExitReason), ElementsAre(kMsrLoadingFailed, kVmcallExit));
}

// --- The three kinds of MSRs: switched by the VMCS, emulated, and shared.

constexpr char kMixedList[] =
    "{msr: IA32_EFER, value: 0x501}, {msr: 0x20c, value: 0xccccc000}, {msr: IA32_STAR, value: 5}, "
    "{msr: IA32_PAT, value: 0x0007060400070604}, {msr: IA32_SYSENTER_CS, value: 8}, "
    "{msr: 0x402, value: 6}";
constexpr uint64_t kMixedPat = 0x0007060400070604;

TEST_F(MsrListPrograms, AMixedEntryListIsWhatL2Has) {
  ProgramRun run(Program({.entry_load = kMixedList}));
  ASSERT_TRUE(run.StepToL2());
  const Processor& processor = run.cpu().processor();
  EXPECT_EQ(processor.ReadMsr(Index(Msr::IA32_EFER)), Efer::kSce | Efer::kLme | Efer::kLma);
  EXPECT_EQ(processor.ReadMsr(Index(Msr::IA32_PAT)), kMixedPat);
  EXPECT_EQ(processor.ReadMsr(Index(Msr::IA32_SYSENTER_CS)), uint64_t{8});
  EXPECT_EQ(processor.ReadMsr(Index(Msr::IA32_STAR)), uint64_t{5});
  EXPECT_EQ(processor.ReadMsr(0x402), uint64_t{6});
  EXPECT_EQ(run.cpu().vcpu_state().mtrr.Read(0x20C), uint64_t{0xCCCCC000});
}

const std::vector<std::string> kReadMixed = {"rdmsr: IA32_EFER",        "rdmsr: 0x20c",
                                             "rdmsr: IA32_STAR",        "rdmsr: IA32_PAT",
                                             "rdmsr: IA32_SYSENTER_CS", "rdmsr: 0x402"};

TEST_F(MsrListPrograms, WhatIsOnlyInTheEntryListEndsWithTheHostStateOrStays) {
  ProgramRun run(Program({.entry_load = kMixedList}, {}, kReadMixed));
  Finish(run);
  ExpectOneExit(run, kVmcallExit);
  EXPECT_THAT(run.MsrValues(0xC0000080, 1), ElementsAre(Efer::kLme | Efer::kLma)) << "host state";
  EXPECT_THAT(run.MsrValues(0x277, 1), ElementsAre(kPatReset)) << "host state";
  EXPECT_THAT(run.MsrValues(0x174, 1), ElementsAre(0u)) << "host state, whatever the controls";
  EXPECT_THAT(run.MsrValues(0xC0000081, 1), ElementsAre(5u));
  EXPECT_THAT(run.MsrValues(0x402, 1), ElementsAre(6u));
  EXPECT_THAT(run.MsrValues(0x20C, 1), ElementsAre(0xCCCCC000u));
}

TEST_F(MsrListPrograms, WithoutTheLoadControlsL1HasWhatL2Left) {
  ProgramRun run(Program({.entry_load = kMixedList},
                         {"vmwrite_control: {field: VM_EXIT_CONTROLS, "
                          "bits: [HOST_ADDRESS_SPACE_SIZE]}"},
                         kReadMixed));
  Finish(run);
  ExpectOneExit(run, kVmcallExit);
  EXPECT_THAT(run.MsrValues(0xC0000080, 1), ElementsAre(Efer::kSce | Efer::kLme | Efer::kLma));
  EXPECT_THAT(run.MsrValues(0x277, 1), ElementsAre(kMixedPat));
}

TEST_F(MsrListPrograms, TheExitLoadListOverridesTheHostState) {
  ProgramRun run(Program({.exit_load = kMixedList}, {}, kReadMixed));
  Finish(run);
  ExpectOneExit(run, kVmcallExit);
  EXPECT_THAT(run.MsrValues(0xC0000080, 1), ElementsAre(Efer::kSce | Efer::kLme | Efer::kLma));
  EXPECT_THAT(run.MsrValues(0x277, 1), ElementsAre(kMixedPat));
  EXPECT_THAT(run.MsrValues(0x174, 1), ElementsAre(8u));
  EXPECT_THAT(run.MsrValues(0xC0000081, 1), ElementsAre(5u));
  EXPECT_THAT(run.MsrValues(0x402, 1), ElementsAre(6u));
  EXPECT_THAT(run.MsrValues(0x20C, 1), ElementsAre(0xCCCCC000u));
}

TEST_F(MsrListPrograms, TheStoreListShowsL2sValuesNotL1s) {
  ProgramRun run(Program({.entry_load = kMixedList,
                          .exit_store = "{msr: IA32_EFER}, {msr: 0x20c}, {msr: IA32_STAR}, "
                                        "{msr: IA32_PAT}, {msr: IA32_SYSENTER_CS}, {msr: 0x402}",
                          .exit_load = "{msr: IA32_STAR, value: 1}"}));
  Finish(run);
  EXPECT_EQ(Data(run, "exit_store", 0), Efer::kSce | Efer::kLme | Efer::kLma);
  EXPECT_EQ(Data(run, "exit_store", 1), 0xCCCCC000u);
  EXPECT_EQ(Data(run, "exit_store", 2), 5u);
  EXPECT_EQ(Data(run, "exit_store", 3), kMixedPat);
  EXPECT_EQ(Data(run, "exit_store", 4), 8u);
  EXPECT_EQ(Data(run, "exit_store", 5), 6u);
}

// The lists of a well-known test hypervisor: one MSR of each kind in each list, on all CPUs, again
// and again. Between two entries L1 takes the MTRRs back, so that each entry and each exit stops
// all CPUs.
TEST_F(MsrListPrograms, OneMsrOfEachKindInEachListOnTwoCpusTwentyTimes) {
  constexpr int kIterations = 20;
  std::vector<std::string> run_lines;
  for (int iteration = 1; iteration < kIterations; ++iteration) {
    for (const char* operation :
         {"rdmsr: 0x20b", "rdmsr: 0x20c", "wrmsr: {msr: 0x20b, value: 0}",
          "wrmsr: {msr: 0x20c, value: 0}", "advance_guest_rip", "vmresume", "observe_exit"}) {
      run_lines.push_back(operation);
    }
  }
  for (const char* operation : {"rdmsr: 0x20b", "rdmsr: 0x20c", "rdmsr: 0xc0000081", "rdmsr: 0x403",
                                "rdmsr: 0x406", "rdmsr: IA32_PAT"}) {
    run_lines.push_back(operation);
  }
  std::string text = Program(
      {.entry_load = absl::StrCat("{msr: 0x20c, value: 0xccccc000}, {msr: IA32_PAT, value: ",
                                  kMixedPat, "}, {msr: 0x406, value: 0x666}"),
       .exit_store = "{msr: 0x20a}, {msr: IA32_EFER}, {msr: 0x402}",
       .exit_load = "{msr: 0x20b, value: 0xbbbbb000}, {msr: 0xc0000081, value: 0x11111000}, "
                    "{msr: 0x403, value: 0x333}"},
      {"wrmsr: {msr: 0x402, value: 0x222}"}, run_lines, {"wrmsr: {msr: 0x20a, value: 0xaaaaa000}"});
  std::string l2 = "    l2: [vmcall";
  for (int iteration = 1; iteration < kIterations; ++iteration) l2 += ", vmcall";
  text.replace(text.rfind("    l2: [vmcall"), std::string::npos, l2 + "]\n");

  ProgramRun run(text, 2);
  Finish(run);
  for (uint32_t cpu = 0; cpu < 2; ++cpu) {
    SCOPED_TRACE(cpu);
    EXPECT_EQ(run.ExitFields(VmcsField::kExitReason, cpu),
              std::vector<uint64_t>(kIterations, kVmcallExit));
    EXPECT_EQ(run.MsrValues(0x20B, 1, cpu), std::vector<uint64_t>(kIterations, 0xBBBBB000));
    EXPECT_EQ(run.MsrValues(0x20C, 1, cpu), std::vector<uint64_t>(kIterations, 0xCCCCC000));
    EXPECT_THAT(run.MsrValues(0xC0000081, 1, cpu), ElementsAre(0x11111000u));
    EXPECT_THAT(run.MsrValues(0x403, 1, cpu), ElementsAre(0x333u));
    EXPECT_THAT(run.MsrValues(0x406, 1, cpu), ElementsAre(0x666u));
    EXPECT_THAT(run.MsrValues(0x277, 1, cpu), ElementsAre(kPatReset));
    EXPECT_EQ(Data(run, "exit_store", 0, cpu), 0xAAAAA000u);
    EXPECT_EQ(Data(run, "exit_store", 1, cpu), Efer::kLme | Efer::kLma);
    EXPECT_EQ(Data(run, "exit_store", 2, cpu), 0x222u);
  }
  // One quiesce for each list with a changed MTRR and for each WRMSR of one: on two CPUs 2 * 20
  // lists, 1 + 2 * 19 writes.
  int quiesces = 0;
  for (const TraceEvent& event : run.machine().trace().events()) {
    if (event.kind == EventKind::kCore &&
        event.core_kind == static_cast<uint32_t>(TraceKind::kQuiesceBegin)) {
      ++quiesces;
    }
  }
  EXPECT_EQ(quiesces, 2 * (2 * kIterations + 1 + 2 * (kIterations - 1)));
}

}  // namespace
}  // namespace nvmx::sim
