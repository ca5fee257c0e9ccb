// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_ENTRY_CHECKS_H_
#define NVMX_CORE_NESTED_ENTRY_CHECKS_H_

#include <cstdint>
#include <optional>

#include "core/nested/entry_surroundings.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/outcomes.h"
#include "core/vmx/vmcs_image.h"

namespace nvmx {

// The checks that VMLAUNCH and VMRESUME make, as functions of values. Each rule is a row of
// entry_rules.def; the first row that VMCS12 breaks decides. Order of the classes: SDM Vol. 3C,
// 27.2 "Checks on VMX Controls and Host-State Area", 27.3 "Checking and Loading Guest State".

// Controls and host state. Nothing if all rules hold; else the VMfail that L1 gets, naming the
// rule.
std::optional<EntryOutcome> CheckControlsAndHostState(const VmcsImage& vmcs12,
                                                      const Capabilities& capabilities,
                                                      const EntrySurroundings& surroundings = {});

// Guest state. Nothing if all rules hold; else the entry failure (reason 33).
std::optional<EntryOutcome> CheckGuestState(const VmcsImage& vmcs12,
                                            const Capabilities& capabilities,
                                            const EntrySurroundings& surroundings = {});

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_ENTRY_CHECKS_H_
