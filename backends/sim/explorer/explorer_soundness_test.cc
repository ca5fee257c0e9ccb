// SPDX-License-Identifier: Apache-2.0
//
// The explorer against the real machine: it works on automata that it learned from the real code
// (LocalModel) and on their product (GlobalModel). Here the real code runs on all CPUs for every
// state, and the two must have found the same graph.
#include <algorithm>
#include <array>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "backends/sim/explorer/explorer.h"
#include "backends/sim/explorer/state_table.h"
#include "backends/sim/explorer/testing/small_scenarios.h"
#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

struct GraphSize {
  size_t states = 0;
  size_t transitions = 0;
  size_t ends = 0;
  size_t deadlocks = 0;
  friend bool operator==(const GraphSize&, const GraphSize&) = default;
};
void PrintTo(const GraphSize& g, std::ostream* out) {
  *out << g.states << " states, " << g.transitions << " transitions, " << g.ends << " ends, "
       << g.deadlocks << " deadlocks";
}

// A real machine that can go back to its start, and the account that an explorer keeps of each
// CPU's NMIs.
class RealMachine {
 public:
  explicit RealMachine(const Scenario& scenario) : scenario_(scenario) {
    auto machine = BuildMachine(scenario, /*keep_trace=*/false, /*enable_keys=*/true);
    if (!machine.ok()) std::abort();
    machine_ = *std::move(machine);
    for (uint32_t cpu = 0; cpu < machine_->cpu_count(); ++cpu) machine_->cpu(cpu).SaveStart();
    for (const CellPlace& place : machine_->cells()) {
      const auto bytes = place.cell->bytes();
      cells_at_start_.emplace_back(bytes.begin(), bytes.end());
    }
    GoToStart();
  }

  void GoToStart() {
    for (uint32_t cpu = 0; cpu < machine_->cpu_count(); ++cpu) {
      machine_->cpu(cpu).latch().Take();
      machine_->cpu(cpu).RestoreStart();
    }
    for (size_t i = 0; i < cells_at_start_.size(); ++i) {
      std::copy(cells_at_start_[i].begin(), cells_at_start_[i].end(),
                machine_->cells()[i].cell->bytes().begin());
    }
    accounts_.assign(machine_->cpu_count(), {});
    device_nmis_left_ = scenario_.device_nmis;
  }

  bool IsPossible(ScheduleStep step) const {
    if (step.choice == Choice::kDeviceNmi) return device_nmis_left_ != 0;
    return machine_->IsPossible(step.cpu, step.choice);
  }

  void Make(ScheduleStep step) {
    SimCpu& cpu = machine_->cpu(step.cpu);
    std::vector<NmiSource> before;
    for (uint32_t i = 0; i < machine_->cpu_count(); ++i) {
      before.push_back(machine_->cpu(i).latch().source());
    }
    const bool by_l0 = cpu.point().kind == PointKind::kSendIpi;
    machine_->Step(step.cpu, step.choice);
    if (step.choice == Choice::kDeviceNmi) {
      --device_nmis_left_;
      Arrive(step.cpu, NmiSource::kGuest, before[step.cpu]);
      return;
    }
    const StepEffects& effects = cpu.effects();
    if (step.choice == Choice::kTakeNmi) accounts_[step.cpu].handled = before[step.cpu];
    for (uint32_t i = 0; i < machine_->cpu_count(); ++i) {
      const bool sent = (effects.sends_nmi_to_others && i != step.cpu) || effects.sends_nmi_to == i;
      if (sent) Arrive(i, by_l0 ? NmiSource::kQuiesce : NmiSource::kGuest, before[i]);
    }
    Settle(accounts_[step.cpu], effects);
  }

  // Everything that decides what can happen from here on, as bytes.
  std::string State() {
    std::string state;
    const auto append = [&](const auto& value) {
      state.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    for (uint32_t i = 0; i < machine_->cpu_count(); ++i) {
      SimCpu& cpu = machine_->cpu(i);
      append(cpu.LocalKey());
      append(cpu.latch().source());
      append(accounts_[i].handled);
      append(accounts_[i].owed);
      append(accounts_[i].balance);
      EXPECT_FALSE(cpu.nmi_context_was_impure());
    }
    for (const CellPlace& place : machine_->cells()) {
      // What is in a block decides nothing in these scenarios: no code reads it.
      if (place.cell->kind() != CellKind::kBlock) append(place.cell->Peek());
    }
    append(device_nmis_left_);
    return state;
  }

  bool IsDeadlock() const {
    for (uint32_t i = 0; i < machine_->cpu_count(); ++i) {
      if (machine_->cpu(i).point().kind != PointKind::kRest) return true;
    }
    return false;
  }
  uint32_t cpu_count() const { return machine_->cpu_count(); }

 private:
  struct Account {
    NmiSource handled = NmiSource::kNone;  // of the NMI that was taken and is not settled
    int owed = 0;                          // given to the guest by L0, and not delivered yet
    int balance = 0;                       // sent to the guest, less those that arrived or merged
  };

  void Arrive(uint32_t cpu, NmiSource source, NmiSource before) {
    if (source == NmiSource::kGuest) ++accounts_[cpu].balance;
    if (before != NmiSource::kNone) --accounts_[cpu].balance;
  }

  static void Settle(Account& account, const StepEffects& effects) {
    const bool swallowed = effects.nmi_taken && effects.destination == NmiDestination::kGuestIdt;
    if (effects.given_to_guest || effects.merged_for_guest ||
        (swallowed && account.handled == NmiSource::kGuest)) {
      --account.balance;
    }
    if (effects.given_to_guest) ++account.owed;
    account.owed -= std::min<int>(account.owed, effects.delivered_to_guest);
    if (effects.acknowledged || effects.given_to_guest || effects.merged_for_guest || swallowed) {
      account.handled = NmiSource::kNone;
    }
  }

  const Scenario& scenario_;
  std::unique_ptr<Machine> machine_;
  std::vector<std::vector<std::byte>> cells_at_start_;
  std::vector<Account> accounts_;
  uint32_t device_nmis_left_ = 0;
};

// Breadth first, each state reached by running the real code from the start.
GraphSize CountTheSlowWay(const Scenario& scenario) {
  RealMachine machine(scenario);
  struct Found {
    size_t parent;
    ScheduleStep by;
  };
  std::vector<Found> found = {{0, {0, Choice::kStep}}};
  std::unordered_map<std::string, size_t> numbers = {{machine.State(), 0}};
  const auto go_to = [&](size_t number) {
    std::vector<ScheduleStep> way;
    for (; number != 0; number = found[number].parent) way.push_back(found[number].by);
    machine.GoToStart();
    for (auto step = way.rbegin(); step != way.rend(); ++step) machine.Make(*step);
  };
  GraphSize size;
  for (size_t number = 0; number < found.size(); ++number) {
    go_to(number);
    std::vector<ScheduleStep> possible;
    bool can_move = false;
    for (uint8_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
      for (Choice choice : kAllChoices) {
        if (!machine.IsPossible({cpu, choice})) continue;
        possible.push_back({cpu, choice});
        can_move |= choice != Choice::kDeviceNmi;
      }
    }
    if (!can_move) {
      ++size.ends;
      if (machine.IsDeadlock()) ++size.deadlocks;
    }
    for (size_t i = 0; i < possible.size(); ++i) {
      if (i != 0) go_to(number);
      machine.Make(possible[i]);
      ++size.transitions;
      if (numbers.try_emplace(machine.State(), found.size()).second) {
        found.push_back({number, possible[i]});
      }
    }
  }
  size.states = found.size();
  return size;
}

GraphSize CountInTheModel(const Scenario& scenario) {
  auto model = GlobalModel::Create(scenario, /*use_symmetry=*/false);
  if (!model.ok()) std::abort();
  StateTable table(scenario.cpus);
  table.Insert((*model)->Initial(), StateTable::kNone, {0, Choice::kStep});
  GraphSize size;
  for (StateTable::Number number = 0; number < table.size(); ++number) {
    const GlobalState state = table.At(number);
    if ((*model)->IsTerminal(state)) {
      ++size.ends;
      if ((*model)->JudgeTerminal(state) == Verdict::kDeadlock) ++size.deadlocks;
    }
    for (uint8_t cpu = 0; cpu < scenario.cpus; ++cpu) {
      for (Choice choice : kAllChoices) {
        if (!(*model)->IsPossible(state, cpu, choice)) continue;
        GlobalState next = state;
        GlobalEffects effects;
        EXPECT_TRUE((*model)->Apply(next, cpu, choice, effects));
        ++size.transitions;
        table.Insert(next, number, {cpu, choice});
      }
    }
  }
  EXPECT_FALSE((*model)->must_restart());
  size.states = table.size();
  return size;
}

absl::StatusOr<ExploreResult> ExploreWith(const Scenario& scenario, bool use_symmetry) {
  ExploreOptions options;
  options.use_symmetry = use_symmetry;
  return Explore(scenario, options);
}

struct Case {
  const char* program;
  const char* variant;
  uint32_t device_nmis;
  bool log_mtrr_writes;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.variant << ", " << c.device_nmis << " device NMIs";
}

class SameGraph : public testing::TestWithParam<Case> {};

TEST_P(SameGraph, TheExplorerFindsTheStatesOfTheRealMachine) {
  const Case& c = GetParam();
  const Scenario scenario =
      SmallScenario(c.program, c.variant, 2, c.device_nmis, c.log_mtrr_writes);
  const GraphSize expected = CountTheSlowWay(scenario);
  EXPECT_EQ(CountInTheModel(scenario), expected);
  const absl::StatusOr<ExploreResult> explored = ExploreWith(scenario, false);
  ASSERT_TRUE(explored.ok()) << explored.status();
  EXPECT_TRUE(explored->exhausted);
  EXPECT_EQ(explored->states, expected.states);
  EXPECT_EQ(explored->transitions, expected.transitions);
  EXPECT_EQ(explored->ends, expected.ends);
  EXPECT_EQ(explored->verdict() == Verdict::kDeadlock, expected.deadlocks != 0);
  RecordProperty("states", static_cast<int>(expected.states));
}

INSTANTIATE_TEST_SUITE_P(Lists, SameGraph,
                         testing::Values(Case{kEntryAndExitLists, "correct", 0, true},
                                         Case{kEntryAndExitLists, "late-acknowledgement", 0, true},
                                         Case{kEntryAndExitLists, "nmi-passthrough", 0, true},
                                         Case{kEntryAndExitLists, "early-print-lock-release", 0,
                                              true}));
INSTANTIATE_TEST_SUITE_P(Nmis, SameGraph,
                         testing::Values(Case{kL2HandlesNmis, "nmi-passthrough", 0, true},
                                         Case{kL2HandlesNmis, "correct", 1, false},
                                         Case{kL2HandlesNmis, "nmi-passthrough", 1, false},
                                         Case{kExitLoadList, "correct", 1, false},
                                         Case{kExitLoadList, "late-acknowledgement", 1, false},
                                         Case{kExitLoadList, "early-print-lock-release", 1, true},
                                         Case{kGuestsSendNmis, "correct", 0, false}));

// --- Symmetry: fewer states, the same answers.

class Symmetry : public testing::TestWithParam<std::tuple<const char*, const char*, uint32_t>> {};

TEST_P(Symmetry, ChangesNeitherTheVerdictNorTheLengthOfTheShortestFailure) {
  const auto& [program, variant, cpus] = GetParam();
  const Scenario scenario = SmallScenario(program, variant, cpus, 0, cpus == 2);
  const auto with = ExploreWith(scenario, true);
  const auto without = ExploreWith(scenario, false);
  ASSERT_TRUE(with.ok() && without.ok());
  ASSERT_TRUE(with->exhausted && without->exhausted);
  EXPECT_EQ(with->classes, 1u);
  EXPECT_EQ(without->classes, cpus);
  EXPECT_LE(with->states, without->states);
  EXPECT_EQ(with->verdict(), without->verdict());
  EXPECT_EQ(with->depth, without->depth);
  EXPECT_EQ(with->acyclic, without->acyclic);
  ASSERT_EQ(with->findings.size(), without->findings.size());
  for (size_t i = 0; i < with->findings.size(); ++i) {
    EXPECT_EQ(with->findings[i].verdict, without->findings[i].verdict);
    EXPECT_EQ(with->findings[i].steps.size(), without->findings[i].steps.size());
  }
  ASSERT_EQ(with->doom.has_value(), without->doom.has_value());
  if (with->doom) {
    EXPECT_EQ(with->doom->first_doomed_step.has_value(),
              without->doom->first_doomed_step.has_value());
  }
}
INSTANTIATE_TEST_SUITE_P(
    Small, Symmetry,
    testing::Combine(testing::Values(kEntryAndExitLists, kL2HandlesNmis, kOneMtrrWrite),
                     testing::Values("correct", "late-acknowledgement", "nmi-passthrough",
                                     "early-print-lock-release", "unhandled-nmi-exit",
                                     "print-lock-first", "no-print-lock"),
                     testing::Values(2u)));
INSTANTIATE_TEST_SUITE_P(ThreeCpus, Symmetry,
                         testing::Combine(testing::Values(kOneMtrrWrite),
                                          testing::Values("correct", "late-acknowledgement",
                                                          "early-print-lock-release",
                                                          "no-print-lock", "print-lock-first"),
                                          testing::Values(3u)));

TEST(Canonical, IsTheSameForAllNumberingsOfTheCpus) {
  const Scenario scenario = SmallScenario(kEntryAndExitLists, "correct", 3, 1);
  auto model = GlobalModel::Create(scenario, /*use_symmetry=*/true);
  ASSERT_TRUE(model.ok());
  std::mt19937 random(3);
  GlobalState state = (*model)->Initial();
  for (int step = 0; step < 400 && !(*model)->IsTerminal(state); ++step) {
    const auto cpu = static_cast<uint8_t>(random() % 3);
    const Choice choice = kAllChoices[random() % 2];
    if (!(*model)->IsPossible(state, cpu, choice)) continue;
    GlobalEffects effects;
    ASSERT_TRUE((*model)->Apply(state, cpu, choice, effects));
    const GlobalState canonical = (*model)->Canonical(state);
    std::array<uint8_t, 3> order = {0, 1, 2};
    do {
      GlobalState renumbered = state;
      for (size_t place = 0; place < 3; ++place) renumbered.cpu[place] = state.cpu[order[place]];
      std::array<uint8_t, kMaxExploredCpus> who;
      const GlobalState again = (*model)->Canonical(renumbered, &who);
      ASSERT_EQ(again.shared, canonical.shared);
      ASSERT_EQ(again.cpu, canonical.cpu);
      for (size_t place = 0; place < 3; ++place) {
        ASSERT_EQ(again.cpu[place], renumbered.cpu[who[place]]);
      }
    } while (std::next_permutation(order.begin(), order.end()));
  }
}

// A finding is a schedule of the real machine.
TEST(Findings, ShowTheirVerdictOnTheRealMachine) {
  for (const Variant& variant : AllVariants()) {
    for (const char* program : {kEntryAndExitLists, kL2HandlesNmis}) {
      const Scenario scenario = SmallScenario(program, variant.name, 2, 0);
      const auto explored = Explore(scenario, {});
      ASSERT_TRUE(explored.ok()) << variant.name << explored.status();
      for (const Finding& finding : explored->findings) {
        SCOPED_TRACE(testing::Message() << variant.name << ": " << Name(finding.verdict));
        RealMachine machine(scenario);
        for (ScheduleStep step : finding.steps) {
          ASSERT_TRUE(machine.IsPossible(step));
          machine.Make(step);
        }
        bool can_move = false;
        for (uint8_t cpu = 0; cpu < 2; ++cpu) {
          can_move |= machine.IsPossible({cpu, Choice::kStep}) ||
                      machine.IsPossible({cpu, Choice::kTakeNmi});
        }
        if (finding.verdict == Verdict::kDeadlock) {
          EXPECT_FALSE(can_move);
          EXPECT_TRUE(machine.IsDeadlock());
        }
      }
    }
  }
}

}  // namespace
}  // namespace nvmx::sim
