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

void LeftOpenWatch::Written(uint64_t physical) {
  if (active_.contains(PageBase(physical))) Note(LeftOpen::kRegionOfActiveVmcsWritten);
}

}  // namespace nvmx::sim
