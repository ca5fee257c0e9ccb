// SPDX-License-Identifier: Apache-2.0
//
// Whether a CPU that runs L1 and L2 natively and one that runs them on the core are in the same
// state, by all that an L1 could read of it.
#ifndef NVMX_FUZZ_STATE_COMPARISON_H_
#define NVMX_FUZZ_STATE_COMPARISON_H_

#include <optional>

#include "backends/sim/machine/processor_state.h"
#include "core/nested/vcpu.h"
#include "core/vmx/capabilities.h"
#include "fuzz/bench.h"

namespace nvmx::fuzz {

// Registers, I/O ports and the random numbers. `level`: who runs, L1 or L2.
std::optional<BenchDifference> CompareProcessors(const sim::ProcessorState& native,
                                                 const sim::ProcessorState& nested, unsigned level);
// L1's MSRs. The core keeps the MTRRs in `l0`.
std::optional<BenchDifference> CompareMsrs(const sim::ProcessorState& native,
                                           const sim::ProcessorState& nested, const VcpuState& l0);
// VMX operation and the current VMCS, whose fields `vcpu` completes for that.
std::optional<BenchDifference> CompareVmcs(const sim::ProcessorState& native, Vcpu& vcpu,
                                           const Capabilities& offered);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_STATE_COMPARISON_H_
