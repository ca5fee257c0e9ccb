// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_L2_MEMORY_H_
#define NVMX_CORE_NESTED_L2_MEMORY_H_

#include <optional>

#include "core/nested/vcpu.h"

namespace nvmx {

// What L2 calls physical memory: L1's, through EPT12 if VMCS12 has it. An access that EPT12 does
// not translate is remembered, and looks as if nothing answered. VMCS02 is current.
class L2Memory final : public GuestMemory, public SecondTranslation {
 public:
  explicit L2Memory(Vcpu& vcpu) : vcpu_(vcpu) {}

  bool Read(GuestPhysicalAddress address, std::span<std::byte> bytes) override;
  bool Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) override;
  void Announce(const LinearAccess& access) override { linear_ = access; }
  bool Allows(GuestPhysicalAddress address, bool write) override;

  // The first access that was not translated.
  struct Untranslated {
    GuestPhysicalAddress address;
    uint64_t access;      // EptEntry::kRead, kWrite
    LinearAccess linear;  // what it was made for
  };
  const std::optional<Untranslated>& untranslated() const { return untranslated_; }

 private:
  // The address of L1's where the byte lies.
  std::optional<GuestPhysicalAddress> Translate(GuestPhysicalAddress address, uint64_t access);

  Vcpu& vcpu_;
  LinearAccess linear_;
  std::optional<Untranslated> untranslated_;
};

// The same CPU with that memory: what reads operands of an instruction of L1 reads L2's with it.
Vcpu WithMemory(Vcpu& vcpu, L2Memory& memory);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_L2_MEMORY_H_
