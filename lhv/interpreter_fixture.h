// SPDX-License-Identifier: Apache-2.0
//
// A program that the interpreter runs on a fake CPU, step by step.
#ifndef NVMX_LHV_INTERPRETER_FIXTURE_H_
#define NVMX_LHV_INTERPRETER_FIXTURE_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "core/x86/exception.h"
#include "core/x86/msr.h"
#include "gtest/gtest.h"
#include "lhv/fake_guest_cpu.h"
#include "lhv/interpreter.h"
#include "lhv/layout.h"

namespace nvmx::lhv {

class InterpreterTest : public ::testing::Test {
 protected:
  static constexpr uint8_t kNmi = static_cast<uint8_t>(Vector::kNmi);
  static constexpr uint8_t kGp = static_cast<uint8_t>(Vector::kGeneralProtection);
  static constexpr uint8_t kInterrupt = 0x40;
  static constexpr InstructionEnd kFaulted{.diverted = true};
  static constexpr InstructionEnd kVmfailInvalid{.completed = true, .carry = true};
  static constexpr InstructionEnd kVmfailValid{.completed = true, .zero = true};

  static InstructionEnd Value(uint64_t value) { return {.completed = true, .value = value}; }

  static constexpr Operation kNop{.kind = OperationKind::kNop};
  static constexpr Operation kVmlaunch{.kind = OperationKind::kVmlaunch};
  static constexpr Operation kAdvance{.kind = OperationKind::kAdvanceGuestRip};
  static constexpr Operation kReadPat{.kind = OperationKind::kRdmsr,
                                      .selector = Index(Msr::IA32_PAT)};

  static constexpr uint64_t L1(size_t operation, size_t slot = 0) {
    return OperationAddress(kL1CodeBase, operation) + slot * kInstructionBytes;
  }
  static constexpr uint64_t L2(size_t operation, size_t slot = 0) {
    return OperationAddress(kL2CodeBase, operation) + slot * kInstructionBytes;
  }

  static Observation Done(uint32_t level, uint64_t operation) {
    return {.kind = ObservationKind::kDone, .level = level, .operation = operation};
  }

  void Load(std::vector<Operation> l1, std::vector<Operation> l2 = {}) {
    l1_ = std::move(l1);
    l2_ = std::move(l2);
    interpreter_.emplace(CpuProgramView{l1_, 0, l2_}, 0, log_);
  }
  StepResult Step() { return interpreter_->Step(cpu_); }
  // Steps until the end of the program; at most 1000 steps.
  void RunToEnd() {
    for (int i = 0; i < 1000; ++i) {
      if (Step() == StepResult::kEndOfProgram) return;
    }
    FAIL() << "the program does not end";
  }
  std::vector<InstructionKind> ExecutedKinds() const {
    std::vector<InstructionKind> kinds;
    for (const Instruction& instruction : cpu_.executed) kinds.push_back(instruction.kind);
    return kinds;
  }
  // Makes the nth VMREAD (from 0), and so on, of the program end with the given ends.
  void EndKindWith(InstructionKind kind, std::vector<InstructionEnd> ends) {
    cpu_.on_execute = [kind, ends, n = size_t{0}](
                          const Instruction& instruction) mutable -> std::optional<InstructionEnd> {
      if (instruction.kind != kind || n >= ends.size()) return std::nullopt;
      return ends[n++];
    };
  }
  // Delivers the event to L1 once, right after the first instruction of the kind has completed.
  void DeliverAfter(InstructionKind kind, uint8_t vector) {
    cpu_.after_completion = [this, kind, vector](const Instruction& instruction) {
      if (instruction.kind != kind || delivered_) return false;
      delivered_ = true;
      cpu_.Deliver(1, vector);
      return true;
    };
  }

  FakeGuestCpu cpu_;
  RecordingLog log_;
  std::optional<Interpreter> interpreter_;
  bool delivered_ = false;

 private:
  std::vector<Operation> l1_;
  std::vector<Operation> l2_;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_INTERPRETER_FIXTURE_H_
