// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EMBEDDER_H_
#define NVMX_CORE_NESTED_EMBEDDER_H_

#include <cstdint>

namespace nvmx {

struct Vcpu;

// The hypervisor that uses this library, as far as the core asks it something. The defaults want
// nothing.
class Embedder {
 public:
  // VMCALL by L1 while L1 is in VMX root operation or outside VMX operation; RAX is in
  // vcpu.state.registers. True if it was a call to the embedder and has been served: L1 goes on
  // behind the instruction. False: L1 gets what the processor would give it. Called with VMCS01
  // current, NMIs not blocked, no lock held.
  virtual bool HandleVmcall(Vcpu& vcpu) const {
    (void)vcpu;
    return false;
  }

 protected:
  ~Embedder() = default;
};

class DefaultEmbedder final : public Embedder {};

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EMBEDDER_H_
