// SPDX-License-Identifier: Apache-2.0
//
// compare --log: what a real machine saw, against the reference.
#include "tools/compare_log.h"

#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "backends/sim/program/captured_log.h"
#include "backends/sim/program/difference_text.h"
#include "backends/sim/program/program_needs.h"
#include "core/nested/offered_capabilities.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/input_files.h"
#include "tools/processor_flag.h"
#include "tools/scenario_flags.h"

ABSL_FLAG(std::string, log, "", "what a machine wrote on its serial line, to be compared");
ABSL_FLAG(
    std::string, log_of, "bochs-native",
    "the machine that wrote it: bochs-native, bochs-nested, qemu-native or qemu-nested; "
    "nested: the programs' L1 ran under nvmx; -i386 behind it: what ran on the machine itself "
    "was for i386");
ABSL_FLAG(bool, tap, false, "print the result in the form of the Test Anything Protocol");

namespace nvmx::tools {
namespace {

std::optional<sim::CapturedMachine> MachineFromFlag() {
  const std::string name = absl::GetFlag(FLAGS_log_of);
  if (name == "bochs-native") return sim::CapturedMachine::kBochsNative;
  if (name == "bochs-native-i386") return sim::CapturedMachine::kBochsNativeI386;
  if (name == "bochs-nested") return sim::CapturedMachine::kBochsNested;
  if (name == "bochs-nested-i386") return sim::CapturedMachine::kBochsNestedI386;
  for (const char* other : {"qemu-native", "qemu-native-i386", "qemu-nested", "qemu-nested-i386"}) {
    if (name == other) return sim::CapturedMachine::kOther;
  }
  return std::nullopt;
}

const lhv::LoggedProgram* Find(const lhv::SerialLog& log, const std::string& name) {
  for (const lhv::LoggedProgram& program : log.programs) {
    if (program.name == name) return &program;
  }
  return nullptr;
}

struct References {
  sim::NativeMachine keep, evict;
  References(uint32_t cpus, const Capabilities& hardware)
      : keep(cpus, sim::TlbPolicy::kKeep, hardware, sim::NativeFeatures::kAll),
        evict(cpus, sim::TlbPolicy::kEvictAtOnce, hardware, sim::NativeFeatures::kAll) {}
};

class Report {
 public:
  Report(bool tap, size_t programs) : tap_(tap) {
    if (tap_) absl::PrintF("1..%d\n", programs);
  }

  void Add(const std::string& file, const lhv::GuestProgram& program,
           const sim::CapturedComparison& result) {
    ++number_;
    ++counts_[result.calibration];
    const bool same = result.calibration == sim::Calibration::kSame ||
                      result.calibration == sim::Calibration::kWhereDefined ||
                      result.calibration == sim::Calibration::kAsExpected;
    const bool different = result.calibration == sim::Calibration::kDifferent;
    const std::string text = same ? "" : sim::DifferenceText(program, result.comparison);
    if (tap_) {
      const char* const directive = result.calibration == sim::Calibration::kDeviation ? " # TODO "
                                    : result.calibration == sim::Calibration::kNotComparable
                                        ? " # SKIP "
                                        : "";
      const bool fails = different || result.calibration == sim::Calibration::kDeviation;
      absl::PrintF("%s %d - %s%s%s\n", fails ? "not ok" : "ok", number_, file, directive,
                   *directive != '\0' ? result.reason : "");
      if (different || (verbose && !same)) PrintRemark(text);
      return;
    }
    if (same) return;
    absl::PrintF("%s: %s%s%s\n", file, sim::Name(result.calibration),
                 result.reason.empty() ? "" : ": ", result.reason);
    if (different || verbose) std::fputs(text.c_str(), stdout);
  }

  void AddMissing(const std::string& file) {
    ++number_;
    ++missing_;
    if (tap_) {
      absl::PrintF("not ok %d - %s # the log does not have it\n", number_, file);
    } else {
      absl::PrintF("%s: the log does not have it\n", file);
    }
  }

  int End() const {
    if (!tap_) {
      absl::PrintF("%d programs", number_);
      for (const auto& [calibration, count] : counts_) {
        absl::PrintF(", %d %s", count, sim::Name(calibration));
      }
      if (missing_ != 0) absl::PrintF(", %d not in the log", missing_);
      absl::PrintF("\n");
    }
    const bool good = counts_.count(sim::Calibration::kDifferent) == 0 && missing_ == 0;
    return good ? kAsExpected : kNotAsExpected;
  }

  bool verbose = false;

 private:
  // In a TAP stream.
  static void PrintRemark(absl::string_view text) {
    for (absl::string_view line : absl::StrSplit(absl::StripSuffix(text, "\n"), '\n')) {
      absl::PrintF("# %s\n", line);
    }
  }

  const bool tap_;
  size_t number_ = 0;
  size_t missing_ = 0;
  std::map<sim::Calibration, size_t> counts_;
};

}  // namespace

bool ComparesLog() { return !absl::GetFlag(FLAGS_log).empty(); }

int CompareLog(const std::vector<std::string>& files, bool verbose) {
  const absl::StatusOr<std::string> text = ReadFile(absl::GetFlag(FLAGS_log));
  if (!text.ok()) return Complain(std::string(text.status().message()));
  const absl::StatusOr<lhv::SerialLog> log = lhv::ReadSerialLog(*text);
  if (!log.ok()) {
    return Complain(absl::GetFlag(FLAGS_log) + ": " + std::string(log.status().message()));
  }
  const absl::StatusOr<Capabilities> hardware = HardwareFromFlags();
  if (!hardware.ok()) return Complain(std::string(hardware.status().message()));
  const absl::StatusOr<sim::ScenarioChanges> changes = ChangesFromFlags();
  if (!changes.ok()) return Complain(std::string(changes.status().message()));
  const std::optional<sim::CapturedMachine> machine = MachineFromFlag();
  if (!machine) {
    return Complain(
        "compare: --log_of takes bochs-native, bochs-nested, qemu-native or qemu-nested, "
        "or one of them with -i386, not \"" +
        absl::GetFlag(FLAGS_log_of) + "\"");
  }
  std::map<uint32_t, std::unique_ptr<References>> references;
  Report report(absl::GetFlag(FLAGS_tap), files.size());
  report.verbose = verbose;
  sim::CapturedComparison result;
  result.comparison.hardware = *hardware;
  result.machine = *machine;
  for (const std::string& file : files) {
    const absl::StatusOr<lhv::GuestProgram> program = LoadProgramInput(file, changes->cpus);
    if (!program.ok()) return Complain(std::string(program.status().message()));
    const lhv::LoggedProgram* const captured = Find(*log, file);
    if (captured == nullptr) {
      report.AddMissing(file);
      continue;
    }
    const auto cpus = static_cast<uint32_t>(program->cpus.size());
    std::unique_ptr<References>& machines = references[cpus];
    if (!machines) machines = std::make_unique<References>(cpus, *hardware);
    machines->keep.Run(*program, result.comparison.keep);
    machines->evict.Run(*program, result.comparison.evict);
    sim::CompareCaptured(file, *program, *captured, result);
    report.Add(file, *program, result);
  }
  return report.End();
}

}  // namespace nvmx::tools
