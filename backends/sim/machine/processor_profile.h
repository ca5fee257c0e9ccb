// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_PROFILE_H_
#define NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_PROFILE_H_

#include "core/vmx/capabilities.h"

namespace nvmx::sim {

// What the simulated processor's VMX can do: the features that backends/sim implements, in the form
// in which a processor reports them. SDM Vol. 3D, Appendix A "VMX Capability Reporting Facility".
Capabilities SimulatedCapabilities();

// The same of a processor that can do no more than that one: what neither lacks. Where the two have
// a number, as the widths of addresses, the smaller counts; the rate of the VMX-preemption timer is
// that processor's.
Capabilities SimulatedCapabilities(const Capabilities& processor);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_PROFILE_H_
