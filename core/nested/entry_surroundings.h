// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_ENTRY_SURROUNDINGS_H_
#define NVMX_CORE_NESTED_ENTRY_SURROUNDINGS_H_

#include <cstdint>

#include "core/nested/vcpu.h"

namespace nvmx {

// What the checks of VM entry look at beside VMCS12 and the capabilities: L1's mode, and what lies
// in L1's memory where VMCS12 points. Whatever a setting of the controls does not ask for keeps
// these values.
struct EntrySurroundings {
  // IA32_EFER.LMA of L1.
  bool l1_in_ia32e_mode = true;
  // The VTPR: the byte at 80H of the virtual-APIC page. SDM Vol. 3C, 30.1.1 "Virtualized APIC
  // Registers".
  uint8_t vtpr = 0;
  // The first four bytes of the VMCS region that the VMCS link pointer names.
  uint32_t linked_revision = 0;
  uint64_t current_vmcs = ~uint64_t{0};
  // The bits of IA32_PERF_GLOBAL_CTRL that stand for no counter of this CPU.
  uint64_t perf_global_ctrl_reserved = ~uint64_t{0};
  // With PAE paging: no PDPTE that the guest would enter with has reserved bits set.
  bool pdptes_are_valid = true;
  // The segment registers are in VMCS02 as L2 left them, and nothing else has changed that the
  // rules about them look at: they need not be checked, and VMCS12 does not have them.
  bool segments_are_as_l2_left_them = false;
};

// Reads them, and makes VMCS12 complete if the checks need it. VMCS01 is current; nothing that L1
// sees is changed.
EntrySurroundings ReadEntrySurroundings(Vcpu& vcpu);

// The VTPR of L2, whose VMCS12 uses the TPR shadow.
uint8_t ReadVtpr(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_ENTRY_SURROUNDINGS_H_
