// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VCPU_H_
#define NVMX_CORE_NESTED_VCPU_H_

#include <array>
#include <cstdint>
#include <type_traits>

#include "core/nested/ept02_state.h"
#include "core/nested/field_set.h"
#include "core/nested/host_pages.h"
#include "core/ports/ports.h"
#include "core/smp/quiesce.h"
#include "core/smp/system.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_image.h"
#include "core/x86/mtrr.h"

namespace nvmx {

class Choreography;
class Embedder;

// Where L1 stands with respect to VMX. One variable with three values: as two flags there was a
// moment between them in which an NMI met a state that does not exist.
enum class VmxOperation : uint64_t { kOff, kRoot, kNonRoot };

// Whether L1's VMREAD and VMWRITE are served by a shadow VMCS (vmcs12_shadow.h).
enum class Shadowing : uint64_t {
  kAbsent,  // there is none
  kOff,     // L1 has no current VMCS
  kOn,
};

// VcpuState::checked_controls.
inline constexpr uint64_t kCheckedOutside = 1;
inline constexpr uint64_t kCheckedInIa32eMode = 2;

// What L1's VMCS pointer holds when there is no current VMCS. SDM Vol. 3C, 25.1 "Overview".
inline constexpr uint64_t kNoVmcs = ~uint64_t{0};

// What of VMCS01 the controls of VMCS02 are made of: single controls, and how L1 reads the
// time-stamp counter.
struct Vmcs01Inputs {
  uint64_t primary;
  uint64_t secondary;
  uint64_t tsc_offset;
  uint64_t tsc_multiplier;
  friend constexpr bool operator==(const Vmcs01Inputs&, const Vmcs01Inputs&) = default;
};

// What exits to L0 and L0 itself have changed of L2 for an instruction to be taken up again or an
// event to be delivered, and what L1 must not see if that ends in a double or triple fault.
struct ChangedForEvent {
  uint64_t resume_flag;      // RFLAGS.RF was 0
  uint64_t blocking_by_sti;  // there was blocking by STI
  uint64_t rip;              // where L2 stood; its RIP is another once the event is delivered
};

// Everything L0 remembers about one CPU of L1. Values only: no pointer, no padding, so that two
// states are the same state exactly if their bytes are equal.
struct VcpuState {
  // What L1 is told that this CPU's VMX can do.
  Capabilities offered;
  // The fields that a VMCS has on such a CPU.
  FieldSet offered_fields;
  // RAX .. R15 of the guest, by encoding; RSP's place is not used (it lives in the VMCS).
  std::array<uint64_t, 16> registers;
  uint64_t cr2;

  VmxOperation operation;
  uint64_t vmxon_region;
  uint64_t current_vmcs;
  // The current VMCS12 while it is active; L1's memory holds an older state of it until VMCLEAR or
  // another VMPTRLD.
  VmcsImage vmcs12;
  // The launch state of the current VMCS12: 1 if launched.
  uint64_t vmcs12_launched;
  // 1 if the current VMCS12 is a shadow VMCS.
  uint64_t vmcs12_is_shadow;
  // The fields that VMCS02 does not have as VMCS12 says, and those of which VMCS02 has a newer
  // value than VMCS12 (vmcs12.h).
  FieldSet vmcs02_stale;
  FieldSet vmcs12_stale;
  // Whether the controls and the host state of VMCS12 have passed their checks and are what they
  // were then: 0, or the mode that L1 was in.
  uint64_t checked_controls;
  // How far L1 has a shadow VMCS.
  Shadowing shadowing;
  // What VMCS02 was made of last.
  Vmcs01Inputs vmcs01_inputs;

  // L1's view of this CPU's MTRRs, and whether EPT01 does not follow them yet.
  MtrrSettings mtrr;
  uint64_t memory_types_stale;

  // With "NMI exiting" = 1 and "virtual NMIs" = 0 in VMCS12: whether NMIs are blocked while L2
  // runs. VMCS02 cannot hold it, because VMCS02 always runs with virtual NMIs and its own bit then
  // means virtual blocking.
  uint64_t l2_blocking_by_nmi;
  // When L1's VMX-preemption timer is 0, in its own ticks; 0 unless L2 runs and L1 uses it.
  uint64_t l2_timer_deadline;
  ChangedForEvent l2_changed_for_event;
  // The guest that was entered last could not take the NMI that is pending for it.
  uint64_t guest_nmi_is_held;
  // The embedding hypervisor withholds guest NMIs.
  uint64_t guest_nmis_masked;
  // L1's CPU is in VMX-abort shutdown: it runs no instruction and takes no event, but L0 still
  // answers for it.
  uint64_t in_vmx_abort;
  // L1 has turned its local APIC off, which stays on all the same.
  uint64_t apic_is_off_for_l1;
  // L1 has got an INIT that its VMX root operation blocks.
  uint64_t init_latched;
  // The guest waits for a SIPI, and this CPU is left out of quiesces meanwhile.
  uint64_t left_out;

  // What of host_pages is in use for EPT02, and how.
  Ept02State ept02;
};
static_assert(std::is_trivially_copyable_v<VcpuState>);
static_assert(std::has_unique_object_representations_v<VcpuState>);

// How far an access by linear address has got.
struct LinearAccess {
  uint64_t address = 0;     // of its first byte on the page
  bool translated = false;  // the page itself is accessed, and no longer paging structures
};

// A translation behind the one of linear addresses, which may refuse accesses and then has to tell
// what they were made for.
class SecondTranslation {
 public:
  // What the following accesses to physical memory are part of.
  virtual void Announce(const LinearAccess& access) = 0;
  // Whether the page may be read or written.
  virtual bool Allows(GuestPhysicalAddress address, bool write) = 0;

 protected:
  ~SecondTranslation() = default;
};

// One CPU of L0 with everything it works on. The storage of what is referred to is the embedder's.
struct Vcpu {
  Ports ports;
  System& system;
  CpuCells& own;
  VcpuState& state;
  const QuiesceProtocol& quiesce;
  const Choreography& choreography;
  const Embedder& embedder;
  // Empty if L1 is offered nothing that needs them.
  HostPages host_pages = {};
  // Nullptr if there is none.
  SecondTranslation* second_translation = nullptr;
  // Three pages for the shadow VMCS that L1 reads and writes VMCS12 by: the VMCS itself, its VMREAD
  // bitmap and its VMWRITE bitmap. Empty if L1 is to have none.
  HostPages shadow_pages = {};

  SmpContext smp() {
    return {ports.cpu, ports.apic, ports.trace, system, own, state.left_out != 0};
  }
};

// Puts the state of a CPU whose L1 has not entered VMX operation. `offered` as
// OfferedCapabilities() returns it.
void InitializeVcpuState(VcpuState& state, const Capabilities& offered);

// The same of what L1 is offered alone.
void SetOffered(VcpuState& state, const Capabilities& offered);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VCPU_H_
