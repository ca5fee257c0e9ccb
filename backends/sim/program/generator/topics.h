// SPDX-License-Identifier: Apache-2.0
//
// What generated programs are about. Each topic takes something that is right and changes it a
// little, so that most programs get past the first check and some reach the last.
#ifndef NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_TOPICS_H_
#define NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_TOPICS_H_

#include <span>

#include "backends/sim/program/generator/program_builder.h"
#include "backends/sim/program/generator/random.h"

namespace nvmx::sim {

struct Topic {
  const char* name;
  // How often it is chosen, relative to the others.
  unsigned weight;
  void (*add)(Random& random, ProgramBuilder& builder);
};

std::span<const Topic> AllTopics();

// One file each, by name.
void AddControls(Random& random, ProgramBuilder& builder);
void AddGuestState(Random& random, ProgramBuilder& builder);
void AddHostState(Random& random, ProgramBuilder& builder);
void AddMsrLists(Random& random, ProgramBuilder& builder);
void AddEpt(Random& random, ProgramBuilder& builder);
void AddPaging(Random& random, ProgramBuilder& builder);
void AddInvalidation(Random& random, ProgramBuilder& builder);
void AddBitmaps(Random& random, ProgramBuilder& builder);
void AddShadowing(Random& random, ProgramBuilder& builder);
void AddEvents(Random& random, ProgramBuilder& builder);
void AddNmis(Random& random, ProgramBuilder& builder);
void AddTimers(Random& random, ProgramBuilder& builder);
void AddApic(Random& random, ProgramBuilder& builder);
void AddInstructions(Random& random, ProgramBuilder& builder);
void AddOperands(Random& random, ProgramBuilder& builder);
void AddVmxSequences(Random& random, ProgramBuilder& builder);

// A few operations of L2 that exit, fault or read something, whatever the topic is.
void AddL2Instructions(Random& random, ProgramBuilder& builder, size_t count);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_TOPICS_H_
