// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_POINT_H_
#define NVMX_BACKENDS_SIM_MACHINE_POINT_H_

#include <cstdint>

#include "core/ports/cpu.h"
#include "core/smp/shared.h"

namespace nvmx::sim {

// What a CPU is about to do. Between two points it touches nothing that another CPU, or its own NMI
// context, can touch.
enum class PointKind : uint8_t {
  kGuest,    // execute the guest's next instruction
  kRest,     // nothing: the guest has ended its program, is halted or shut down
  kAccess,   // access a shared cell
  kSpin,     // wait for a shared cell to have a value, and take it if it is a lock
  kSendIpi,  // write the ICR
  kStopped,  // nothing, for ever: L0 met a defect of its own here
};

struct Point {
  PointKind kind = PointKind::kRest;
  SharedOperation operation = SharedOperation::kLoad;                         // of kAccess
  SpinCondition::Comparison comparison = SpinCondition::Comparison::kEquals;  // of kSpin
  SharedCell* cell = nullptr;  // of kAccess and kSpin
  uint64_t wanted = 0;         // of kSpin

  bool acquires() const {
    return kind == PointKind::kSpin && comparison == SpinCondition::Comparison::kAcquires;
  }
  // Whether the wait of a kSpin is over.
  bool Holds() const { return SpinCondition{cell, wanted, comparison}.Holds(); }
};

// What can happen next to a CPU. A schedule is a list of pairs of a CPU and one of these.
enum class Choice : uint8_t {
  kStep,       // it does what it is about to do
  kTakeNmi,    // it takes the NMI in its latch instead
  kDeviceNmi,  // a device sends it an NMI; the CPU itself does nothing
};

// In the order in which they are tried.
inline constexpr Choice kAllChoices[] = {Choice::kStep, Choice::kTakeNmi, Choice::kDeviceNmi};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_POINT_H_
