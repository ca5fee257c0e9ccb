// SPDX-License-Identifier: Apache-2.0
//
// What a log says of a VM exit, and which of its fields the SDM defines behind it.
// SDM Vol. 3C, 28.2 "Recording VM-Exit Information and Updating VM-entry Control Fields".
#ifndef NVMX_BACKENDS_SIM_PROGRAM_EXIT_INFORMATION_H_
#define NVMX_BACKENDS_SIM_PROGRAM_EXIT_INFORMATION_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/observation.h"

namespace nvmx::sim {

// A VM exit as far as L1 has looked at it.
struct ExitSeen {
  ExitReasonValue reason;
  uint64_t operation = 0;  // of L1, that looked
  std::optional<uint64_t> qualification;
  std::optional<InterruptionInformation> interruption, vectoring;
};

// Those whose reasons are in the log before the position.
std::vector<ExitSeen> ExitsSeen(const std::vector<lhv::Observation>& log, size_t position);

// Whether the exit is known to leave the field undefined.
bool LeavesUndefined(const ExitSeen& exit, VmcsField field);

// Whether the exit has no instruction length, unless it came from the delivery of an event, which
// the log need not say.
bool HasNoInstructionLength(const ExitSeen& exit);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_EXIT_INFORMATION_H_
