// SPDX-License-Identifier: Apache-2.0
#include "core/nested/ept12_access.h"

#include "core/nested/entry_conditions.h"
#include "core/vmx/controls.h"

namespace nvmx {
namespace {

// The flags that the access has to set in the entry of that step.
uint64_t MissingFlags(const Ept12Walk& walk, unsigned step, uint64_t needed) {
  const bool is_last = step + 1 == walk.step_count;
  uint64_t flags = EptEntry::kAccessed;
  if (is_last && (needed & EptEntry::kWrite) != 0) flags |= EptEntry::kDirty;
  return flags & ~walk.steps[step].entry;
}

bool MissesFlags(const Ept12Walk& walk, uint64_t needed) {
  for (unsigned step = 0; step < walk.step_count; ++step) {
    if (MissingFlags(walk, step, needed) != 0) return true;
  }
  return false;
}

// False if one of the entries is not any more what the walk found. An entry in memory that takes no
// writes keeps its flags.
bool SetFlags(GuestMemory& memory, const Ept12Walk& walk, uint64_t needed) {
  for (unsigned n = 0; n < walk.step_count; ++n) {
    const uint64_t flags = MissingFlags(walk, n, needed);
    const Ept12Walk::Step& step = walk.steps[n];
    if (flags == 0 || memory.CompareExchange(step.address, step.entry, step.entry | flags)) {
      continue;
    }
    uint64_t now = ~uint64_t{0};
    memory.ReadValue(step.address, now);
    if (now != step.entry) return false;
  }
  return true;
}

// A log that no memory backs takes nothing.
void LogWrite(Vcpu& vcpu, GuestPhysicalAddress address) {
  VmcsImage& vmcs12 = vcpu.state.vmcs12;
  const uint64_t index = vmcs12.Get<VmcsField::kPmlIndex>();
  const uint64_t log = vmcs12.Get<VmcsField::kPmlAddress>();
  vcpu.ports.memory.WriteValue(GuestPhysicalAddress{log + index * sizeof(uint64_t)},
                               PageBase(address.value));
  vmcs12.Set<VmcsField::kPmlIndex>(index - 1);
}

Ept12Access::Result ResultOf(const Ept12Walk& walk) {
  switch (walk.result) {
    case Ept12Walk::Result::kTranslated:
      return Ept12Access::Result::kTranslated;
    case Ept12Walk::Result::kViolation:
      return Ept12Access::Result::kViolation;
    case Ept12Walk::Result::kMisconfiguration:
      return Ept12Access::Result::kMisconfiguration;
  }
  return Ept12Access::Result::kViolation;
}

}  // namespace

Ept12Access AccessThroughEpt12(Vcpu& vcpu, GuestPhysicalAddress address, uint64_t needed) {
  const VmcsImage& vmcs12 = vcpu.state.vmcs12;
  const uint64_t eptp = vmcs12.Get<VmcsField::kEptPointer>();
  const bool has_flags = (eptp & Eptp::kAccessedAndDirty) != 0;
  const bool logs = HasSecondary(vmcs12, Secondary::kEnablePml);
  for (;;) {
    Ept12Access access;
    access.walk = WalkEpt12(vcpu.ports.memory, vcpu.state.offered, eptp, address, needed);
    access.result = ResultOf(access.walk);
    access.dirty = true;
    if (access.result != Ept12Access::Result::kTranslated || !has_flags) return access;
    const unsigned last = access.walk.step_count - 1;
    const bool was_dirty = (access.walk.steps[last].entry & EptEntry::kDirty) != 0;
    const bool writes = (needed & EptEntry::kWrite) != 0;
    access.dirty = was_dirty || writes;
    if (!MissesFlags(access.walk, needed)) return access;
    if (logs && vmcs12.Get<VmcsField::kPmlIndex>() >= kPageModificationLogEntries) {
      access.result = Ept12Access::Result::kLogFull;
      return access;
    }
    if (!SetFlags(vcpu.ports.memory, access.walk, needed)) continue;
    if (logs && writes && !was_dirty) LogWrite(vcpu, address);
    return access;
  }
}

}  // namespace nvmx
