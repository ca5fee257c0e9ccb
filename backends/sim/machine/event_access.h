// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_EVENT_ACCESS_H_
#define NVMX_BACKENDS_SIM_MACHINE_EVENT_ACCESS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "backends/sim/machine/event.h"
#include "backends/sim/machine/mmu.h"
#include "backends/sim/machine/processor_state.h"
#include "backends/sim/machine/segment_descriptor.h"
#include "backends/sim/machine/translation.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"
#include "core/x86/rflags.h"
#include "core/x86/segment.h"

namespace nvmx::sim {

// What the modes of the processor mean for events.
constexpr bool HasProtection(const SwitchedRegisters& registers) {
  return (registers.cr0 & Cr0::kPe) != 0;
}
constexpr bool IsIa32e(const SwitchedRegisters& registers) {
  return (registers.efer & Efer::kLma) != 0;
}
constexpr bool IsVirtual8086(const SwitchedRegisters& registers) {
  return HasProtection(registers) && (registers.rflags & Rflags::kVm) != 0;
}
constexpr bool Is64BitMode(const SwitchedRegisters& registers) {
  return IsIa32e(registers) && AccessRights{static_cast<uint32_t>(registers.cs.access_rights)}.l();
}

// The error code of a fault that a selector causes: EXT is added by the caller. SDM Vol. 3A, 7.13
// "Error Code".
constexpr uint32_t SelectorError(uint64_t selector) {
  return static_cast<uint32_t>(selector & 0xFFFC);
}

// Reads the IDT, the descriptor tables and the TSS, as the processor does on its own account.
class TableAccess {
 public:
  TableAccess(Mmu& mmu, const TranslationContext& context, const SwitchedRegisters& registers)
      : mmu_(mmu), context_(ImplicitSupervisor(context)), registers_(registers) {}

  // `otherwise` is what an address raises that is not canonical.
  std::optional<EventFault> Read(uint64_t linear, std::span<std::byte> bytes,
                                 const EventFault& otherwise);
  template <typename T>
  std::optional<EventFault> ReadValue(uint64_t linear, T& value, const EventFault& otherwise) {
    return Read(linear, std::as_writable_bytes(std::span<T, 1>(&value, 1)), otherwise);
  }
  // The descriptor that the selector names in the GDT or the LDT; `otherwise` is for a selector
  // that does not lie in its table.
  std::optional<EventFault> ReadDescriptor(uint16_t selector, SegmentDescriptor& descriptor,
                                           const EventFault& otherwise);
  // Loading a code or data segment sets its accessed flag, in the table too.
  std::optional<EventFault> SetAccessed(uint16_t selector, SegmentDescriptor& descriptor,
                                        const EventFault& otherwise);

 private:
  uint64_t AddressOf(uint16_t selector) const;

  Mmu& mmu_;
  const TranslationContext context_;
  const SwitchedRegisters& registers_;
};

// A stack that values are pushed on to or popped from.
class StackAccess {
 public:
  // `otherwise` is the #SS of an address outside the segment, or not canonical.
  StackAccess(Mmu& mmu, const TranslationContext& context, const SegmentState& ss, uint64_t pointer,
              const EventFault& otherwise);
  // The CPL of the accesses.
  void SetCpl(unsigned cpl) { context_.user = cpl == 3; }
  // A flat stack with 64-bit pointers, where SS plays no part.
  void Set64Bit() { is_64_bit_ = true; }

  // Whether that many bytes below (to push) or from the pointer (to pop) lie in the segment.
  std::optional<EventFault> CheckRoomToPush(uint64_t bytes) const;
  std::optional<EventFault> Push(uint64_t value, unsigned bytes);
  std::optional<EventFault> Pop(uint64_t& value, unsigned bytes);
  uint64_t pointer() const { return pointer_; }
  void AddToPointer(uint64_t bytes);

 private:
  uint64_t PointerMask() const;
  bool IsInSegment(uint64_t offset, uint64_t bytes) const;

  Mmu& mmu_;
  TranslationContext context_;
  const SegmentState ss_;
  uint64_t pointer_;
  const EventFault otherwise_;
  bool is_64_bit_ = false;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_EVENT_ACCESS_H_
