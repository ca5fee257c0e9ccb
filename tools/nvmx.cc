// SPDX-License-Identifier: Apache-2.0
//
// The command line.
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/command_line.h"
#include "tools/commands.h"

namespace nvmx::tools {
namespace {

const std::vector<Command>& Commands() {
  static const auto& commands = *new std::vector<Command>{
      {"list",
       "",
       "the scenarios, one line each, with the expected verdict; and the processors",
       "A scenario is a set-up: guest programs, a number of CPUs, the variant of the code, and "
       "what "
       "must come out. A processor is what --processor of run, compare and generate can name.",
       {},
       RunList},
      {"run",
       "PROGRAM",
       "runs a guest program on a simulated machine and prints what it saw",
       "PROGRAM is a YAML file as lhv/README.md describes it; lhv/programs and lhv/suites have "
       "some. "
       "Its CPUs take turns, instruction by instruction, and what L1 and L2 can observe is printed "
       "CPU by CPU.\n"
       "Exit status: 0 if all CPUs came to the end of their programs, 1 if not, 2 for bad input.",
       {"machine", "processor", "cpus", "l1_arch", "variant", "evict_translations", "target"},
       RunProgram},
      {"compare",
       "PROGRAM...",
       "runs guest programs on the reference and on the core, and prints where they differ",
       "Each PROGRAM is a file as lhv/README.md describes it, or a directory with such files. Each "
       "runs on sim-native, with a TLB that keeps what it may and with one that keeps nothing, and "
       "on "
       "sim-nested. The two logs must be equal; of one that is not, the first difference is "
       "printed "
       "with the operation and the VM exit that it is about. A program for which the two TLBs give "
       "different logs depends on stale translations and has no single right one. "
       "docs/differences.md has the differences that are known and stay. With --processor a "
       "program that "
       "asks for what that processor lacks is compared too, and counts as skipped if nothing "
       "differs; "
       "--verbose says what it lacks.\n"
       "With --log the programs do not run on sim-nested: FILE is what the image in lhv/image "
       "wrote "
       "on the serial line of a machine that ran them, and is compared with sim-native. --tap "
       "prints the result as a TAP stream.\n"
       "With --machines A,B, scripts/nvmx runs them in Bochs too: scripts/machines --help.\n"
       "Exit status: 0 if nothing differs that is not declared, 1 if something does, 2 for bad "
       "input.",
       {"processor", "cpus", "l1_arch", "verbose", "target", "log", "log_of", "tap"},
       RunCompare},
      {"experiments",
       "[DIRECTORY]",
       "runs experiments whose answer real processors gave; a table of who answers alike",
       "DIRECTORY holds guest programs that say what must be observed; it is lhv/suites/nmi if "
       "none "
       "is "
       "named: thirty experiments with blocked, pending and injected NMIs. Hypervisors and "
       "simulators "
       "are known to get them wrong.\n"
       "Exit status: 0 if all answers are those of real processors, 1 if not, 2 for bad input.",
       {},
       RunExperiments},
      {"pack",
       "PROGRAM...",
       "packs guest programs for the bootable image",
       "Each PROGRAM is a file as lhv/README.md describes it, or a directory with such files. The "
       "pack is a boot module of the image in lhv/image.\n"
       "Exit status: 0 if it is written, 2 for bad input.",
       {"output", "cpus", "l1_arch"},
       RunPack},
      {"generate",
       "",
       "makes guest programs up, and compares the reference and the core on them",
       "Prints the listings of the programs, or writes the programs to the directory of --dump, "
       "with --for_machines those that are fit for a real machine; or, with --compare, how many "
       "programs ran and how "
       "fast, "
       "what they reached (a run that reaches nothing finds nothing), and of each kind of "
       "difference "
       "the first program that shows it, made small. The same seed gives the same programs.\n"
       "Exit status: 0 if nothing differs that is not declared, 1 if something does, 2 for bad "
       "input.",
       {"seed", "first", "count", "topic", "compare", "processor", "shrink", "dump",
        "for_machines"},
       RunGenerate},
      {"show",
       "FILE",
       "prints a fuzzer's input as a guest program, or as a schedule, that people and nvmx read",
       "FILE is a guest program in its text or binary form (lhv/README.md), a schedule (its name "
       "ends in \".schedule\"), or, with --target, an input of that fuzz target.\n"
       "Exit status: 0, or 2 for bad input.",
       {"target", "variant"},
       RunShow},
      {"explain",
       "FILE",
       "says what a guest program comes down to: exits, refused VM entries and their rules",
       "Compares the program as compare does and prints what it saw on the core, with the "
       "operation "
       "behind each line and, for each VM entry that was refused, the rule of the SDM that VMCS12 "
       "breaks; of a difference also what of the program it needs. A schedule is explained as "
       "replay "
       "does.\n"
       "Exit status: 0 if nothing differs that is not declared, 1 if something does, 2 for bad "
       "input.",
       {"target", "processor", "variant"},
       RunExplain},
      {"shrink",
       "FILE",
       "finds the smallest program, or the shortest schedule, that still shows what FILE shows",
       "Of a program the difference between the reference and the core stays, in the same "
       "operation "
       "and of the same kind; CPUs, operations, memory and bits that it does not need go. Of a "
       "schedule the verdict stays; the shortest is found by trying all.\n"
       "Exit status: 0, 1 if FILE shows nothing, 2 for bad input, 3 if the search was cut off.",
       {"target", "processor", "variant", "output"},
       RunShrink},
      {"repro",
       "FILE",
       "prints a C++ test, complete in itself, that fails as FILE does",
       "The test tells where to put it and how to run it.\n"
       "Exit status: 0, or 2 for bad input.",
       {"target", "variant"},
       RunRepro},
      {"replay",
       "SCENARIO|SCHEDULE-FILE",
       "runs one schedule step for step and explains where it ends",
       "Takes the schedule that is recorded for the scenario; without one, the shortest failing "
       "one "
       "that explore finds. Runs it twice and compares. Prints for each CPU where it stands, what "
       "it "
       "waits for, what it holds, and what became of its last NMI; then the reason, the step that "
       "made it certain, and what the correct code does. Equal calls print equal bytes.\n"
       "Exit status: 0 if the schedule ran as recorded, 1 if it diverged, 2 for bad input.",
       {"variant", "cpus", "device_nmis", "schedule", "inject_nmi", "continue_after_divergence",
        "trace", "repeat", "target"},
       RunReplay},
      {"explore",
       "SCENARIO",
       "tries every schedule, or many, and says what was proved",
       "Tries every schedule of the real code, shortest first; says \"exhausted\" only if none was "
       "left out. A failing schedule is written to a file that replay takes. With a strategy other "
       "than exhaustive it runs single schedules, which proves nothing but reaches further.\n"
       "Exit status: 0 if the verdict is the expected one (with a changed variant, CPU count or "
       "number of device NMIs: completes), 1 if not, 2 for bad input, 3 if it was cut off.",
       {"variant", "cpus", "device_nmis", "strategy", "bound", "symmetry", "seed", "schedules",
        "changes", "output"},
       RunExplore},
      {"verdicts",
       "",
       "explores every scenario; a table of expected and found verdicts",
       "Exit status: 0 if all are as expected, 1 if not.",
       {},
       RunVerdicts},
  };
  return commands;
}

std::string Usage() {
  std::string text =
      "nvmx runs guest programs on nested VMX and on a reference, and explores the coordination of "
      "its CPUs.\n\n"
      "usage: nvmx COMMAND [ARGUMENTS]\n\n";
  for (const Command& command : Commands()) {
    absl::StrAppendFormat(&text, "  %-9s %s\n", command.name, command.summary);
  }
  absl::StrAppend(&text,
                  "\nnvmx COMMAND --help tells more. To begin with: nvmx replay main-deadlock\n");
  return text;
}

std::string Help(const Command& command) {
  std::string text = absl::StrCat("usage: nvmx ", command.name, " ", command.arguments,
                                  command.flags.empty() ? "" : " [FLAGS]", "\n\n", command.summary,
                                  "\n\n", command.help, "\n");
  if (!command.flags.empty()) absl::StrAppend(&text, "\nFlags:\n", DescribeFlags(command.flags));
  return text;
}

bool IsHelp(const std::string& argument) {
  return argument == "--help" || argument == "-h" || argument == "help";
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.empty()) {
    std::fputs(Usage().c_str(), stderr);
    return kBadInput;
  }
  if (IsHelp(arguments[0])) {
    std::fputs(Usage().c_str(), stdout);
    return kAsExpected;
  }
  for (const Command& command : Commands()) {
    if (arguments[0] != command.name) continue;
    const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    for (const std::string& argument : rest) {
      if (!IsHelp(argument)) continue;
      std::fputs(Help(command).c_str(), stdout);
      return kAsExpected;
    }
    absl::StatusOr<std::vector<std::string>> others = ParseFlags(rest, command.flags);
    if (!others.ok()) return Complain(std::string(others.status().message()));
    return command.run(*others);
  }
  return Complain(absl::StrCat("\"", arguments[0], "\" is no command; nvmx --help lists them"));
}

}  // namespace

int Complain(const std::string& message) {
  std::fprintf(stderr, "nvmx: %s\n", message.c_str());
  return kBadInput;
}

}  // namespace nvmx::tools

int main(int argc, char** argv) {
  return nvmx::tools::Main(std::vector<std::string>(argv + 1, argv + argc));
}
