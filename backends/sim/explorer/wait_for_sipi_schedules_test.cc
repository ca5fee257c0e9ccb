// SPDX-License-Identifier: Apache-2.0
//
// A CPU that waits for a SIPI and quiesces that begin, go on and end while the SIPI arrives: every
// schedule, on the real machine, because the explorer's model has no SIPIs.
#include <algorithm>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "backends/sim/explorer/scenario.h"
#include "backends/sim/explorer/schedule.h"
#include "backends/sim/explorer/testing/small_scenarios.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

// CPU 0 quiesces, starts CPU 1, and quiesces again. CPU 1 lets its L2 wait; once started it
// quiesces too.
constexpr char kPrograms[] =
    "{run: [wrmsr: {msr: 0x200, value: 6}, send_sipi: {cpu: 1, vector: 1}, "
    "wrmsr: {msr: 0x202, value: 6}]}, "
    "{memory: {vmxon: {bytes: 4096}, vmcs: {bytes: 4096}}, "
    "setup: [enter_vmx: vmxon, baseline_vmcs: vmcs, "
    "vmwrite: {field: GUEST_ACTIVITY_STATE, value: 3}], "
    "run: [vmlaunch, wrmsr: {msr: 0x204, value: 6}]}";

class WaitForSipiTest : public testing::Test {
 protected:
  void Build(uint32_t device_nmis) {
    scenario_ = SmallScenario(kPrograms, "correct", 2, device_nmis, /*log_mtrr_writes=*/false);
    auto machine = BuildMachine(scenario_, /*keep_trace=*/false, /*enable_keys=*/true);
    ASSERT_TRUE(machine.ok()) << machine.status();
    machine_ = *std::move(machine);
    for (uint32_t cpu = 0; cpu < 2; ++cpu) machine_->cpu(cpu).SaveStart();
    for (const CellPlace& place : machine_->cells()) {
      const auto bytes = place.cell->bytes();
      cells_at_start_.emplace_back(bytes.begin(), bytes.end());
    }
  }
  void GoToStart() {
    for (uint32_t cpu = 0; cpu < 2; ++cpu) {
      machine_->cpu(cpu).latch().Take();
      machine_->cpu(cpu).RestoreStart();
    }
    for (size_t i = 0; i < cells_at_start_.size(); ++i) {
      std::copy(cells_at_start_[i].begin(), cells_at_start_[i].end(),
                machine_->cells()[i].cell->bytes().begin());
    }
    device_nmis_left_ = scenario_.device_nmis;
    stopped_by_ = kNobody;
  }
  uint64_t Cell(const std::string& name) {
    for (const CellPlace& place : machine_->cells()) {
      if (name == place.cell->name()) return place.cell->Peek();
    }
    ADD_FAILURE() << name;
    return 0;
  }
  static bool StandsStill(const SimCpu& cpu) {
    return cpu.point().cell != nullptr &&
           std::string("quiesce_resume_signal") == cpu.point().cell->name();
  }
  bool IsPossible(ScheduleStep step) const {
    if (step.choice == Choice::kDeviceNmi) return device_nmis_left_ != 0;
    return machine_->IsPossible(step.cpu, step.choice);
  }
  // Makes the step, and checks what must hold in it.
  void Make(ScheduleStep step) {
    SimCpu& cpu = machine_->cpu(step.cpu);
    const bool runs_guest = step.choice == Choice::kStep && cpu.point().kind == PointKind::kGuest;
    if (runs_guest && stopped_by_ != kNobody) EXPECT_EQ(step.cpu, stopped_by_);
    const uint32_t begun = cpu.account().quiesces_begun;
    machine_->Step(step.cpu, step.choice);
    if (step.choice == Choice::kDeviceNmi) {
      --device_nmis_left_;
      return;
    }
    if (cpu.account().quiesces_begun != begun) {
      stopped_by_ = step.cpu;
      const SimCpu& other = machine_->cpu(1 - step.cpu);
      EXPECT_TRUE(StandsStill(other) || other.vcpu_state().left_out != 0);
    }
    if (Cell("quiesce_initiator") == 0) stopped_by_ = kNobody;
    EXPECT_FALSE(cpu.effects().l0_failed);
  }
  std::string State() {
    std::string state;
    const auto append = [&](const auto& value) {
      state.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    for (uint32_t i = 0; i < 2; ++i) {
      SimCpu& cpu = machine_->cpu(i);
      append(cpu.LocalKey());
      append(cpu.latch().source());
      append(cpu.local_apic().sipi().value_or(0));
    }
    for (const CellPlace& place : machine_->cells()) {
      if (place.cell->kind() != CellKind::kBlock) append(place.cell->Peek());
    }
    append(device_nmis_left_);
    append(stopped_by_);
    return state;
  }

  struct Found {
    size_t states = 0;
    size_t started = 0;  // ends with CPU 1 behind its SIPI
    size_t lost = 0;     // ends with CPU 1 waiting: the SIPI came before it did
    size_t deadlocks = 0;
  };
  Found TryEverySchedule() {
    struct Node {
      size_t parent;
      ScheduleStep step;
    };
    std::vector<Node> nodes = {{0, {}}};
    std::unordered_map<std::string, size_t> known;
    Found found;
    const auto go_to = [&](size_t node) {
      std::vector<ScheduleStep> path;
      for (size_t at = node; at != 0; at = nodes[at].parent) path.push_back(nodes[at].step);
      GoToStart();
      for (auto step = path.rbegin(); step != path.rend(); ++step) Make(*step);
    };
    go_to(0);
    known.emplace(State(), 0);
    for (size_t at = 0; at < nodes.size() && !HasFailure(); ++at) {
      bool can_move = false;
      for (uint32_t cpu = 0; cpu < 2; ++cpu) {
        for (Choice choice : kAllChoices) {
          go_to(at);
          const ScheduleStep step{.cpu = static_cast<uint8_t>(cpu), .choice = choice};
          if (!IsPossible(step)) continue;
          can_move |= choice != Choice::kDeviceNmi;
          Make(step);
          if (known.emplace(State(), nodes.size()).second) nodes.push_back({at, step});
        }
      }
      if (can_move) continue;
      go_to(at);
      Judge(found);
    }
    found.states = nodes.size();
    return found;
  }
  void Judge(Found& found) {
    for (uint32_t cpu = 0; cpu < 2; ++cpu) {
      if (machine_->cpu(cpu).point().kind != PointKind::kRest) {
        ++found.deadlocks;
        return;
      }
    }
    const bool waits = machine_->cpu(1).processor().WaitsForSipi();
    EXPECT_EQ(machine_->cpu(1).vcpu_state().left_out, waits ? 1u : 0u);
    EXPECT_EQ(Cell("quiesce_left_out"), waits ? 2u : 0u);
    ++(waits ? found.lost : found.started);
  }

  static constexpr uint32_t kNobody = ~uint32_t{0};
  Scenario scenario_;
  std::unique_ptr<Machine> machine_;
  std::vector<std::vector<std::byte>> cells_at_start_;
  uint32_t device_nmis_left_ = 0;
  uint32_t stopped_by_ = kNobody;
};

TEST_F(WaitForSipiTest, NoScheduleDeadlocksOrLetsTheStartedCpuRunInAQuiesce) {
  Build(/*device_nmis=*/0);
  const Found found = TryEverySchedule();
  EXPECT_EQ(found.deadlocks, 0u);
  EXPECT_GT(found.started, 0u);
  EXPECT_GT(found.lost, 0u);
  EXPECT_GT(found.states, 100u);
}

// An NMI that reaches the started CPU while it waits for the end of a quiesce acknowledges nothing.
TEST_F(WaitForSipiTest, NeitherDoesADevicesNmi) {
  Build(/*device_nmis=*/1);
  const Found found = TryEverySchedule();
  EXPECT_EQ(found.deadlocks, 0u);
  EXPECT_GT(found.started, 0u);
  EXPECT_GT(found.lost, 0u);
}

}  // namespace
}  // namespace nvmx::sim
