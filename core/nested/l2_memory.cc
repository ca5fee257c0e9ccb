// SPDX-License-Identifier: Apache-2.0
#include "core/nested/l2_memory.h"

#include <algorithm>

#include "core/nested/entry_conditions.h"
#include "core/nested/ept12_access.h"
#include "core/vmx/controls.h"

namespace nvmx {
namespace {

// Calls access(address, part) for the parts of the bytes on each page, while it returns true.
template <typename Byte, typename Access>
bool ForEachPage(GuestPhysicalAddress address, std::span<Byte> bytes, Access access) {
  while (!bytes.empty()) {
    const size_t length = std::min<size_t>(bytes.size(), kPageSize - PageOffset(address));
    if (!access(address, bytes.first(length))) return false;
    bytes = bytes.subspan(length);
    address = address + length;
  }
  return true;
}

}  // namespace

std::optional<GuestPhysicalAddress> L2Memory::Translate(GuestPhysicalAddress address,
                                                        uint64_t access) {
  const VmcsImage& vmcs12 = vcpu_.state.vmcs12;
  if (!HasSecondary(vmcs12, Secondary::kEnableEpt)) return address;
  // With flags in EPT accesses to paging structures count as writes. SDM Vol. 3C, 29.3.5 "Accessed
  // and Dirty Flags for EPT".
  const bool has_flags = (vmcs12.Get<VmcsField::kEptPointer>() & Eptp::kAccessedAndDirty) != 0;
  if (has_flags && !linear_.translated) access |= EptEntry::kWrite;
  const Ept12Access translated = AccessThroughEpt12(vcpu_, address, access);
  if (translated.result == Ept12Access::Result::kTranslated) return translated.walk.address;
  if (!untranslated_) untranslated_ = Untranslated{address, access, linear_};
  return std::nullopt;
}

bool L2Memory::Read(GuestPhysicalAddress address, std::span<std::byte> bytes) {
  return ForEachPage(address, bytes, [&](GuestPhysicalAddress at, std::span<std::byte> part) {
    const std::optional<GuestPhysicalAddress> in_l1 = Translate(at, EptEntry::kRead);
    return in_l1 && vcpu_.ports.memory.Read(*in_l1, part);
  });
}

bool L2Memory::Write(GuestPhysicalAddress address, std::span<const std::byte> bytes) {
  return ForEachPage(address, bytes, [&](GuestPhysicalAddress at, std::span<const std::byte> part) {
    const std::optional<GuestPhysicalAddress> in_l1 = Translate(at, EptEntry::kWrite);
    return in_l1 && vcpu_.ports.memory.Write(*in_l1, part);
  });
}

bool L2Memory::Allows(GuestPhysicalAddress address, bool write) {
  return Translate(address, write ? EptEntry::kWrite : EptEntry::kRead).has_value();
}

Vcpu WithMemory(Vcpu& vcpu, L2Memory& memory) {
  const Ports& ports = vcpu.ports;
  return {{ports.cpu, ports.vmcs, memory, ports.apic, ports.clock, ports.trace},
          vcpu.system,
          vcpu.own,
          vcpu.state,
          vcpu.quiesce,
          vcpu.choreography,
          vcpu.embedder,
          vcpu.host_pages,
          &memory};
}

}  // namespace nvmx
