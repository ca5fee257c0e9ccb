// SPDX-License-Identifier: Apache-2.0
//
// What the translation of an address depends on, and what can come of it.
#ifndef NVMX_BACKENDS_SIM_MACHINE_TRANSLATION_H_
#define NVMX_BACKENDS_SIM_MACHINE_TRANSLATION_H_

#include <array>
#include <cstdint>

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
  // Page-modification logging, with `ept`: where the log is. Its index is the Mmu's.
  bool page_modification_log;
  uint64_t log_address;
  // The access is one that the processor makes to a descriptor table or a TSS: RFLAGS.AC does not
  // override SMAP. SDM Vol. 3A, 5.6 "Access Rights". With it `user` is false.
  bool implicit = false;
  // "Virtualize APIC accesses": an access that leads to this page is reported, not made.
  bool virtualize_apic_accesses = false;
  uint64_t apic_access_address = 0;
};

// As `context`, for an implicit supervisor access.
inline TranslationContext ImplicitSupervisor(TranslationContext context) {
  context.user = false;
  context.implicit = true;
  return context;
}

// Why an access did not happen.
struct TranslationFault {
  enum class Kind : uint8_t {
    kPageFault,
    kNotCanonical,  // #GP, or #SS for the stack segment
    kEptViolation,
    kEptMisconfiguration,
    kPageModificationLogFull,
    // Translation came to the end, on the APIC-access page: the access is to be virtualized or to
    // exit. SDM Vol. 3C, 30.4 "Virtualizing Memory-Mapped APIC Accesses".
    kApicAccess,
  };
  Kind kind;
  uint64_t linear;          // that was to be accessed: CR2, or the guest-linear address
  uint32_t error_code = 0;  // of kPageFault
  // Of the EPT kinds; the qualification without bit 12, which is the caller's.
  uint64_t qualification = 0;
  uint64_t guest_physical = 0;
  // Of kApicAccess: the physical address, and whether the access was the translated linear one, and
  // not one to a paging structure on the way there.
  uint64_t physical = 0;
  bool is_linear_access = true;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_TRANSLATION_H_
