// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_FAKE_GUEST_CPU_H_
#define NVMX_LHV_FAKE_GUEST_CPU_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "lhv/guest_cpu.h"
#include "lhv/layout.h"
#include "lhv/observation.h"

namespace nvmx::lhv {

// A GuestCpu without VMX: every instruction completes with the value 0, unless on_execute says how
// it ends. Events are delivered when the test says so, also from within on_execute.
class FakeGuestCpu final : public GuestCpu {
 public:
  // Called before an instruction takes effect; nothing: it completes as usual.
  std::function<std::optional<InstructionEnd>(const Instruction&)> on_execute;
  // Called after a completed instruction; true: control has been diverted.
  std::function<bool(const Instruction&)> after_completion;

  std::vector<Instruction> executed;  // IRET from handlers included
  uint64_t rip = kL1CodeBase;
  uint64_t scratch = 0;
  std::vector<EventFrame> frames;

  // Delivers the event to L1 or to L2.
  void Deliver(uint32_t level, uint8_t vector, std::optional<uint32_t> error_code = std::nullopt) {
    frames.push_back({.vector = vector,
                      .has_error_code = error_code.has_value(),
                      .error_code = error_code.value_or(0),
                      .rip = rip});
    rip = HandlerAddress(level == 1 ? kL1HandlerBase : kL2HandlerBase, vector);
  }

  InstructionEnd Execute(const Instruction& instruction) override {
    executed.push_back(instruction);
    const std::optional<InstructionEnd> scripted =
        on_execute ? on_execute(instruction) : std::nullopt;
    InstructionEnd end = scripted.value_or(InstructionEnd{.completed = true});
    if (!end.completed || end.diverted) return end;
    rip += kInstructionBytes;
    if (instruction.kind == InstructionKind::kIret ||
        instruction.kind == InstructionKind::kHandlerReturn) {
      FinishReturn(instruction);
    }
    if (after_completion) end.diverted = after_completion(instruction);
    return end;
  }
  uint64_t Rip() const override { return rip; }
  void Jump(uint64_t to) override { rip = to; }
  EventFrame TopFrame(uint8_t) const override { return frames.back(); }
  void SetResumeRip(uint64_t to) override { frames.back().rip = to; }
  uint64_t ScratchRegister() const override { return scratch; }
  void SetScratchRegister(uint64_t value) override { scratch = value; }

 private:
  void FinishReturn(const Instruction& instruction) {
    rip = instruction.first;
    if (rip != 0) return;
    rip = frames.back().rip;
    frames.pop_back();
  }
};

// Keeps what is appended.
class RecordingLog final : public ObservationLog {
 public:
  std::vector<Observation> observations;
  void Append(const Observation& observation) override { observations.push_back(observation); }
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_FAKE_GUEST_CPU_H_
