// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/generator/generator.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "backends/sim/program/generator/topics.h"

namespace nvmx::sim {
namespace {

constexpr Topic kTopics[] = {
    {"controls", 8, AddControls},         {"guest-state", 8, AddGuestState},
    {"host-state", 4, AddHostState},      {"msr-lists", 6, AddMsrLists},
    {"ept", 8, AddEpt},                   {"paging", 5, AddPaging},
    {"invalidation", 6, AddInvalidation}, {"bitmaps", 5, AddBitmaps},
    {"shadowing", 3, AddShadowing},       {"events", 8, AddEvents},
    {"nmis", 6, AddNmis},                 {"timers", 4, AddTimers},
    {"apic", 4, AddApic},                 {"instructions", 8, AddInstructions},
    {"operands", 4, AddOperands},         {"vmx-sequences", 6, AddVmxSequences},
};

const Topic* FindTopic(const std::string& name) {
  for (const Topic& topic : kTopics) {
    if (topic.name == name) return &topic;
  }
  return nullptr;
}

const Topic& SomeTopic(Random& random) {
  uint64_t total = 0;
  for (const Topic& topic : kTopics) total += topic.weight;
  uint64_t place = random.Below(total);
  for (const Topic& topic : kTopics) {
    if (place < topic.weight) return topic;
    place -= topic.weight;
  }
  return kTopics[0];
}

// Programs of one seed must not be those of the next seed moved by one.
uint64_t Mix(uint64_t seed, uint64_t number) {
  Random first(seed);
  Random second(first.Next() ^ number);
  return second.Next();
}

}  // namespace

std::span<const Topic> AllTopics() { return kTopics; }

absl::Status CheckTopic(const std::string& topic) {
  if (topic.empty() || FindTopic(topic) != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "there is no topic \"", topic, "\"; there are ",
      absl::StrJoin(kTopics, ", ",
                    [](std::string* out, const Topic& t) { absl::StrAppend(out, t.name); })));
}

lhv::GuestProgram GenerateProgram(const GeneratorOptions& options, uint64_t number) {
  Random random(Mix(options.seed, number));
  ProgramBuilder builder(0);
  lhv::GuestProgram program;
  program.name = absl::StrCat("generated ", options.seed, "/", number, ":");
  if (const Topic* topic = FindTopic(options.topic)) {
    topic->add(random, builder);
    absl::StrAppend(&program.name, " ", topic->name);
  } else {
    const uint64_t topics = random.OneIn(2) ? 1 : random.Between(1, 3);
    for (uint64_t i = 0; i < topics; ++i) {
      const Topic& chosen = SomeTopic(random);
      chosen.add(random, builder);
      absl::StrAppend(&program.name, " ", chosen.name);
    }
  }
  program.cpus.push_back(builder.Build(random));
  return program;
}

lhv::GuestProgram GeneratedSetup() {
  Random random(0);
  ProgramBuilder builder(0);
  lhv::GuestProgram program;
  program.name = "the setup of generated programs";
  program.cpus.push_back(builder.Build(random));
  // Topics fill the data.
  std::erase_if(program.cpus[0].memory,
                [](const lhv::MemoryBlock& block) { return block.offset == ProgramBuilder::kData; });
  return program;
}

}  // namespace nvmx::sim
