// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_LHV_INTERPRETER_H_
#define NVMX_LHV_INTERPRETER_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "lhv/guest_cpu.h"
#include "lhv/observation.h"
#include "lhv/program.h"

namespace nvmx::lhv {

enum class StepResult : uint8_t {
  kRan,           // one instruction was handed to the CPU
  kEndOfProgram,  // there is none at RIP: the CPU rests as in HLT, and only an event moves it
};

// Runs the program of one CPU, at both levels, one instruction at a time. It keeps no state of its
// own: RIP says which instruction of which operation is next, and the scratch register what the
// earlier instructions of the operation left. So an NMI, a fault or a VM exit can take control
// between any two instructions, and IRET or VM entry gives it back.
//
// Instruction m of operation i is at OperationAddress(code, i) + 2 * m * kInstructionBytes. The
// place after it is that of the VMREAD of the VM-instruction error, which is executed only if the
// instruction ended in VMfailValid. A VMfail ends its operation, except where the instructions are
// independent of each other (kVmwriteHostState, kObserveExit); a fault always does.
class Interpreter {
 public:
  // The operations that the view refers to, and the log, must outlive the interpreter.
  Interpreter(const CpuProgramView& program, uint32_t cpu, ObservationLog& log);

  // Executes the instruction at cpu.Rip(); in a handler, logs the event and executes IRET or what
  // stands for it there.
  StepResult Step(GuestCpu& cpu);

  // True if Step() would execute something there: code of L1 or L2, or a handler.
  bool HasInstructionAt(uint64_t rip) const;

  // Where execution goes on from `rip`, behind an instruction that has completed: there, or further
  // on if there is nothing to execute. Logs what passes.
  uint64_t SettledRip(uint64_t rip, uint64_t scratch);

 private:
  // An address in the code of L1 or L2.
  struct Place {
    uint32_t level = 1;
    size_t operation = 0;
    size_t slot = 0;  // even: instruction slot / 2; odd: the VMREAD of that one's error
    friend bool operator==(const Place&, const Place&) = default;
  };

  struct Handler {
    uint32_t level = 1;
    bool is_bare = false;  // returns without IRET
    uint8_t vector = 0;
  };

  std::span<const Operation> Code(uint32_t level) const;
  uint64_t AddressOf(const Place& place) const;
  std::optional<Place> PlaceOf(uint64_t rip) const;
  std::optional<Handler> HandlerAt(uint64_t rip) const;
  // Where execution goes on from `place`: there, or further on if there is nothing to execute.
  Place Settled(Place place, uint64_t scratch) const;
  // Jumps there.
  void Settle(GuestCpu& cpu);
  InstructionEnd RunInstruction(GuestCpu& cpu, const Place& place);
  // Where kFetch sent control, after something took it away there and gave it back.
  InstructionEnd RunFetched(GuestCpu& cpu);
  bool IsFetching(uint64_t scratch) const;
  InstructionEnd RunErrorRead(GuestCpu& cpu, const Place& place);
  InstructionEnd RunHandler(GuestCpu& cpu, const Handler& handler);
  // Where an event that saved `rip` found the level; nothing if in another handler.
  std::optional<Place> InterruptedPlace(uint32_t level, uint64_t rip, uint64_t scratch) const;
  Observation EventObservation(const Handler& handler, const EventFrame& frame,
                               const std::optional<Place>& interrupted, uint64_t scratch) const;
  // Appends what the completed instruction gave, if its operation is one that observes values.
  void NoteValue(const Place& place, const Instruction& instruction, uint64_t value);
  // Appends the VMfail, and marks it in the scratch register.
  void NoteVmfail(GuestCpu& cpu, const Place& place, const Instruction& instruction,
                  ObservationKind kind, uint64_t number);

  const CpuProgramView program_;
  const uint32_t cpu_;
  ObservationLog& log_;
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_INTERPRETER_H_
