// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_EPT02_PAGES_H_
#define NVMX_CORE_NESTED_EPT02_PAGES_H_

#include <optional>

#include "core/nested/vcpu.h"

namespace nvmx {

// The pages of host_pages that EPT02 is built in. A page that is not in use is zero, but for the
// link in its first word, so that the same EPT02s always are the same bytes.

// A page of zeros; nothing if all are in use.
std::optional<PhysicalAddress> AllocateEpt02Page(Vcpu& vcpu);

// Gives the page back. Nothing refers to it any more.
void FreeEpt02Page(Vcpu& vcpu, PhysicalAddress page);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_EPT02_PAGES_H_
