// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_PDPTES_H_
#define NVMX_CORE_NESTED_PDPTES_H_

#include <array>
#include <cstdint>
#include <optional>

#include "core/nested/vcpu.h"

namespace nvmx {

// The four page-directory-pointer-table entries that PAE paging keeps in registers.
// SDM Vol. 3A, 5.4.1 "PDPTE Registers".
using Pdptes = std::array<uint64_t, 4>;

struct Pdpte {
  static constexpr uint64_t kPresent = uint64_t{1} << 0;
  // Bits 2:1 and 8:5; with them all bits from the physical-address width on.
  static constexpr uint64_t kReserved = 0x1E6;
};

// Whether control registers with these values select PAE paging.
bool UsesPaePaging(uint64_t cr0, uint64_t cr4, bool ia32e_mode);

// Whether each entry that is present has only 0 in its reserved bits.
bool AreValidPdptes(const Pdptes& pdptes, unsigned physical_address_width);

// The entries that CR3 points to in L1's memory.
Pdptes ReadPdptes(Vcpu& vcpu, uint64_t cr3);

// The entries that the guest of the current VMCS runs with. With EPT the VMCS holds them; without,
// they are in the processor, and what CR3 points to stands for them.
Pdptes PdptesOfGuest(Vcpu& vcpu);

// Writes the PDPTE fields of the current VMCS, if it uses EPT and so has them.
void WritePdpteFields(Vcpu& vcpu, const Pdptes& pdptes);

// What L2 enters with, if VMCS12 selects PAE paging: from VMCS12 if it uses EPT, else from where
// CR3 points. Nothing if it does not select PAE paging. SDM Vol. 3C, 27.3.1.6 "Checks on Guest
// Page-Directory-Pointer-Table Entries".
std::optional<Pdptes> PdptesOfVmcs12(Vcpu& vcpu);

// Whether the field is one of the four.
bool IsPdpteField(VmcsField field);

// On an exit to L1, of L2 with PAE paging and EPT in VMCS12: saves them. VMCS02 is current; the
// control registers and the VM-entry controls are in VMCS12 already. SDM Vol. 3C, 28.3.1 "Saving
// Control Registers, Debug Registers, and MSRs".
void SavePdptesToVmcs12(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_PDPTES_H_
