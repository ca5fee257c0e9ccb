// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_VMCS12_ROUNDING_H_
#define NVMX_FUZZ_VMCS12_ROUNDING_H_

#include "core/vmx/vmcs_image.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "lhv/assembled.h"

namespace nvmx::fuzz {

// VMCS12 as the setup of the form leaves it, with the VMWRITEs that the program begins with.
VmcsImage Vmcs12Of(InputForm form, const lhv::CpuProgram& cpu);

// Which check of VM entry the VMCS is the first to break, by the simulated processor's list of them
// (1 to the number of rules); 0: none. What lies in memory counts as zeros.
struct BrokenRule {
  uint32_t number = 0;
  const char* name = "";
};
BrokenRule FirstBrokenRule(const VmcsImage& vmcs);
// The name of a rule by its number; nullptr behind the last.
const char* RuleName(uint32_t number);

// Takes back VMWRITEs, of those that the program begins with, until few checks are left that fail:
// a VMCS that breaks many of them never gets beyond the first.
void RoundVmcs12(InputForm form, lhv::CpuProgram& cpu, Random& random);

// One more VMWRITE at the beginning: of a field, with its value changed a little.
void ChangeField(InputForm form, lhv::CpuProgram& cpu, Random& random);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_VMCS12_ROUNDING_H_
