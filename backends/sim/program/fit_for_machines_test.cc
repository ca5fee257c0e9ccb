// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/fit_for_machines.h"

#include <string>

#include "backends/sim/program/native_machine.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"

namespace nvmx::sim {
namespace {

std::string WhyUnfit(const std::string& run) {
  const auto program = lhv::Assemble("p.yaml", "name: p\ncpus:\n  - {run: [" + run + "]}\n", 1);
  EXPECT_TRUE(program.ok()) << program.status();
  NativeMachine machine(1, TlbPolicy::kKeep);
  ProgramResult result;
  machine.Run(*program, result);
  return WhyUnfitForMachines(*program, result);
}

TEST(FitForMachinesTest, AProgramThatComesToItsEndIsFit) {
  EXPECT_EQ(WhyUnfit("rdmsr: IA32_PAT"), "");
}

TEST(FitForMachinesTest, TheWatchdogEndsAHalt) { EXPECT_EQ(WhyUnfit("hlt"), ""); }

TEST(FitForMachinesTest, AShutdownStopsTheMachine) {
  // No descriptor of the IDT is left.
  EXPECT_EQ(WhyUnfit("lidt: 0x100000, ud2"), Name(CpuEnd::kShutdown));
}

TEST(FitForMachinesTest, WhatTwoMachinesCannotDoAlikeIsUnfit) {
  EXPECT_EQ(WhyUnfit("rdtsc"), "it reads the time");
}

}  // namespace
}  // namespace nvmx::sim
