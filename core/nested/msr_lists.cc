// SPDX-License-Identifier: Apache-2.0
#include "core/nested/msr_lists.h"

#include "core/nested/msr_access.h"
#include "core/nested/mtrr_virtualization.h"
#include "core/vmx/msr_list.h"
#include "core/x86/msr.h"

namespace nvmx {
namespace {

// Refused in every list. The x2APIC range whatever the APIC's mode is; the microcode registers
// because the processor may refuse what it documents so, and a guest does not load microcode
// through L0.
bool IsForbiddenInAnyList(uint32_t msr) {
  return IsX2ApicMsr(msr) || msr == Index(Msr::IA32_BIOS_UPDT_TRIG) ||
         msr == Index(Msr::IA32_BIOS_SIGN_ID);
}

// SDM Vol. 3C, 27.4 and 28.6 "Loading MSRs": FS and GS base come from the VMCS;
// IA32_SMM_MONITOR_CTL can be written in SMM only.
bool IsForbiddenToLoad(uint32_t msr) {
  return IsForbiddenInAnyList(msr) || msr == Index(Msr::IA32_FS_BASE) ||
         msr == Index(Msr::IA32_GS_BASE) || msr == Index(Msr::IA32_SMM_MONITOR_CTL);
}

// SDM Vol. 3C, 28.4 "Saving MSRs": IA32_SMBASE can be read in SMM only.
bool IsForbiddenToStore(uint32_t msr) {
  return IsForbiddenInAnyList(msr) || msr == Index(Msr::IA32_SMBASE);
}

GuestPhysicalAddress EntryAddress(const MsrList& list, uint32_t position) {
  return list.address + uint64_t{position} * sizeof(MsrListEntry);
}

bool LoadEntry(Vcpu& vcpu, GuestPhysicalAddress address, uint32_t number) {
  MsrListEntry entry;
  // Where no memory answers, a processor reads all ones, and so fails on the reserved bits.
  if (!vcpu.ports.memory.ReadValue(address, entry)) return false;
  vcpu.ports.trace.Record(TraceKind::kMsrListEntry, entry.index, number);
  if (entry.reserved != 0 || IsForbiddenToLoad(entry.index)) return false;
  return WriteGuestMsr(vcpu, entry.index, entry.data);
}

bool StoreEntry(Vcpu& vcpu, GuestPhysicalAddress address, uint32_t number) {
  MsrListEntry entry;
  if (!vcpu.ports.memory.ReadValue(address, entry)) return false;
  vcpu.ports.trace.Record(TraceKind::kMsrListEntry, entry.index, number);
  if (entry.reserved != 0 || IsForbiddenToStore(entry.index)) return false;
  const std::optional<uint64_t> value = ReadGuestMsr(vcpu, entry.index);
  if (!value) return false;
  return vcpu.ports.memory.WriteValue(address + offsetof(MsrListEntry, data), *value);
}

template <bool (*ProcessEntry)(Vcpu&, GuestPhysicalAddress, uint32_t number)>
FailedMsrListEntry ProcessList(Vcpu& vcpu, const MsrList& list) {
  for (uint32_t position = 0; position < list.count; ++position) {
    const uint32_t number = position + 1;
    if (!ProcessEntry(vcpu, EntryAddress(list, position), number)) return number;
  }
  return 0;
}

FailedMsrListEntry LoadMsrs(Vcpu& vcpu, const MsrList& list) {
  const FailedMsrListEntry failed = ProcessList<LoadEntry>(vcpu, list);
  // Also after a failure: the MTRRs that were loaded before it stay loaded.
  CommitMemoryTypes(vcpu);
  return failed;
}

}  // namespace

FailedMsrListEntry LoadMsrsOnEntry(Vcpu& vcpu, const MsrList& list) { return LoadMsrs(vcpu, list); }

FailedMsrListEntry StoreMsrsOnExit(Vcpu& vcpu, const MsrList& list) {
  return ProcessList<StoreEntry>(vcpu, list);
}

FailedMsrListEntry LoadMsrsOnExit(Vcpu& vcpu, const MsrList& list) { return LoadMsrs(vcpu, list); }

bool IsAcceptableMsrList(const Capabilities& capabilities, uint64_t address, uint64_t count) {
  if (count == 0) return true;
  if (count > MaximumMsrListEntries(capabilities.misc)) return false;
  if (!IsAligned(address, kMsrListAlignment)) return false;
  return IsWithinWidth(address, MsrListLength(static_cast<uint32_t>(count)),
                       static_cast<unsigned>(capabilities.physical_address_width));
}

}  // namespace nvmx
