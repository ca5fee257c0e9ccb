// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_TLB_H_
#define NVMX_BACKENDS_SIM_MACHINE_TLB_H_

#include <cstdint>

namespace nvmx::sim {

// Translations that the processor remembers. SDM Vol. 3C, 29.4 "Caching Translation Information":
// linear and combined mappings carry a VPID (combined ones an EP4TA too), guest-physical mappings an
// EP4TA. Nothing is dropped but by these functions.
class Tlb {
 public:
  // INVLPG, INVVPID type 0: linear and combined mappings of the page, for all EP4TAs.
  void DropPage(uint16_t vpid, uint64_t linear);
  // MOV to CR3, INVVPID types 1 and 3: linear and combined mappings of the VPID.
  void DropVpid(uint16_t vpid, bool retain_globals);
  // INVVPID type 2: of all VPIDs but 0.
  void DropAllVpids();
  // INVEPT type 1: combined and guest-physical mappings with the EP4TA.
  void DropEp4ta(uint64_t ep4ta);
  // INVEPT type 2: all combined and guest-physical mappings.
  void DropAllEp4tas();
  void DropAll();
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TLB_H_
