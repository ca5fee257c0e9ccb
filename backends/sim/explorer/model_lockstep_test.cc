// SPDX-License-Identifier: Apache-2.0
//
// Random walks of the explorer's model, hand in hand with a real machine.
#include <random>
#include <string>
#include <vector>

#include "backends/sim/explorer/global_model.h"
#include "backends/sim/explorer/testing/small_scenarios.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

constexpr int kMaxSteps = 600;

// Everything that the model says of the state, against the machine.
void ExpectSame(GlobalModel& model, const GlobalState& state, Machine& machine) {
  size_t shared_cells = 0;
  while (shared_cells < model.cell_count() && !model.cell(shared_cells).own) ++shared_cells;
  for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    SCOPED_TRACE(testing::Message() << "CPU " << cpu);
    const SimCpu& c = machine.cpu(cpu);
    const LocalStateInfo& info = model.LocalInfo(state, cpu);
    const Point& point = c.point();
    const bool waits_for_ever = point.kind == PointKind::kSpin && point.wanted > 15;
    ASSERT_EQ(info.kind, waits_for_ever ? PointKind::kStopped : point.kind);
    EXPECT_EQ(info.can_take_nmi, c.CanTakeNmi());
    EXPECT_EQ(model.Latch(state, cpu), c.latch().source());
    for (Choice choice : {Choice::kStep, Choice::kTakeNmi}) {
      EXPECT_EQ(model.IsPossible(state, cpu, choice), machine.IsPossible(cpu, choice))
          << static_cast<int>(choice);
    }
    if (point.cell != nullptr && !waits_for_ever) {
      ASSERT_NE(info.cell, kNoCell);
      EXPECT_STREQ(model.cell(info.cell).name, point.cell->name());
      if (point.kind == PointKind::kSpin) {
        EXPECT_EQ(info.wanted, point.wanted);
        EXPECT_EQ(info.at_least, point.comparison == SpinCondition::Comparison::kAtLeast);
      }
      if (point.kind == PointKind::kAccess) EXPECT_EQ(info.operation, point.operation);
      const uint32_t number = machine.CellNumber(point.cell);
      EXPECT_EQ(info.cell, number < shared_cells ? number : shared_cells);
    } else {
      EXPECT_EQ(info.cell, kNoCell);
    }
  }
  for (uint32_t number = 0; number < machine.cells().size(); ++number) {
    const CellPlace& place = machine.cells()[number];
    if (place.cell->kind() == CellKind::kBlock) continue;
    const bool shared = place.cpu == CellPlace::kSystem;
    EXPECT_EQ(model.CellWord(state, shared ? 0 : place.cpu, shared ? number : shared_cells),
              place.cell->Peek())
        << place.cell->name();
  }
}

// One walk; returns its length.
int Walk(const Scenario& scenario, GlobalModel& model, std::mt19937& random) {
  auto built = BuildMachine(scenario, /*keep_trace=*/false);
  EXPECT_TRUE(built.ok());
  Machine& machine = **built;
  GlobalState state = model.Initial();
  uint32_t device_nmis = scenario.device_nmis;
  int length = 0;
  for (; length < kMaxSteps; ++length) {
    ExpectSame(model, state, machine);
    if (testing::Test::HasFailure()) return length;
    std::vector<ScheduleStep> possible;
    for (uint8_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
      for (Choice choice : kAllChoices) {
        const bool is_possible =
            choice == Choice::kDeviceNmi ? device_nmis != 0 : machine.IsPossible(cpu, choice);
        EXPECT_EQ(model.IsPossible(state, cpu, choice), is_possible);
        if (is_possible) possible.push_back({cpu, choice});
      }
    }
    if (possible.empty()) break;
    // Devices are rare, or all their NMIs would come at the start.
    ScheduleStep step = possible[random() % possible.size()];
    if (step.choice == Choice::kDeviceNmi && random() % 16 != 0) step = possible[0];
    if (step.choice == Choice::kDeviceNmi) --device_nmis;
    machine.Step(step.cpu, step.choice);
    GlobalEffects effects;
    if (!model.Apply(state, step.cpu, step.choice, effects)) {
      ADD_FAILURE() << model.status();
      return length;
    }
  }
  EXPECT_LT(length, kMaxSteps) << "walks end";
  EXPECT_TRUE(model.IsTerminal(state));
  return length;
}

class Lockstep : public testing::TestWithParam<std::tuple<size_t, uint32_t>> {};

TEST_P(Lockstep, TheModelDoesWhatTheMachineDoes) {
  const auto [variant, cpus] = GetParam();
  std::mt19937 random(static_cast<uint32_t>(variant * 100 + cpus));
  int total = 0;
  for (const char* program : {kEntryAndExitLists, kL2HandlesNmis, kGuestsSendNmis}) {
    for (bool use_symmetry : {false, true}) {
      const Scenario scenario =
          SmallScenario(program, AllVariants()[variant].name, cpus, /*device_nmis=*/2);
      auto model = GlobalModel::Create(scenario, use_symmetry);
      ASSERT_TRUE(model.ok()) << model.status();
      for (int walk = 0; walk < 4; ++walk) {
        total += Walk(scenario, **model, random);
        ASSERT_FALSE(HasFailure()) << AllVariants()[variant].name << ", symmetry " << use_symmetry
                                   << ", walk " << walk << " of " << program;
      }
    }
  }
  EXPECT_GT(total, 24 * 8) << "walks go somewhere";
}

INSTANTIATE_TEST_SUITE_P(Variants, Lockstep,
                         testing::Combine(testing::Range(size_t{0}, AllVariants().size()),
                                          testing::Values(2u, 3u)),
                         [](const auto& info) {
                           std::string name = AllVariants()[std::get<0>(info.param)].name;
                           for (char& c : name) {
                             if (c == '-') c = '_';
                           }
                           return name + "_" + std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace nvmx::sim
