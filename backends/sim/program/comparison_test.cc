// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/comparison.h"

#include <string>

#include "backends/sim/program/declared_differences.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/explanation.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::sim {
namespace {

using lhv::Observation;
using lhv::ObservationKind;
using testing::HasSubstr;

lhv::GuestProgram MustAssemble(const std::string& text, uint32_t cpus = 1) {
  absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble("test.yaml", text, cpus);
  EXPECT_TRUE(program.ok()) << program.status();
  return *std::move(program);
}

ProgramResult Result(std::vector<Observation> log, CpuEnd end = CpuEnd::kComplete) {
  ProgramResult result;
  result.cpus.push_back({std::move(log), end});
  return result;
}

const Observation kFirst{
    .kind = ObservationKind::kMsrValue, .operation = 1, .selector = 2, .value = 3};
const Observation kSecond{.kind = ObservationKind::kNmi, .operation = 2};
const Observation kOther{.kind = ObservationKind::kNmi, .operation = 3};

TEST(FirstDifferenceTest, EqualLogsHaveNone) {
  EXPECT_FALSE(FirstDifference(Result({kFirst, kSecond}), Result({kFirst, kSecond})));
  EXPECT_FALSE(FirstDifference(Result({}), Result({})));
}

TEST(FirstDifferenceTest, IsWhereTheLogsPart) {
  const auto d = FirstDifference(Result({kFirst, kSecond}), Result({kFirst, kOther}));
  ASSERT_TRUE(d);
  EXPECT_EQ(d->position, 1u);
  EXPECT_EQ(d->reference, kSecond);
  EXPECT_EQ(d->nested, kOther);
}

TEST(FirstDifferenceTest, IsWhereOneLogEnds) {
  const auto d = FirstDifference(Result({kFirst}), Result({kFirst, kOther}));
  ASSERT_TRUE(d);
  EXPECT_EQ(d->position, 1u);
  EXPECT_FALSE(d->reference);
  EXPECT_EQ(d->nested, kOther);
}

TEST(FirstDifferenceTest, HowACpuEndsCounts) {
  const auto d = FirstDifference(Result({kFirst}), Result({kFirst}, CpuEnd::kShutdown));
  ASSERT_TRUE(d);
  EXPECT_EQ(d->nested_end, CpuEnd::kShutdown);
  EXPECT_FALSE(SameObservations(Result({kFirst}), Result({kFirst}, CpuEnd::kShutdown)));
}

TEST(FirstDifferenceTest, AnInitMayComeBeforeTheEndOfTheOperationsIsNoted) {
  const Observation done{.kind = ObservationKind::kDone, .level = 1};
  for (const CpuEnd end : {CpuEnd::kWaitsForSipi, CpuEnd::kComplete}) {
    EXPECT_EQ(SameObservations(Result({kFirst, done}, end), Result({kFirst}, end)),
              end == CpuEnd::kWaitsForSipi);
  }
  EXPECT_FALSE(SameObservations(Result({kFirst, done}, CpuEnd::kWaitsForSipi),
                                Result({kOther}, CpuEnd::kWaitsForSipi)));
}

TEST(FirstDifferenceTest, OfTheSecondCpuIfTheFirstHasNone) {
  ProgramResult a = Result({kFirst}), b = Result({kFirst});
  a.cpus.push_back({{kSecond}, CpuEnd::kComplete});
  b.cpus.push_back({{kOther}, CpuEnd::kComplete});
  EXPECT_EQ(FirstDifference(a, b)->cpu, 1u);
}

// Writes a word through L2's EPT, changes the EPT without INVEPT, and reads: what is read depends
// on what the TLB kept.
constexpr char kStale[] = R"(
name: stale
cpus:
  - memory:
      vmxon: {bytes: 4096}
      vmcs: {bytes: 4096}
      a: {qwords: [1]}
      b: {qwords: [2]}
      ept: {ept: {identity: 2M, map: [{at: a}]}}
    setup:
      - enter_vmx: vmxon
      - baseline_vmcs: vmcs
      - use_vpid: 1
      - use_ept: ept
    run:
      - vmlaunch
      - write_memory: {address: {entry_of: ept, address: a}, value: {ept_entry: b}}
      - advance_guest_rip
      - vmresume
    l2:
      - read_memory: {address_of: a}
      - vmcall
      - read_memory: {address_of: a}
      - vmcall
)";

TEST(ComparerTest, AProgramThatDependsOnStaleTranslationsHasTwoLogs) {
  Comparer comparer(1);
  Comparison comparison;
  comparer.Compare(MustAssemble(kStale), comparison);
  EXPECT_TRUE(comparison.ambiguous);
  EXPECT_FALSE(SameObservations(comparison.keep, comparison.evict));
  EXPECT_EQ(comparison.likeness, Likeness::kSameAsOnePolicy) << DifferenceText({}, comparison);
  EXPECT_FALSE(comparison.IsDefect());
}

TEST(ComparerTest, WithTheInvalidationItHasOne) {
  std::string text = kStale;
  const std::string entry = "      - advance_guest_rip\n";
  text.insert(text.find(entry), "      - invept: {type: single_context, eptp: {eptp_of: ept}}\n");
  Comparer comparer(1);
  Comparison comparison;
  comparer.Compare(MustAssemble(text), comparison);
  EXPECT_FALSE(comparison.ambiguous);
  EXPECT_EQ(comparison.likeness, Likeness::kSame);
}

constexpr char kReadOfL0[] = R"(
name: reads L0's memory
cpus:
  - run:
      - read_memory: {address: ADDRESS, width: 8}
)";

lhv::GuestProgram ReadOf(const std::string& address) {
  std::string text = kReadOfL0;
  text.replace(text.find("ADDRESS"), 7, address);
  return MustAssemble(text);
}

// The second VM exit is a VMCALL with the page that the TLB kept, an EPT violation without.
TEST(NativeMachineTest, TheLastExitsDifferThoughTheLogsDoNot) {
  std::string text = kStale;
  const std::string entry = "{ept_entry: b}",
                    second = "- read_memory: {address_of: a}\n      - vmcall\n";
  text.replace(text.find(entry), entry.size(), "0");
  text.replace(text.rfind(second), second.size(),
               "- write_memory: {address: a, value: 3}\n      - vmcall\n");
  NativeMachine keep(1, TlbPolicy::kKeep), evict(1, TlbPolicy::kEvictAtOnce);
  ProgramResult kept, evicted;
  keep.Run(MustAssemble(text), kept);
  evict.Run(MustAssemble(text), evicted);
  EXPECT_FALSE(FirstDifference(kept, evicted));
  EXPECT_FALSE(keep.ExitedLike(evict));
  keep.Run(MustAssemble(kStale), kept);
  evict.Run(MustAssemble(kStale), evicted);
  EXPECT_TRUE(keep.ExitedLike(evict));
}

TEST(ComparerTest, MemoryThatNothingAnswersIsTheSame) {
  Comparer comparer(1);
  Comparison comparison;
  comparer.Compare(ReadOf("0x30000000"), comparison);
  EXPECT_EQ(comparison.likeness, Likeness::kSame);
}

// No page can be given to the processor, which must not check the TPR threshold all the same. Found
// by a fuzzer: L0's VM entry was refused.
TEST(ComparerTest, AnApicAccessPageInL0sMemoryLeavesTheTprThresholdAlone) {
  Comparer comparer(1);
  Comparison comparison;
  comparer.Compare(MustAssemble(R"(
name: APIC-access page in L0's memory
cpus:
  - memory:
      vmxon: {bytes: 4096}
      vmcs: {bytes: 4096}
      virtual_apic: {bytes: 4096}
    setup:
      - enter_vmx: vmxon
      - baseline_vmcs: vmcs
      - use_tpr_shadow: {page: virtual_apic, threshold: 1}
      - add_controls: {secondary: [VIRTUALIZE_APIC_ACCESSES]}
      - vmwrite: {field: APIC_ACCESS_ADDRESS, value: 0xffc0000000}
    run:
      - vmlaunch: {observe: [exit_reason]}
    l2:
      - vmcall
)"),
                   comparison);
  EXPECT_EQ(comparison.likeness, Likeness::kSame) << DifferenceText({}, comparison);
  EXPECT_EQ(comparison.nested.defect, "");
}

TEST(DifferenceTextTest, ShowsBothSidesTheOperationAndTheExit) {
  const lhv::GuestProgram program =
      MustAssemble("name: p\ncpus: [{run: [{rdmsr: IA32_PAT}, {cpuid: 1}, {rdmsr: IA32_EFER}]}]\n");
  Comparison comparison;
  const Observation exit{.kind = ObservationKind::kVmExit, .selector = 0x4402, .value = 48};
  const Observation pat{
      .kind = ObservationKind::kMsrValue, .operation = 0, .selector = 0x277, .value = 1};
  Observation other = pat;
  other.value = 2;
  comparison.keep = comparison.evict = Result({exit, pat});
  comparison.nested = Result({exit, other});
  comparison.difference = FirstDifference(comparison.keep, comparison.nested);
  const std::string text = DifferenceText(program, comparison);
  EXPECT_THAT(text, HasSubstr("both        L1 #0: VM exit: EXIT_REASON = 48"));
  EXPECT_THAT(text, HasSubstr("sim-native  L1 #0: RDMSR IA32_PAT = 0x1"));
  EXPECT_THAT(text, HasSubstr("sim-nested  L1 #0: RDMSR IA32_PAT = 0x2"));
  EXPECT_THAT(text, HasSubstr("L1 #0 is  rdmsr IA32_PAT"));
  EXPECT_THAT(text, HasSubstr("the last VM exit that L1 saw: EPT violation (48)"));
}

constexpr char kRefusedEntry[] = R"(
name: refused
cpus:
  - memory:
      vmxon: {bytes: 4096}
      vmcs: {bytes: 4096}
    setup:
      - enter_vmx: vmxon
      - baseline_vmcs: vmcs
    run:
      - vmwrite: {field: GUEST_RFLAGS, value: 0}
      - vmlaunch: {observe: [exit_reason]}
)";

TEST(ExplanationTextTest, NamesTheRuleThatAVmEntryBroke) {
  const lhv::GuestProgram program = MustAssemble(kRefusedEntry);
  Comparer comparer(1);
  Comparison comparison;
  comparer.Compare(program, comparison);
  const std::string text = ExplanationText(program, comparison);
  EXPECT_THAT(text, HasSubstr("refused: same\n"));
  EXPECT_THAT(text,
              HasSubstr("VMCS12 breaks the rule GuestRflagsReservedBits, SDM Vol. 3C, 27.3.1"));
  EXPECT_THAT(text, HasSubstr("VM exit: EXIT_REASON = 33"));
  EXPECT_THAT(text, HasSubstr("ends: complete"));
}

TEST(ExplanationTextTest, OfADifferenceNamesTheLastRefusedEntryBeforeIt) {
  const lhv::GuestProgram program = MustAssemble(kRefusedEntry);
  Comparer comparer(1);
  Comparison comparison;
  comparer.Compare(program, comparison);
  // As if the reference had entered.
  comparison.keep.cpus[0].log.resize(comparison.keep.cpus[0].log.size() - 2);
  comparison.difference = FirstDifference(comparison.keep, comparison.nested);
  EXPECT_THAT(DifferenceText(program, comparison),
              HasSubstr("the last VM entry that the core refused: VMCS12 breaks the rule "
                        "GuestRflagsReservedBits"));
}

// L2's second operation lies on a page that L0 has to map.
TEST(DeclaredDifferencesTest, AnExitToL0EndsWhatMonitorHasArmed) {
  Comparer comparer(1);
  Comparison comparison;
  const auto compare = [&](const std::string& looking, const std::string& between) {
    comparer.Compare(MustAssemble(R"(
name: MONITOR and MWAIT
cpus:
  - memory:
      vmxon: {bytes: 4096}
      vmcs: {bytes: 4096}
      data: {bytes: 4096}
      ept: {ept: {identity: 1G, map: [{at: 0x20000000, count: 4}]}}
    setup:
      - enter_vmx: vmxon
      - baseline_vmcs: vmcs
      - use_ept: ept
      - add_controls: {primary: [MWAIT_EXITING]}
    run:
      - )" + looking + R"(
    l2:
      - )" + between + R"(
      - mwait
)"),
                     comparison);
  };
  for (const char* looking : {"vmlaunch: {observe: [exit_reason, exit_qualification]}",
                              "vmlaunch\n      - vmread: EXIT_QUALIFICATION"}) {
    compare(looking, "monitor: data");
    EXPECT_EQ(comparison.likeness, Likeness::kDeclared) << looking;
    EXPECT_EQ(comparison.declared, "monitor") << looking;
    compare(looking, "nop");
    EXPECT_EQ(comparison.likeness, Likeness::kSame) << looking;
  }
}

// CPU 0's second operation stops CPU 1, whose own NMI is latched by then, or is not.
TEST(DeclaredDifferencesTest, AnNmiMergesWithOneOfL0s) {
  Comparer comparer(2);
  Comparison comparison;
  const auto compare = [&](const std::string& run) {
    comparer.Compare(
        MustAssemble("name: merging\ncpus: [{run: [nop, "
                     "{wrmsr: {msr: IA32_MTRR_PHYSBASE1, value: 0x80000006}}]}, {run: [" +
                         run + "]}]\n",
                     2),
        comparison);
  };
  compare("{send_nmi: self}, nop");
  EXPECT_EQ(comparison.likeness, Likeness::kDeclared);
  EXPECT_EQ(comparison.declared, "nmi-merged-with-l0s");
  compare("nop, nop, {send_nmi: self}, nop");
  EXPECT_EQ(comparison.likeness, Likeness::kSame);
}

// CPU 1 enters its L2 again behind each NMI exit, for which another NMI is sent, without a word.
TEST(DeclaredDifferencesTest, AnNmiThatAnEndlessLoopNeedsMerges) {
  Comparer comparer(2);
  Comparison comparison;
  comparer.Compare(MustAssemble(R"(
name: loop
cpus:
  - memory: {counter: {bytes: 8}}
    run:
      - wrmsr: {msr: IA32_MTRR_PHYSBASE1, value: 0x80000006}
      - wrmsr: {msr: IA32_MTRR_PHYSBASE1, value: 0x80000000}
      - nop
      - repeat_last: {times: 99, operations: 3, counter: counter}
  - memory:
      vmxon: {bytes: 4096}
      vmcs: {bytes: 4096}
    setup:
      - enter_vmx: vmxon
      - baseline_vmcs: vmcs
      - add_controls: {pin: [NMI_EXITING, VIRTUAL_NMIS]}
    run:
      - vmlaunch
      - vmwrite: {field: GUEST_RIP, value: 0x21000000}
      - vmresume: {keep_host_rip: true}
    l2: [nop, {send_nmi: self}, nop, nop, nop, nop, nop, nop]
)",
                                2),
                   comparison);
  EXPECT_EQ(comparison.likeness, Likeness::kDeclared);
  EXPECT_EQ(comparison.declared, "nmi-merged-with-l0s");
}

TEST(DeclaredDifferencesTest, EachHasAReasonAndANameOfItsOwn) {
  for (const DeclaredDifference& row : AllDeclaredDifferences()) {
    EXPECT_GT(std::string(row.reason).size(), 20u) << row.name;
    int same = 0;
    for (const DeclaredDifference& other : AllDeclaredDifferences()) {
      same += std::string(other.name) == row.name;
    }
    EXPECT_EQ(same, 1) << row.name;
  }
}

}  // namespace
}  // namespace nvmx::sim
