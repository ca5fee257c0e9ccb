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
#include "core/vmx/capabilities.h"

namespace nvmx::sim {

enum class AccessKind : uint8_t { kRead, kWrite, kFetch };

// What translation depends on, at the moment of the access.
struct TranslationContext {
  uint64_t cr0, cr3, cr4, efer, rflags;
  std::array<uint64_t, 4> pdptes;  // with PAE paging
  // The access counts as one of user mode: CPL 3, and not an implicit supervisor access.
  bool user;
  bool ept;       // VMX non-root operation with EPT
  uint64_t eptp;  // with `ept`
  uint16_t vpid;  // 0: VPIDs are not in use
  // Page-modification logging, with `ept`: where the log is, and its index, which an access moves.
  bool page_modification_log;
  uint64_t log_address;
};

// Why an access did not happen.
struct TranslationFault {
  enum class Kind : uint8_t {
    kPageFault,
    kNotCanonical,  // #GP, or #SS for the stack segment
    kEptViolation,
    kEptMisconfiguration,
    kPageModificationLogFull,
  };
  Kind kind;
  uint64_t linear;          // that was to be accessed: CR2, or the guest-linear address
  uint32_t error_code = 0;  // of kPageFault
  // Of the EPT kinds; the qualification without bit 12, which is the caller's.
  uint64_t qualification = 0;
  uint64_t guest_physical = 0;
};

// Paging, EPT and the cached translations of one simulated processor, written from the SDM: Vol. 3A,
// chapter 5 "Paging"; Vol. 3C, chapter 29 "VMX Support for Address Translation". It keeps stale
// translations for as long as the SDM allows, so that a missing invalidation is seen.
class Mmu {
 public:
  Mmu(Memory& memory, const Capabilities& capabilities);

  // --- Accesses to linear memory. Nothing is read or written unless every byte can be. A physical
  // address that nothing answers reads as all ones and ignores writes.
  std::optional<TranslationFault> Read(TranslationContext& context, uint64_t linear,
                                       std::span<std::byte> bytes);
  std::optional<TranslationFault> Write(TranslationContext& context, uint64_t linear,
                                        std::span<const std::byte> bytes);
  // The physical address of one byte; sets accessed and dirty flags as the access does.
  std::optional<TranslationFault> Translate(TranslationContext& context, uint64_t linear,
                                            AccessKind kind, uint64_t& physical);
  // As Read, but without any trace (no flag set, nothing cached) and zeros where it would fault.
  void Peek(const TranslationContext& context, uint64_t linear, std::span<std::byte> bytes) const;
  // Loads the four PDPTEs that CR3 points to, through EPT if it is on. The fault, or the index of
  // an entry with reserved bits set.
  struct PdpteLoad {
    std::optional<TranslationFault> fault;
    bool reserved_bits = false;
    std::array<uint64_t, 4> pdptes{};
  };
  PdpteLoad LoadPdptes(TranslationContext& context, uint64_t cr3);

  // --- Invalidation: what instructions, VM entries and VM exits drop.
  Tlb& tlb() { return tlb_; }
  // Keep translations (default), or walk at every access, as a processor that evicts at once.
  void KeepTranslations(bool keep);

  // The index of the page-modification log: the VMCS field while the guest runs.
  uint16_t log_index = 0;

 private:
  Memory& memory_;
  const Capabilities& capabilities_;
  Tlb tlb_;
  bool keep_ = true;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_MMU_H_
