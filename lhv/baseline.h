// SPDX-License-Identifier: Apache-2.0
//
// The macros of the text form: sequences of operations that nearly every L1 begins with.
#ifndef NVMX_LHV_BASELINE_H_
#define NVMX_LHV_BASELINE_H_

#include <cstdint>
#include <vector>

#include "core/vmx/vmcs_field.h"
#include "lhv/l1_mode.h"
#include "lhv/program.h"

namespace nvmx::lhv {

// An address operand: Operation::value with its flags.
struct AddressOperand {
  uint64_t value = 0;
  uint16_t flags = 0;
};

// Enters VMX operation with the VMXON region at the address.
std::vector<Operation> EnterVmx(AddressOperand region);

// Makes the region at the address the current VMCS and fills it so that VM entry succeeds: L2 is
// the code of the CPU, in the mode and with the paging structures of L1, NMIs exit and are virtual,
// every RDMSR and WRMSR of L2 exits. HOST_RIP is left to the VM entries.
std::vector<Operation> BaselineVmcs(AddressOperand region, uint32_t cpu,
                                    L1Mode mode = L1Mode::k64Bit);

// VMWRITE of `value` to `field`.
Operation Vmwrite(VmcsField field, uint64_t value, uint16_t flags = 0);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_BASELINE_H_
