// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/machine/left_open.h"

#include "core/x86/address.h"

namespace nvmx::sim {

const char* Name(LeftOpen kind) {
  switch (kind) {
    case LeftOpen::kNothing:
      return "nothing";
    case LeftOpen::kPagingFlagInEptTable:
      return "an accessed or dirty flag of L2's paging is set in a table of EPT's";
    case LeftOpen::kPagingStructureInApicAccessPage:
      return "a paging structure of L2's lies in the APIC-access page";
    case LeftOpen::kRegionOfActiveVmcsWritten:
      return "the region of an active VMCS is written";
    case LeftOpen::kVmcsNotInitialized:
      return "a VMCS that VMCLEAR has not initialized becomes active";
  }
  return "?";
}

void LeftOpenWatch::EptEntryUsed(uint64_t physical) {
  const uint64_t page = PageBase(physical);
  ept_tables_.insert(page);
  if (flagged_.contains(page)) Note(LeftOpen::kPagingFlagInEptTable);
}

void LeftOpenWatch::PagingFlagSet(uint64_t physical) {
  const uint64_t page = PageBase(physical);
  flagged_.insert(page);
  if (ept_tables_.contains(page)) Note(LeftOpen::kPagingFlagInEptTable);
  Written(physical);
}

void LeftOpenWatch::VmcsActivated(uint64_t region) {
  if (!initialized_.contains(region)) Note(LeftOpen::kVmcsNotInitialized);
  active_.insert(region);
}

void LeftOpenWatch::VmcsCleared(uint64_t region) {
  active_.erase(region);
  initialized_.insert(region);
}

void LeftOpenWatch::Written(uint64_t physical) {
  // The revision identifier and the abort indicator are software's.
  constexpr uint64_t kHeaderBytes = 8;
  const uint64_t page = PageBase(physical);
  if (active_.contains(page)) Note(LeftOpen::kRegionOfActiveVmcsWritten);
  if (PageOffset(physical) >= kHeaderBytes) initialized_.erase(page);
}

}  // namespace nvmx::sim
