// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_MMU_H_
#define NVMX_BACKENDS_SIM_MACHINE_MMU_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "backends/sim/machine/memory.h"
#include "backends/sim/machine/tlb.h"
#include "backends/sim/machine/translation.h"
#include "core/vmx/capabilities.h"

namespace nvmx::sim {

// Paging, EPT and the cached translations of one simulated processor, written from the SDM: Vol.
// 3A, chapter 5 "Paging"; Vol. 3C, chapter 29 "VMX Support for Address Translation". It keeps stale
// translations for as long as the SDM allows, so that a missing invalidation is seen: a cached
// mapping decides alone, also where that makes a page fault or an EPT violation which a walk would
// not make. Either drops what it came from, so that the second try walks.
class Mmu {
 public:
  // Both must outlive this.
  Mmu(Memory& memory, const Capabilities& capabilities);

  // --- Accesses to linear memory. Nothing is read or written unless every byte can be. A physical
  // address that nothing answers reads as all ones and ignores writes.
  std::optional<TranslationFault> Read(const TranslationContext& context, uint64_t linear,
                                       std::span<std::byte> bytes);
  std::optional<TranslationFault> Write(const TranslationContext& context, uint64_t linear,
                                        std::span<const std::byte> bytes);
  // The physical address of one byte; sets accessed and dirty flags as the access does.
  std::optional<TranslationFault> Translate(const TranslationContext& context, uint64_t linear,
                                            AccessKind kind, uint64_t& physical);
  // As Read, but without any trace (no flag set, nothing cached) and zeros where it would fault.
  void Peek(const TranslationContext& context, uint64_t linear, std::span<std::byte> bytes) const;
  // Loads the four PDPTEs that CR3 points to, through EPT if it is on. The fault, or whether a
  // present entry has reserved bits set, which is #GP(0) or a failed VM entry. SDM Vol. 3A, 5.4.1
  // "PDPTE Registers".
  struct PdpteLoad {
    std::optional<TranslationFault> fault;
    bool reserved_bits = false;
    std::array<uint64_t, 4> pdptes{};
  };
  PdpteLoad LoadPdptes(const TranslationContext& context, uint64_t cr3);

  // --- Invalidation: what instructions, VM entries and VM exits drop.
  Tlb& tlb() { return tlb_; }
  const Tlb& tlb() const { return tlb_; }
  // Keep translations (default), or walk at every access, as a processor that evicts at once.
  void KeepTranslations(bool keep);

  // The index of the page-modification log: the VMCS field while the guest runs.
  uint16_t log_index = 0;

 private:
  // The pages of an access: one or two, for it is at most a page long.
  struct Pieces;
  std::optional<TranslationFault> TranslateAll(const TranslationContext& context, uint64_t linear,
                                               AccessKind kind, size_t bytes, Pieces& pieces);
  // Looks in the cache; false if there is nothing that can be used.
  bool FindCached(const TranslationContext& context, uint64_t linear, AccessKind kind,
                  uint64_t& physical, std::optional<TranslationFault>& fault);
  std::optional<uint64_t> PeekAddress(const TranslationContext& context, uint64_t linear) const;

  Memory& memory_;
  const Capabilities& capabilities_;
  Tlb tlb_;
  bool keep_ = true;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_MMU_H_
