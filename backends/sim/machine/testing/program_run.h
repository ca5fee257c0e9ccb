// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TESTING_PROGRAM_RUN_H_
#define NVMX_BACKENDS_SIM_MACHINE_TESTING_PROGRAM_RUN_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/sim/machine/machine.h"
#include "backends/variants/variant.h"
#include "core/vmx/vmcs_field.h"
#include "gtest/gtest.h"
#include "lhv/assembler.h"
#include "lhv/layout.h"
#include "lhv/observation_text.h"

namespace nvmx::sim {

// A guest program on a machine of the core as it is, and what it came to.
class ProgramRun {
 public:
  // Assembles the text. A program that cannot be assembled, or a setup that does not end, ends the
  // test program.
  explicit ProgramRun(const std::string& text, uint32_t cpus = 1)
      : ProgramRun(MustAssemble(text, cpus)) {}
  explicit ProgramRun(const lhv::GuestProgram& program)
      : program_(std::make_unique<lhv::GuestProgram>(program)) {
    MachineOptions options;
    options.variant = FindVariant("correct");
    options.keep_trace = true;
    absl::StatusOr<std::unique_ptr<Machine>> machine = Machine::Create(*program_, options);
    if (!machine.ok()) Die(machine.status());
    machine_ = *std::move(machine);
  }

  static lhv::GuestProgram MustAssemble(const std::string& text, uint32_t cpus = 1) {
    absl::StatusOr<lhv::GuestProgram> program = lhv::Assemble("test.yaml", text, cpus);
    if (!program.ok()) Die(program.status());
    return *std::move(program);
  }

  // Steps the CPUs in turn, NMIs first, until none can move. False if that takes too long.
  bool ToTheEnd() {
    constexpr int kMaxRounds = 200'000;
    for (int round = 0; round < kMaxRounds; ++round) {
      bool moved = false;
      for (uint32_t cpu = 0; cpu < machine_->cpu_count(); ++cpu) {
        for (Choice choice : {Choice::kTakeNmi, Choice::kStep}) {
          if (!machine_->IsPossible(cpu, choice)) continue;
          machine_->Step(cpu, choice);
          l0_failed_ |= machine_->cpu(cpu).effects().l0_failed;
          moved = true;
          break;
        }
      }
      if (!moved) return true;
    }
    return false;
  }
  // Steps one CPU until it cannot move.
  void StepWhilePossible(uint32_t cpu) {
    while (machine_->IsPossible(cpu, Choice::kStep)) machine_->Step(cpu, Choice::kStep);
  }
  // Steps one CPU until it is about to execute an instruction of L2. False if it never is.
  bool StepToL2(uint32_t cpu = 0) {
    while (machine_->IsPossible(cpu, Choice::kStep)) {
      machine_->Step(cpu, Choice::kStep);
      const Processor& processor = machine_->cpu(cpu).processor();
      if (processor.in_guest() && processor.Current() == VmcsRole::kVmcs02) return true;
    }
    return false;
  }

  Machine& machine() { return *machine_; }
  SimCpu& cpu(uint32_t index = 0) { return machine_->cpu(index); }
  // L0 asserted something, or hardware refused a VM entry of L0's.
  bool l0_failed() const { return l0_failed_; }

  // What a CPU observed, as text.
  std::vector<std::string> Log(uint32_t cpu = 0) {
    std::vector<std::string> lines;
    for (const lhv::Observation& observation : machine_->cpu(cpu).observations()) {
      lines.push_back(ToString(observation));
    }
    return lines;
  }
  // The values of the RDMSRs of one MSR at one level, in order.
  std::vector<uint64_t> MsrValues(uint32_t msr, uint32_t level, uint32_t cpu = 0) {
    std::vector<uint64_t> values;
    for (const lhv::Observation& o : machine_->cpu(cpu).observations()) {
      if (o.kind == lhv::ObservationKind::kMsrValue && o.selector == msr && o.level == level) {
        values.push_back(o.value);
      }
    }
    return values;
  }
  // The values that observe_exit gave for one field, in order.
  std::vector<uint64_t> ExitFields(VmcsField field, uint32_t cpu = 0) {
    std::vector<uint64_t> values;
    for (const lhv::Observation& o : machine_->cpu(cpu).observations()) {
      if (o.kind == lhv::ObservationKind::kVmExit && o.selector == Encoding(field)) {
        values.push_back(o.value);
      }
    }
    return values;
  }
  uint64_t Memory64(uint64_t address) {
    uint64_t value = 0;
    EXPECT_TRUE(machine_->memory().Read(address, std::as_writable_bytes(std::span(&value, 1))));
    return value;
  }
  // The address of a memory block of the program.
  uint64_t AddressOf(const std::string& block, uint32_t cpu = 0) const {
    for (const lhv::MemoryBlock& b : program_->cpus[cpu].memory) {
      if (b.name == block) return lhv::WindowOf(cpu) + b.offset;
    }
    ADD_FAILURE() << "no block " << block;
    return 0;
  }

 private:
  [[noreturn]] static void Die(const absl::Status& status) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::abort();
  }

  std::unique_ptr<lhv::GuestProgram> program_;
  std::unique_ptr<Machine> machine_;
  bool l0_failed_ = false;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TESTING_PROGRAM_RUN_H_
