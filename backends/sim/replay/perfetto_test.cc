// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/replay/perfetto.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "backends/sim/explorer/scenario.h"
#include "backends/sim/machine/nmi_latch.h"
#include "core/smp/console.h"
#include "core/vmx/exit_reason.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lhv/guest_cpu.h"
#include "nlohmann/json.hpp"

namespace nvmx::sim {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kL1 = static_cast<uint64_t>(VmcsRole::kVmcs01);
constexpr uint64_t kL2 = static_cast<uint64_t>(VmcsRole::kVmcs02);
constexpr uint64_t kQuiesceNmi = static_cast<uint64_t>(NmiSource::kQuiesce);
constexpr uint64_t kGuestNmi = static_cast<uint64_t>(NmiSource::kGuest);
constexpr uint64_t kNmiToOthers =
    lhv::InterruptCommand::kNmi | lhv::InterruptCommand::kAllExcludingSelf;

uint64_t Number(ExitReason reason) { return static_cast<uint64_t>(reason); }
uint64_t Number(NmiDestination destination) { return static_cast<uint64_t>(destination); }

TraceEvent Event(uint32_t step, uint32_t cpu, EventKind kind, uint64_t first = 0,
                 uint64_t second = 0) {
  return {step, cpu, kind, 0, first, second};
}
TraceEvent Core(uint32_t step, uint32_t cpu, TraceKind kind, uint64_t first = 0,
                uint64_t second = 0) {
  return {step, cpu, EventKind::kCore, static_cast<uint32_t>(kind), first, second};
}

json Records(const std::string& text) { return json::parse(text).at("traceEvents"); }

json Records(uint32_t cpus, const std::vector<TraceEvent>& events,
             const std::vector<std::string>& cell_names = {}) {
  return Records(ChromeTrace("title", cell_names, cpus, events));
}

std::vector<json> WithPhase(const json& records, const std::string& phase) {
  std::vector<json> found;
  for (const json& record : records) {
    if (record.at("ph") == phase) found.push_back(record);
  }
  return found;
}

std::vector<std::string> Names(const std::vector<json>& records) {
  std::vector<std::string> names;
  for (const json& record : records) names.push_back(record.at("name"));
  return names;
}

// The slices of one CPU that are open just before a time, outermost first.
std::vector<std::string> OpenBefore(const json& records, uint32_t cpu, double time) {
  std::vector<std::string> open;
  for (const json& record : records) {
    if (record.value("tid", 0u) != cpu + 1 || record.value("ts", 0.0) >= time) continue;
    if (record.at("ph") == "B") open.push_back(record.at("name"));
    if (record.at("ph") == "E") open.pop_back();
  }
  return open;
}

// What a viewer relies on, whatever the events were.
void ExpectWellFormed(const json& records) {
  std::map<int, int> depth;
  std::map<uint64_t, json> flows_begun;
  std::set<uint64_t> flows_ended;
  double time = 0;
  for (const json& record : records) {
    const std::string phase = record.at("ph");
    if (phase == "M") continue;
    ASSERT_GE(record.at("ts").get<double>(), time) << record;
    time = record.at("ts");
    const int thread = record.at("tid");
    if (phase == "B") ++depth[thread];
    if (phase == "E") --depth[thread];
    ASSERT_GE(depth[thread], 0) << record;
    if (phase == "i") {
      EXPECT_EQ(record.at("s"), "t");
    }
    if (phase != "s" && phase != "f") continue;
    EXPECT_GT(depth[thread], 0) << "an arrow needs a slice at each end: " << record;
    const uint64_t id = record.at("id");
    if (phase == "s") {
      EXPECT_TRUE(flows_begun.emplace(id, record).second) << record;
    } else {
      ASSERT_TRUE(flows_begun.contains(id)) << record;
      EXPECT_TRUE(flows_ended.insert(id).second) << record;
      EXPECT_LT(flows_begun[id].at("ts"), record.at("ts"));
      EXPECT_EQ(flows_begun[id].at("name"), record.at("name"));
      EXPECT_EQ(flows_begun[id].at("cat"), record.at("cat"));
      EXPECT_EQ(record.at("bp"), "e");
    }
  }
  EXPECT_EQ(flows_begun.size(), flows_ended.size());
  for (const auto& [thread, open] : depth) EXPECT_EQ(open, 0) << "tid " << thread;
}

TEST(ChromeTraceTest, WithoutEventsEveryCpuIsNamedAndInL1) {
  const json records = Records(2, {});
  ExpectWellFormed(records);
  EXPECT_THAT(Names(WithPhase(records, "B")), ElementsAre("L1", "L1"));
  const std::vector<json> metadata = WithPhase(records, "M");
  ASSERT_THAT(Names(metadata), ElementsAre("process_name", "thread_name", "thread_sort_index",
                                           "thread_name", "thread_sort_index"));
  EXPECT_EQ(metadata[0].at("args").at("name"), "title");
  EXPECT_EQ(metadata[1].at("args").at("name"), "CPU 0");
  EXPECT_EQ(metadata[3].at("args").at("name"), "CPU 1");
  EXPECT_EQ(metadata[3].at("tid"), 2);
  EXPECT_EQ(metadata[4].at("args").at("sort_index"), 1);
}

TEST(ChromeTraceTest, TitleThatIsNoUtf8IsRepaired) {
  EXPECT_NO_THROW(Records(ChromeTrace("\xFF", {}, 1, {})));
}

TEST(ChromeTraceTest, ExitsAndEntriesAreSlicesWithTheirReasonAndLevel) {
  const json records =
      Records(1, {Event(1, 0, EventKind::kVmExit, kL1, Number(ExitReason::kVmlaunch)),
                  Event(1, 0, EventKind::kVmEntry, kL2),
                  Event(2, 0, EventKind::kVmExit, kL2, Number(ExitReason::kCpuid)),
                  Event(4, 0, EventKind::kVmEntry, kL1)});
  ExpectWellFormed(records);
  const std::vector<json> slices = WithPhase(records, "B");
  EXPECT_THAT(Names(slices), ElementsAre("L1", "L0: exit reason VMLAUNCH from L1", "L2",
                                         "L0: exit reason CPUID from L2", "L1"));
  EXPECT_EQ(slices[1].at("cat"), "kvm_exit");
  EXPECT_EQ(slices[2].at("cat"), "kvm_entry");
  EXPECT_EQ(slices[3].at("cat"), "kvm_exit,kvm_nested_vmexit");
  EXPECT_EQ(slices[3].at("args").at("exit_reason"), Number(ExitReason::kCpuid));
  EXPECT_THAT(OpenBefore(records, 0, 2), ElementsAre("L2"));
  EXPECT_EQ(slices[3].at("ts"), 2.0);
  EXPECT_EQ(WithPhase(records, "E")[2].at("ts"), 2.0) << "no gap between L2 and L0";
  EXPECT_THAT(OpenBefore(records, 0, 4), ElementsAre("L0: exit reason CPUID from L2"));
}

TEST(ChromeTraceTest, RefusedEntryLeavesTheCpuInL0) {
  const json records =
      Records(1, {Event(1, 0, EventKind::kVmExit, kL1, Number(ExitReason::kVmlaunch)),
                  Event(1, 0, EventKind::kVmEntry, kL2), Event(1, 0, EventKind::kEntryRefused)});
  ExpectWellFormed(records);
  EXPECT_THAT(OpenBefore(records, 0, 2), ElementsAre("L0: stopped, the VM entry was refused"));
}

TEST(ChromeTraceTest, NmiContextEndsWhenTheNmiIsFoundToBeTheGuests) {
  const json records =
      Records(1, {Event(1, 0, EventKind::kVmExit, kL1, Number(ExitReason::kCpuid)),
                  Event(2, 0, EventKind::kNmiTaken, Number(NmiDestination::kRoot), kGuestNmi),
                  Event(3, 0, EventKind::kChoice), Core(4, 0, TraceKind::kNmiToGuest, 1),
                  Event(5, 0, EventKind::kVmEntry, kL1)});
  ExpectWellFormed(records);
  EXPECT_THAT(OpenBefore(records, 0, 4),
              ElementsAre("L0: exit reason CPUID from L1", "NMI context"));
  EXPECT_THAT(OpenBefore(records, 0, 5), ElementsAre("L0: exit reason CPUID from L1"));
}

TEST(ChromeTraceTest, NmiContextInsideAQuiesceEndsBeforeIt) {
  const json records =
      Records(1, {Event(1, 0, EventKind::kVmExit, kL1, Number(ExitReason::kWrmsr)),
                  Core(2, 0, TraceKind::kQuiesceBegin),
                  Event(3, 0, EventKind::kNmiTaken, Number(NmiDestination::kRoot), kGuestNmi),
                  Core(4, 0, TraceKind::kQuiesceEnd), Event(5, 0, EventKind::kVmEntry, kL1)});
  ExpectWellFormed(records);
  EXPECT_THAT(OpenBefore(records, 0, 4), ElementsAre("L0: exit reason WRMSR from L1",
                                                     "quiesce: others stopped", "NMI context"));
  EXPECT_THAT(OpenBefore(records, 0, 5), ElementsAre("L0: exit reason WRMSR from L1"));
}

TEST(ChromeTraceTest, TheArrowOfAnNmiGoesFromItsSenderToWhereItIsTaken) {
  const json records =
      Records(3, {Event(1, 1, EventKind::kIpiSent, kNmiToOthers),
                  Event(1, 0, EventKind::kNmiLatched, kQuiesceNmi),
                  Event(1, 2, EventKind::kNmiLatched, kQuiesceNmi),
                  Event(4, 2, EventKind::kNmiTaken, Number(NmiDestination::kL1Exit), kQuiesceNmi)});
  ExpectWellFormed(records);
  const std::vector<json> begins = WithPhase(records, "s");
  const std::vector<json> ends = WithPhase(records, "f");
  ASSERT_THAT(begins, SizeIs(1)) << "CPU 0 never takes its NMI";
  ASSERT_THAT(ends, SizeIs(1));
  EXPECT_EQ(begins[0].at("tid"), 2);
  EXPECT_EQ(ends[0].at("tid"), 3);
}

TEST(ChromeTraceTest, TheArrowOfAMergedNmiEndsAtTheMerge) {
  const json records =
      Records(2, {Event(1, 0, EventKind::kIpiSent, kNmiToOthers),
                  Event(1, 1, EventKind::kNmiLatched, kQuiesceNmi),
                  Event(2, 0, EventKind::kIpiSent, kNmiToOthers),
                  Event(2, 1, EventKind::kNmiMerged, kGuestNmi),
                  Event(3, 1, EventKind::kNmiTaken, Number(NmiDestination::kL1Exit), kQuiesceNmi)});
  ExpectWellFormed(records);
  const std::vector<json> ends = WithPhase(records, "f");
  ASSERT_THAT(ends, SizeIs(2));
  EXPECT_LT(ends[0].at("ts"), 3.0);
  EXPECT_GE(ends[1].at("ts"), 3.0);
}

TEST(ChromeTraceTest, ADevicesNmiHasNoArrow) {
  const json records =
      Records(1, {Event(1, 0, EventKind::kIpiSent, kNmiToOthers), Event(2, 0, EventKind::kChoice),
                  Event(2, 0, EventKind::kNmiLatched, kGuestNmi),
                  Event(3, 0, EventKind::kNmiTaken, Number(NmiDestination::kL1Exit), kGuestNmi)});
  ExpectWellFormed(records);
  EXPECT_THAT(WithPhase(records, "s"), IsEmpty());
}

TEST(ChromeTraceTest, InstantsAreReadableAndCarryTheNumbers) {
  const json records = Records(
      1, {Event(1, 0, EventKind::kNmiLatched, kGuestNmi),
          Event(2, 0, EventKind::kNmiTaken, Number(NmiDestination::kGuestIdt), kGuestNmi),
          Core(3, 0, TraceKind::kNmiAcknowledged, 2),
          Core(4, 0, TraceKind::kLogLine, static_cast<uint64_t>(LogLine::kMtrrWrite), 0x20C),
          Core(5, 0, TraceKind::kMsrListEntry, 0x20B, 7), Core(6, 0, TraceKind::kVmxAbort, 4),
          Core(7, 0, TraceKind::kAssertionFailed, 9), Core(8, 0, TraceKind::kNmiInjected, kL2)});
  ExpectWellFormed(records);
  const std::vector<json> instants = WithPhase(records, "i");
  EXPECT_THAT(Names(instants),
              ElementsAre("NMI latched (the guest's)",
                          "NMI taken by the guest's own handler, past L0 (the guest's)",
                          "acknowledged to CPU 2", "log: MTRR write, MSR 0x20c",
                          "MSR list, entry 7: MSR 0x20b", "VMX abort, indicator 4",
                          "assertion failed: 9", "NMI given to L2"));
  EXPECT_EQ(instants[4].at("args").at("first"), 0x20B);
  EXPECT_EQ(instants[4].at("args").at("second"), 7);
}

TEST(ChromeTraceTest, CellsAreCountersThatTellEachChangeOnce) {
  const json records = Records(
      1,
      {Event(1, 0, EventKind::kCellChanged, 0, 0), Event(2, 0, EventKind::kCellChanged, 0),
       Event(3, 0, EventKind::kCellChanged, 0, 1), Event(4, 0, EventKind::kCellChanged, 1, 5),
       Event(5, 0, EventKind::kCellChanged, 2, 6), Event(6, 0, EventKind::kCellChanged, 3, 7)},
      {"print_lock", "same", "same"});
  ExpectWellFormed(records);
  const std::vector<json> counters = WithPhase(records, "C");
  EXPECT_THAT(Names(counters),
              ElementsAre("print_lock", "print_lock", "same (cell 1)", "same (cell 2)", "cell 3"));
  EXPECT_EQ(counters[1].at("args"), json({{"value", 1}}));
}

TEST(ChromeTraceTest, AStepWithMoreRecordsThanNanosecondsKeepsTheirOrder) {
  std::vector<TraceEvent> events;
  for (uint32_t i = 0; i < 2500; ++i) events.push_back(Core(1, 0, TraceKind::kMsrListEntry, 0, i));
  const json records = Records(1, events);
  ExpectWellFormed(records);
  const std::vector<json> instants = WithPhase(records, "i");
  ASSERT_THAT(instants, SizeIs(2500));
  for (size_t i = 1; i < instants.size(); ++i) {
    ASSERT_LT(instants[i - 1].at("ts"), instants[i].at("ts"));
  }
  EXPECT_LT(instants.back().at("ts"), 2.0);
}

// Where the CPU is between two steps, in the words of the trace.
std::string Place(const SimCpu& cpu) {
  if (cpu.in_nmi_context()) return "NMI context";
  const PointKind point = cpu.point().kind;
  if (point != PointKind::kGuest && point != PointKind::kRest) return "L0";
  return cpu.processor().Current() == VmcsRole::kVmcs01 ? "L1" : "L2";
}

// Runs machines of the scenario in many random orders.
void CompareWithMachines(const std::string& scenario_name, int runs) {
  const absl::StatusOr<Scenario> scenario = LoadScenario(scenario_name);
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  uint64_t random = 1;
  int contexts = 0;
  for (int run = 0; run < runs; ++run) {
    const auto machine = BuildMachine(*scenario, /*keep_trace=*/true);
    ASSERT_TRUE(machine.ok()) << machine.status();
    Machine& m = **machine;
    std::vector<std::vector<std::string>> places(m.cpu_count());
    while (m.steps() < 400) {
      std::vector<std::pair<uint32_t, Choice>> possible;
      for (uint32_t cpu = 0; cpu < m.cpu_count(); ++cpu) {
        for (Choice choice : {Choice::kStep, Choice::kTakeNmi}) {
          if (m.IsPossible(cpu, choice)) possible.emplace_back(cpu, choice);
        }
      }
      if (possible.empty()) break;
      random = random * 6364136223846793005 + 1442695040888963407;
      const auto [cpu, choice] = possible[(random >> 33) % possible.size()];
      // Devices add to what the CPUs send one another.
      m.Step(cpu, (random >> 60) == 0 ? Choice::kDeviceNmi : choice);
      for (uint32_t i = 0; i < m.cpu_count(); ++i) places[i].push_back(Place(m.cpu(i)));
    }
    std::vector<std::string> names;
    for (const CellPlace& place : m.cells()) names.push_back(place.cell->name());
    const json records = Records(m.cpu_count(), m.trace().events(), names);
    ExpectWellFormed(records);
    for (uint32_t cpu = 0; cpu < m.cpu_count(); ++cpu) {
      for (uint32_t step = 1; step <= m.steps(); ++step) {
        const std::string open = OpenBefore(records, cpu, step + 1).back();
        const std::string& expected = places[cpu][step - 1];
        if (expected == "NMI context") ++contexts;
        const bool in_l0 = open.starts_with("L0") || open.starts_with("quiesce");
        ASSERT_EQ(in_l0 ? "L0" : open, expected)
            << scenario_name << ", run " << run << ", CPU " << cpu << ", step " << step;
      }
    }
  }
  EXPECT_GT(contexts, 0) << "no run had an NMI in L0";
}

TEST(ChromeTraceTest, SlicesAreWhereTheMachineIsInEveryOrder) {
  CompareWithMachines("correct", 20);
  CompareWithMachines("correct-3-cpus", 10);
  CompareWithMachines("nmi-context-print", 10);
}

class WriteChromeTraceTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) / "perfetto_test";
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ / name; }
  static std::string Contents(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  std::filesystem::path directory_;
};

TEST_F(WriteChromeTraceTest, TheFileIsTheTextAndReplacesAnOlderOne) {
  const std::string path = Path("trace.json");
  std::ofstream(path) << "old";
  ASSERT_TRUE(WriteChromeTrace(path, "title", {}, 2, {}).ok());
  EXPECT_EQ(Contents(path), ChromeTrace("title", {}, 2, {}));
  EXPECT_THAT(Files(), ElementsAre("trace.json"));
}

TEST_F(WriteChromeTraceTest, AMissingDirectoryIsNamedWithTheReason) {
  const std::string path = Path("missing/trace.json");
  const absl::Status status = WriteChromeTrace(path, "title", {}, 1, {});
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path), HasSubstr("No such file or directory")));
  EXPECT_THAT(Files(), IsEmpty());
}

TEST_F(WriteChromeTraceTest, APathThatCannotBeReplacedLeavesNoTemporaryFile) {
  std::filesystem::create_directory(Path("trace.json"));
  const absl::Status status = WriteChromeTrace(Path("trace.json"), "title", {}, 1, {});
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(Path("trace.json")), HasSubstr("Is a directory")));
  EXPECT_THAT(Files(), ElementsAre("trace.json"));
}

TEST_F(WriteChromeTraceTest, AFileThatDoesNotFitLeavesTheOlderOne) {
  const std::string path = Path("trace.json");
  std::ofstream(path) << "old";
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {100, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteChromeTrace(path, "title", {}, 2, {});
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(path), HasSubstr("File too large")));
  EXPECT_EQ(Contents(path), "old");
  EXPECT_THAT(Files(), ElementsAre("trace.json"));
}

}  // namespace
}  // namespace nvmx::sim
