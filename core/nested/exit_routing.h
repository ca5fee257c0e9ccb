// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EXIT_ROUTING_H_
#define NVMX_CORE_NESTED_EXIT_ROUTING_H_

#include <cstdint>

#include "core/vmx/exit_reason.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmcs_image.h"

namespace nvmx {

// Whose an exit out of VMCS02 is, as a function of values. VMCS02 exits for more than L1 asked for:
// L0 has needs of its own, and does some of what VMCS12 asks of hardware by software.

enum class ExitOwner : uint8_t {
  kL1,  // on a processor without L0 there would be this exit
  kL0,  // there would be none, or L0 has to look closer (EPT, VMFUNC)
};

// The bitmaps in L1's memory.
class GuestBitmaps {
 public:
  // The bit of the bitmap that begins at the address, 1 where no memory answers.
  virtual bool Bit(uint64_t bitmap, uint32_t bit) = 0;

 protected:
  ~GuestBitmaps() = default;
};

// As much of an exit as its owner depends on.
struct L2Exit {
  ExitReason reason;
  uint64_t qualification = 0;
  // Of an exception: the VM-exit interruption information and error code.
  InterruptionInformation event = {};
  uint32_t error_code = 0;
  // Of RDMSR and WRMSR: the index of the MSR. Of VMREAD and VMWRITE: the encoding of the field. Of
  // MOV to a control register: the value.
  uint64_t operand = 0;
};

ExitOwner OwnerOf(const L2Exit& exit, const VmcsImage& vmcs12, GuestBitmaps& bitmaps);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EXIT_ROUTING_H_
