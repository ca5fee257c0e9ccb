// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EMBEDDER_H_
#define NVMX_CORE_NESTED_EMBEDDER_H_

#include <cstdint>
#include <optional>

#include "core/ports/cpu.h"
#include "core/x86/address.h"
#include "core/x86/memory_type.h"

namespace nvmx {

struct Vcpu;

// What EPT01 makes of an address that L1 calls physical.
struct Ept01Mapping {
  PhysicalAddress address = {};  // of the byte that was asked for
  // log2 of the size of the naturally aligned block around the address that is mapped alike: 12, 21
  // or 30.
  unsigned block_shift = kPageShift;
  bool readable = false;
  bool writable = false;
  bool executable = false;
  MemoryType memory_type = MemoryType::kWriteBack;
  // The memory type counts whatever L1's or L2's own tables say (for memory-mapped devices of L0).
  bool memory_type_is_final = false;

  bool is_present() const { return readable || writable || executable; }
};

// Who executes an instruction that the embedder is asked about.
enum class GuestLevel : uint8_t { kL1, kL2 };

// What the embedder makes of an access that EPT01 does not allow.
enum class ForbiddenAccess : uint8_t {
  kFault,      // it raises #GP(0) in the guest that made it
  kRepeated,   // EPT01 has changed, and the guest tries again
  kPerformed,  // the embedder has performed it, and FinishInstruction() has moved the guest on
};

// The hypervisor that uses this library, as far as the core asks it something. The defaults want
// nothing: they make a hypervisor that adds nothing to the machine but nested VMX.
//
// Each function is called with the VMCS of the level that runs current, NMIs not blocked and no
// lock held, on the CPU that `vcpu` is; it may be called on several CPUs at once.
class Embedder {
 public:
  // VMCALL by L1 while L1 is in VMX root operation or outside VMX operation, or by L2 with an RAX
  // that OwnsVmcall() claims; RAX is in vcpu.state.registers. True if it was a call to the embedder
  // and has been served: the guest goes on behind the instruction. False: the guest gets what the
  // processor would give it.
  virtual bool HandleVmcall(Vcpu&) const { return false; }
  // Whether VMCALL by L2 with this RAX is a call to the embedder instead of a VM exit to L1.
  virtual bool OwnsVmcall([[maybe_unused]] uint64_t rax) const { return false; }
  // CPUID with EAX = leaf and ECX = subleaf, executed at that level, if the embedder answers it; it
  // then is no VM exit to L1. Nothing: L1 gets the processor's answer, with what the core does not
  // offer taken out, and L2's CPUID exits to L1.
  virtual std::optional<CpuidRegisters> AnswerCpuid(Vcpu&, GuestLevel,
                                                    [[maybe_unused]] uint32_t leaf,
                                                    [[maybe_unused]] uint32_t subleaf) const {
    return std::nullopt;
  }
  // Whether this write of an MTRR, which is valid for the processor, may happen. If not it raises
  // #GP.
  virtual bool AllowsMtrrWrite(Vcpu&, [[maybe_unused]] uint32_t msr,
                               [[maybe_unused]] uint64_t value) const {
    return true;
  }
  // EPT01 at the address. Must agree with the EPT paging structures that VMCS01 names. The core
  // builds EPT02 from it, and translates with it every physical address that L1 puts into VMCS12.
  // Default: everything is mapped to itself with all rights and memory type WB.
  virtual Ept01Mapping MapEpt01(const Vcpu&, GuestPhysicalAddress address) const {
    constexpr unsigned kGByteShift = 30;
    return {.address = PhysicalAddress{address.value},
            .block_shift = kGByteShift,
            .readable = true,
            .writable = true,
            .executable = true};
  }
  // An access that EPT01 does not allow; VMCS01 or VMCS02 is current and describes the EPT
  // violation, `address` is L1's.
  virtual ForbiddenAccess HandleForbiddenAccess(
      Vcpu&, [[maybe_unused]] GuestPhysicalAddress address) const {
    return ForbiddenAccess::kFault;
  }

 protected:
  ~Embedder() = default;
};

class DefaultEmbedder final : public Embedder {};

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EMBEDDER_H_
