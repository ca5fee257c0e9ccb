// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EPT12_ACCESS_H_
#define NVMX_CORE_NESTED_EPT12_ACCESS_H_

#include <cstdint>

#include "core/nested/ept12.h"
#include "core/nested/vcpu.h"

namespace nvmx {

// What an access of L2 comes to by EPT12.
struct Ept12Access {
  enum class Result : uint8_t {
    kTranslated,
    kViolation,
    kMisconfiguration,
    kLogFull,  // a flag was to be set, and the page-modification log has no room
  };

  Result result;
  Ept12Walk walk;
  // Of kTranslated: a later write to the page changes nothing in EPT12 any more.
  bool dirty = false;
};

// Translates one access of L2 through the EPT12 that VMCS12 names, which needs these permissions
// (EptEntry::kRead, kWrite, kExecute), and leaves behind what a processor does: accessed flags in
// all entries that were used, the dirty flag in the last one if it was a write, and for each dirty
// flag an entry of the page-modification log. Nothing is left behind if the access is not
// translated. SDM Vol. 3C, 29.3.5 "Accessed and Dirty Flags for EPT", 29.3.6 "Page-Modification
// Logging".
Ept12Access AccessThroughEpt12(Vcpu& vcpu, GuestPhysicalAddress address, uint64_t needed);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EPT12_ACCESS_H_
