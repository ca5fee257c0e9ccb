// SPDX-License-Identifier: Apache-2.0
#include "fuzz/schedule_target.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/sim/replay/replay.h"
#include "fuzz/schedule_input.h"
#include "xxhash.h"

namespace nvmx::fuzz {
namespace {

class ScheduleTarget final : public Target {
 public:
  uint64_t Digest() const override { return digest_; }

  std::vector<std::byte> Mutate(std::span<const std::byte> bytes, Random& random,
                                const ByteMutator& mutate_bytes) override;
  std::vector<std::byte> CrossOver(std::span<const std::byte> a, std::span<const std::byte> b,
                                   Random& random) override;

 private:
  std::optional<Find> RunInput(std::span<const std::byte> bytes) override;
  Find FindOf(const ScheduleRun& run) const;

  std::vector<FuzzedScenario> scenarios_ = Scenarios();
  ScheduleRun run_;
  uint64_t digest_ = 0;
};

std::optional<Find> ScheduleTarget::RunInput(std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    Refuse();
    return std::nullopt;
  }
  const absl::Status status = RunSchedule(scenarios_, bytes, run_);
  if (!status.ok()) {
    return Find{"the model cannot go on", absl::StrCat(status.message(), "\n"), "", ".schedule"};
  }
  digest_ = static_cast<uint64_t>(run_.verdict);
  for (const sim::GlobalState& state : run_.states) {
    digest_ = XXH3_64bits_withSeed(&state, sizeof state, digest_);
    // Where the CPUs stand, without what only names them.
    AddFeature(1, XXH3_64bits(&state, sizeof state));
  }
  ++reached().rules[std::min<size_t>(run_.states.size(), Reached::kRules - 1)];
  if (run_.verdict == sim::Verdict::kCompletes) return std::nullopt;
  return FindOf(run_);
}

Find ScheduleTarget::FindOf(const ScheduleRun& run) const {
  Find find;
  find.extension = ".schedule";
  const std::string& name = run.scenario->scenario.name;
  find.signature = absl::StrCat(name, ": ", sim::Name(run.verdict));
  find.text = absl::StrCat("scenario ", name, " ends in ", sim::Name(run.verdict), " behind ",
                           run.steps.size(), " steps\n");
  // Recorded on the real code: nvmx replay explains it.
  const absl::StatusOr<sim::Schedule> schedule =
      sim::MakeSchedule(run.scenario->scenario, run.steps);
  if (schedule.ok()) {
    find.yaml = absl::StrCat(sim::ToString(*schedule), "\n");
    absl::StrAppend(&find.text, "nvmx replay ", name, " with the schedule explains it:\n",
                    find.yaml);
  } else {
    absl::StrAppend(&find.text, "the real code does not do so: ", schedule.status().message(),
                    "\n");
  }
  return find;
}

std::vector<std::byte> ScheduleTarget::Mutate(std::span<const std::byte> bytes, Random& random,
                                              const ByteMutator& mutate_bytes) {
  constexpr size_t kMost = 400;
  std::vector<std::byte> changed(bytes.begin(), bytes.end());
  if (changed.empty()) changed.push_back(static_cast<std::byte>(random.Below(scenarios_.size())));
  const auto place = [&] { return 1 + random.Below(changed.size()); };
  const auto choice = [&] { return static_cast<std::byte>(random.Below(12)); };
  switch (random.Below(8)) {
    case 0:
      changed[0] = static_cast<std::byte>(random.Below(scenarios_.size()));
      break;
    case 1:
      changed.resize(place());
      break;
    case 2: {
      // One CPU for a while: a row of equal choices.
      const size_t at = place();
      const std::byte same = choice();
      const size_t end = std::min(kMost, at + random.Between(2, 30));
      changed.resize(std::max(changed.size(), end));
      std::fill(changed.begin() + static_cast<ptrdiff_t>(at),
                changed.begin() + static_cast<ptrdiff_t>(end), same);
      break;
    }
    case 3:
      if (changed.size() < kMost) {
        changed.insert(changed.begin() + static_cast<ptrdiff_t>(place()), choice());
      }
      break;
    case 4:
      if (changed.size() > 1) {
        changed.erase(changed.begin() +
                      static_cast<ptrdiff_t>(1 + random.Below(changed.size() - 1)));
      }
      break;
    case 5: {
      const size_t size = changed.size();
      changed.resize(size + 8);
      changed.resize(mutate_bytes(changed.data(), size, size + 8));
      break;
    }
    default:
      for (uint64_t i = random.Between(1, 4); i > 0 && changed.size() < kMost; --i) {
        const size_t at = place();
        if (at == changed.size())
          changed.push_back(choice());
        else
          changed[at] = choice();
      }
      break;
  }
  return changed;
}

std::vector<std::byte> ScheduleTarget::CrossOver(std::span<const std::byte> a,
                                                 std::span<const std::byte> b, Random& random) {
  std::vector<std::byte> joined(a.begin(),
                                a.begin() + static_cast<ptrdiff_t>(random.Below(a.size() + 1)));
  if (joined.empty() && !a.empty()) joined.push_back(a[0]);
  // The rest of the other from the same place on, or from anywhere.
  const size_t from =
      random.OneIn(2) ? std::min(joined.size(), b.size()) : random.Below(b.size() + 1);
  joined.insert(joined.end(), b.begin() + static_cast<ptrdiff_t>(from), b.end());
  return joined;
}

}  // namespace

std::unique_ptr<Target> MakeScheduleTarget() { return std::make_unique<ScheduleTarget>(); }

}  // namespace nvmx::fuzz
