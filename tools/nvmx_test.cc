// SPDX-License-Identifier: Apache-2.0
//
// The program as a person meets it: exit statuses, what goes where, and what the messages name.
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

using ::testing::HasSubstr;

struct Output {
  int status = -1;
  std::string out;
  std::string err;
};

std::string TempPath(const std::string& name) {
  return absl::StrCat(std::getenv("TEST_TMPDIR"), "/", name);
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string WriteFile(const std::string& name, const std::string& text) {
  const std::string path = TempPath(name);
  std::ofstream(path, std::ios::binary) << text;
  return path;
}

Output Nvmx(const std::string& arguments) {
  const std::string err = TempPath("stderr");
  FILE* pipe = popen(absl::StrCat("tools/nvmx ", arguments, " 2>", err).c_str(), "r");
  Output output;
  char buffer[4096];
  while (size_t count = std::fread(buffer, 1, sizeof buffer, pipe))
    output.out.append(buffer, count);
  const int status = pclose(pipe);
  output.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  output.err = ReadFile(err);
  return output;
}

void ExpectBadInput(const std::string& arguments, const std::string& message) {
  const Output output = Nvmx(arguments);
  EXPECT_EQ(output.status, 2) << arguments;
  EXPECT_THAT(output.err, HasSubstr(message)) << arguments;
}

TEST(ReplayTest, TwoRunsOfTheMainDeadlockPrintTheSameBytes) {
  const Output first = Nvmx("replay main-deadlock");
  const Output second = Nvmx("replay main-deadlock");
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(first.out, second.out);
}

TEST(ReplayTest, TheMainDeadlockTellsTheWholeStory) {
  const std::string report = Nvmx("replay main-deadlock").out;
  for (const char* part :
       {"ending    deadlock: nobody can move",
        "waits for  print_lock to be free; now: held by CPU 1",
        "holds      quiesce_lock, print_lock", "nvmx::PrintLine at core/smp/console.cc:",
        "nvmx::WriteMtrr at core/nested/mtrr_virtualization.cc:",
        "nvmx::LoadMsrsOnExit at core/nested/msr_lists.cc:",
        "nvmx::QuiesceProtocol::AwaitAcknowledgements at core/smp/quiesce.cc:",
        "nvmx::LoadMsrsOnEntry at core/nested/msr_lists.cc:",
        "nvmx::EnterL2 at core/nested/nested_entry.cc:",
        "consumed by a VM exit from L2, not acknowledged", "first doomed step\n    step 36 of 36",
        "to CPU 0  nothing happens", "Let run on from there, it completes"}) {
    EXPECT_THAT(report, HasSubstr(part));
  }
}

TEST(ReplayTest, TakesTheScheduleThatExploreWrote) {
  const std::string file = TempPath("found.schedule");
  const Output explored =
      Nvmx("explore correct --variant early-print-lock-release --output " + file);
  EXPECT_EQ(explored.status, 1);
  EXPECT_THAT(explored.out, HasSubstr("verdict     deadlock"));
  const Output replayed = Nvmx("replay " + file);
  EXPECT_EQ(replayed.status, 0) << replayed.err;
  EXPECT_THAT(replayed.out, HasSubstr("variant   early-print-lock-release"));
  EXPECT_THAT(replayed.out, HasSubstr("ending    deadlock"));
}

TEST(ReplayTest, AnExtraNmiIsInjectedWhereItIsAsked) {
  const Output output = Nvmx("replay early-iret --inject-nmi 0@1000");
  EXPECT_EQ(output.status, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("ending    complete"));
}

TEST(ReplayTest, ManyRunsHaveOneTraceHash) {
  const Output output = Nvmx("replay main-deadlock --repeat 20");
  EXPECT_EQ(output.status, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("20 runs of 36 steps, one trace hash"));
}

TEST(ReplayTest, WritesATraceThatIsWholeJson) {
  const std::string file = TempPath("trace.json");
  EXPECT_EQ(Nvmx("replay main-deadlock --trace " + file).status, 0);
  const std::string text = ReadFile(file);
  EXPECT_TRUE(absl::StartsWith(text, "{"));
  EXPECT_THAT(text, HasSubstr("CPU 1"));
}

TEST(RunTest, AListWithABadEntryEndsAsOnHardware) {
  const Output output = Nvmx("run lhv/programs/msr-list-bad-entry.yaml --cpus 2");
  EXPECT_EQ(output.status, 0) << output.err;
  for (const char* part :
       {"CPU 1  L1", "EXIT_REASON = 34 (VM-entry failure due to MSR loading), VM entry failed",
        "EXIT_QUALIFICATION = 0x2", "RDMSR IA32_MTRR_PHYSBASE0 = 0xaaaaa000",
        "RDMSR IA32_MTRR_PHYSMASK0 = 0x0"}) {
    EXPECT_THAT(output.out, HasSubstr(part));
  }
}

constexpr char kRefused[] = R"(
name: refused
cpus:
  - memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}
    setup: [enter_vmx: vmxon, baseline_vmcs: vmcs]
    run: [vmwrite: {field: GUEST_RFLAGS, value: 0}, vmlaunch: {observe: [exit_reason]}]
)";

TEST(ShowTest, WhatItPrintsIsTheSameProgram) {
  const std::string file = WriteFile("refused.yaml", kRefused);
  const Output shown = Nvmx("show " + file);
  EXPECT_EQ(shown.status, 0) << shown.err;
  const std::string again = WriteFile("again.yaml", shown.out);
  EXPECT_EQ(Nvmx("run " + again).out, Nvmx("run " + file).out);
  EXPECT_EQ(Nvmx("show " + again).out, shown.out);
}

TEST(ShowTest, AProgramForI386StaysOne) {
  const std::string file = WriteFile("i386.yaml", absl::StrCat("arch: i386", kRefused));
  const Output shown = Nvmx("show " + file);
  const std::string again = WriteFile("again.yaml", shown.out);
  EXPECT_EQ(Nvmx("run " + again).out, Nvmx("run " + file).out);
  EXPECT_EQ(Nvmx("show " + again).out, shown.out);
}

TEST(ExplainTest, NamesTheRuleOfARefusedEntry) {
  const Output output = Nvmx("explain " + WriteFile("refused.yaml", kRefused));
  EXPECT_EQ(output.status, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("VMCS12 breaks the rule GuestRflagsReservedBits, SDM Vol. 3C"));
}

TEST(ShrinkTest, TheShortestScheduleOfTheSameVerdict) {
  const std::string found = TempPath("long.schedule");
  const std::string small = TempPath("short.schedule");
  Nvmx(
      "explore correct --variant late-acknowledgement --strategy random --schedules 2000 "
      "--output " +
      found);
  const Output output = Nvmx(absl::StrCat("shrink ", found, " --output ", small));
  EXPECT_EQ(output.status, 0) << output.err;
  EXPECT_THAT(output.err, HasSubstr("steps of"));
  EXPECT_LT(ReadFile(small).size(), ReadFile(found).size());
  const Output replayed = Nvmx("replay " + small);
  EXPECT_EQ(replayed.status, 0) << replayed.err;
  EXPECT_THAT(replayed.out, HasSubstr("ending    deadlock"));
}

TEST(ShrinkTest, WhereNothingShowsNothingIsWritten) {
  const std::string file = TempPath("nothing.yaml");
  const Output output =
      Nvmx(absl::StrCat("shrink ", WriteFile("refused.yaml", kRefused), " --output ", file));
  EXPECT_EQ(output.status, 1);
  EXPECT_THAT(output.err, HasSubstr("shows no difference"));
  EXPECT_EQ(ReadFile(file), "");
}

TEST(ExploreTest, SaysExhaustedOnlyOfTheWhole) {
  const Output whole = Nvmx("explore correct");
  EXPECT_EQ(whole.status, 0);
  EXPECT_THAT(whole.out, HasSubstr("exhausted   no deadlock"));
  const Output part = Nvmx("explore correct --bound 100");
  EXPECT_EQ(part.status, 3);
  EXPECT_THAT(part.out, testing::Not(HasSubstr("exhausted")));
  EXPECT_THAT(part.out, HasSubstr("cut off"));
}

TEST(ExploreTest, TheSameSeedPicksTheSameSchedules) {
  const std::string arguments =
      "explore correct --cpus 3 --variant late-acknowledgement --strategy pct --schedules 500 "
      "--seed 7 --output " +
      TempPath("pct.schedule");
  const Output first = Nvmx(arguments);
  EXPECT_EQ(first.status, 1);
  EXPECT_THAT(first.out, HasSubstr("proved      nothing"));
  const std::string schedule = ReadFile(TempPath("pct.schedule"));
  Nvmx(arguments);
  EXPECT_EQ(ReadFile(TempPath("pct.schedule")), schedule);
}

TEST(VerdictsTest, AllAreAsExpected) {
  const Output output = Nvmx("verdicts");
  EXPECT_EQ(output.status, 0) << output.out;
  EXPECT_THAT(output.out, testing::Not(HasSubstr("DIFFERS")));
}

TEST(ListTest, NamesEachScenarioWithItsVerdict) {
  const Output output = Nvmx("list");
  EXPECT_EQ(output.status, 0);
  EXPECT_THAT(output.out, HasSubstr("main-deadlock              deadlock"));
}

TEST(ListTest, NamesTheProcessors) {
  EXPECT_THAT(Nvmx("list").out, HasSubstr("sandy-bridge-i7-3960x"));
}

TEST(ProcessorTest, AProgramRunsAndIsComparedOnALesserProcessor) {
  EXPECT_EQ(
      Nvmx("run lhv/programs/msr-list-bad-entry.yaml --processor sandy-bridge-i7-3960x").status, 0);
  const std::string file = WriteFile("needs.yaml",
                                     "name: needs\n"
                                     "cpus:\n"
                                     "  - memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}\n"
                                     "    setup: [enter_vmx: vmxon, baseline_vmcs: vmcs, "
                                     "add_controls: {secondary: [VMCS_SHADOWING]}]\n"
                                     "    run: [vmlaunch: {observe: [exit_reason]}]\n"
                                     "    l2: [vmcall]\n");
  const Output output =
      Nvmx(absl::StrCat("compare ", file, " --verbose --processor ivy-bridge-i5-3570"));
  EXPECT_EQ(output.status, 0);
  EXPECT_THAT(output.out, HasSubstr("skipped: the processor lacks VMCS_SHADOWING\n"));
  EXPECT_THAT(output.out, HasSubstr("1 program, 1 skipped for what the processor lacks"));
  EXPECT_THAT(Nvmx(absl::StrCat("compare ", file)).out, HasSubstr("1 program, 1 same"));
  EXPECT_EQ(Nvmx("generate --count 50 --compare --processor sandy-bridge-i7-3960x").status, 0);
}

TEST(GenerateTest, WritesProgramsThatRunAgain) {
  EXPECT_EQ(Nvmx(absl::StrCat("generate --seed 7 --count 3 --dump ", TempPath(""))).status, 0);
  const std::string files =
      absl::StrCat(TempPath("7-0.yaml"), " ", TempPath("7-1.yaml"), " ", TempPath("7-2.yaml"));
  EXPECT_THAT(Nvmx("compare " + files).out, HasSubstr("3 programs, 3 same"));
  ExpectBadInput("generate --dump /no/such", "/no/such/1-0.yaml: cannot be written");
}

TEST(CompareLogTest, ADeviationIsOneOfTheMachineThatWroteTheLog) {
  const std::string name = "lhv/suites/classics/hypercalls.yaml";
  const std::string log =
      WriteFile("serial", absl::StrCat("@program 0 ", name, "\n@end 0 complete 0\n@done 0\n"));
  const std::string compare = absl::StrCat("compare --tap --log ", log, " --log_of ");
  const Output native = Nvmx(absl::StrCat(compare, "bochs-native ", name));
  EXPECT_EQ(native.status, 0);
  EXPECT_THAT(native.out, HasSubstr(absl::StrCat("not ok 1 - ", name, " # TODO ")));
  const Output nested = Nvmx(absl::StrCat(compare, "bochs-nested ", name));
  EXPECT_EQ(nested.status, 1);
  EXPECT_THAT(nested.out, HasSubstr(absl::StrCat("not ok 1 - ", name, "\n#   ")));
  ExpectBadInput(absl::StrCat(compare, "moon ", name), "--log_of takes bochs-native");
}

TEST(ProcessorTest, WhatIsNoProcessorIsNamed) {
  ExpectBadInput("compare lhv/programs --processor pentium",
                 "--processor: pentium: no processor has this name");
  const std::string file = WriteFile("odd.yaml", "processor: odd\nphysical_address_width: 99\n");
  ExpectBadInput(absl::StrCat("run lhv/programs/msr-list-bad-entry.yaml --processor ", file),
                 absl::StrCat(file, ":2:"));
  ExpectBadInput("generate --processor pentium",
                 "--processor: only with --compare or --for_machines");
}

TEST(HelpTest, EveryCommandExplainsItself) {
  for (const char* command : {"list", "run", "compare", "experiments", "generate", "show",
                              "explain", "shrink", "repro", "replay", "explore", "verdicts"}) {
    const Output output = Nvmx(absl::StrCat(command, " --help"));
    EXPECT_EQ(output.status, 0) << command;
    EXPECT_THAT(output.out, HasSubstr("usage: nvmx ")) << command;
  }
}

TEST(BadInputTest, NamesWhatIsWrong) {
  ExpectBadInput("", "usage: nvmx COMMAND");
  ExpectBadInput("reply", "\"reply\" is no command");
  ExpectBadInput("run /no/such.yaml", "/no/such.yaml: cannot be read");
  ExpectBadInput("show /no/such.yaml", "/no/such.yaml: cannot be read");
  ExpectBadInput("show x --target frob", "--target: there is no \"frob\"; there are msr_list");
  ExpectBadInput("compare " + WriteFile("odd", "NVGPxyz") + " --target program", "odd: ");
  ExpectBadInput("replay nosuch", "no scenario named \"nosuch\"");
  ExpectBadInput("replay main-deadlock --variant odd", "--variant odd: there is none of that name");
  ExpectBadInput("replay main-deadlock --frob", "--frob: this command has no such flag");
  ExpectBadInput("explore correct --cpus 99", "--cpus 99");
  ExpectBadInput("explore correct --cpus", "--cpus: a value must follow");
  ExpectBadInput("explore correct --strategy guess", "--strategy guess: expected");
  ExpectBadInput("replay main-deadlock --inject-nmi 5@1", "--inject-nmi 5@1: expected CPU@STEP");
  ExpectBadInput("replay main-deadlock --trace /no/such/place.json", "/no/such/place.json");
}

TEST(BadInputTest, AScheduleOfAnotherScenarioIsRefused) {
  ExpectBadInput("replay main-deadlock --schedule nvmx1:correct:correct:2::",
                 "the schedule was made for scenario correct");
}

TEST(BadInputTest, ACutOffScheduleFileIsRefusedWithItsPlace) {
  const std::string found = TempPath("whole.schedule");
  Nvmx("explore correct --variant no-print-lock --output " + found);
  const std::string text = ReadFile(found);
  const std::string cut = WriteFile("cut.schedule", text.substr(0, text.size() - 20));
  ExpectBadInput("replay " + cut, absl::StrCat(cut, ":2: schedule, character "));
}

TEST(BadInputTest, AProgramWithAnImpossibleMsrListIsRefusedWithItsLine) {
  const std::string file = WriteFile("list.yaml",
                                     "summary: a list\n"
                                     "expect: completes\n"
                                     "program:\n"
                                     "  name: p\n"
                                     "  cpus:\n"
                                     "    - memory:\n"
                                     "        list: {msr_list: [{msr: NO_SUCH_MSR, value: 0}]}\n");
  ExpectBadInput("explore " + file, absl::StrCat(file, ":7:"));
}

TEST(BadInputTest, AYamlErrorIsRefusedWithItsLine) {
  const std::string file = WriteFile("broken.yaml", "summary: [\n");
  ExpectBadInput("explore " + file, absl::StrCat(file, ":"));
}

}  // namespace
