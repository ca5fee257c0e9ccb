// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_ADDRESS_WALK_H_
#define NVMX_BACKENDS_SIM_MACHINE_ADDRESS_WALK_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "backends/sim/machine/ept_walk.h"
#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/paging_format.h"
#include "backends/sim/machine/tlb.h"
#include "backends/sim/machine/translation.h"
#include "core/vmx/capabilities.h"

namespace nvmx::sim {

// An access with a guest-physical address.
struct GuestPhysicalAccess {
  uint64_t address;
  uint64_t needs;          // permissions of EPT, bits 2:0 of an entry
  uint64_t qualification;  // what an EPT violation reports but for bits 6:3
  uint64_t linear;         // that led here
};

// Translation by walking the paging structures, the guest's and EPT's, in memory.
class AddressWalk {
 public:
  // What a walk leaves behind beside the flags in memory. Guest-physical mappings are looked up in
  // the cache, and all that the walk learns goes there. No cache: nothing is remembered.
  struct Trace {
    Tlb* cache;
    uint16_t& log_index;
  };
  // Without a trace the walk changes nothing, not even accessed and dirty flags.
  AddressWalk(Memory& memory, const Capabilities& capabilities, const TranslationContext& context,
              const Trace* trace)
      : memory_(memory), capabilities_(capabilities), context_(context), trace_(trace) {}

  // Translates a linear address for the access, with CR0.PG = 1 or with EPT. On success `mapping`
  // is that of the page.
  std::optional<TranslationFault> Linear(uint64_t linear, AccessKind kind, Mapping& mapping);
  // Translates a guest-physical address, with EPT.
  std::optional<TranslationFault> GuestPhysical(const GuestPhysicalAccess& access,
                                                Mapping& mapping);

  // The tag of mappings of linear addresses in the context.
  static MappingTag LinearTag(const TranslationContext& context);

 private:
  // An entry of the guest's paging structures that the walk used.
  struct UsedEntry {
    uint64_t address;   // guest-physical with EPT
    uint64_t physical;  // where it was read
    uint64_t value;
  };
  struct PagingWalk {
    std::array<UsedEntry, 5> entries;
    size_t count = 0;
    uint64_t page = 0;  // the address of the page's first byte, guest-physical with EPT
  };

  // The access to the translation of a linear address; `page` has its rights by paging.
  GuestPhysicalAccess FinalAccess(uint64_t guest_physical, uint64_t linear, AccessKind kind,
                                  const Mapping& page) const;
  Tlb* cache() const { return trace_ != nullptr ? trace_->cache : nullptr; }
  bool HasEptFlags() const;
  std::optional<TranslationFault> WalkPaging(const PagingFormat& format, uint64_t linear,
                                             AccessKind kind, PagingWalk& walk, Mapping& mapping);
  std::optional<TranslationFault> ReadEntry(const PagingFormat& format, uint64_t linear,
                                            UsedEntry& entry);
  std::optional<TranslationFault> SetPagingFlags(const PagingFormat& format, uint64_t linear,
                                                 AccessKind kind, const PagingWalk& walk);
  std::optional<TranslationFault> SetEptFlags(const EptWalk& walk,
                                              const GuestPhysicalAccess& access);
  EptWalk WalkEptFromNearest(uint64_t guest_physical) const;
  void RememberEpt(uint64_t guest_physical, const EptWalk& walk, const Mapping& mapping);
  TranslationFault PageFault(uint64_t linear, AccessKind kind, uint32_t more);
  TranslationFault EptViolation(const GuestPhysicalAccess& access, uint64_t permissions);

  Memory& memory_;
  const Capabilities& capabilities_;
  const TranslationContext& context_;
  const Trace* trace_;
};

// An access that translation has brought to `physical`: the report if that is the APIC-access page.
// An access to paging structures is reported with EPT only, where it is a guest-physical access.
// SDM Vol. 3C, 30.4.6 "APIC Accesses Not Directly Resulting From Linear Addresses".
std::optional<TranslationFault> ReportApicAccess(const TranslationContext& context,
                                                 uint64_t physical, uint64_t linear,
                                                 bool is_linear_access);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_ADDRESS_WALK_H_
