// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_VMCS02_CONTROLS_H_
#define NVMX_CORE_NESTED_VMCS02_CONTROLS_H_

#include <cstdint>
#include <optional>

#include "core/nested/field_set.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/vcpu.h"
#include "core/vmx/controls.h"

namespace nvmx {

// The controls of VMCS02: what L1 asks for in VMCS12, and what L0 needs.

// L0 always switches these by the VMCS, whether L1 asked for it or not: that is what holds L1's,
// L2's and L0's apart.
inline constexpr uint32_t kL0ExitControls =
    VmExit::kSaveDebugControls | VmExit::kHostAddressSpaceSize | VmExit::kSaveIa32Pat |
    VmExit::kLoadIa32Pat | VmExit::kSaveIa32Efer | VmExit::kLoadIa32Efer;
inline constexpr uint32_t kL0EntryControls =
    VmEntry::kLoadDebugControls | VmEntry::kLoadIa32Pat | VmEntry::kLoadIa32Efer;
// The same of an L0 that is not in IA-32e mode itself, and cannot offer it.
constexpr uint32_t L0ExitControls(const Capabilities& offered) {
  return OffersIa32eMode(offered) ? kL0ExitControls
                                  : kL0ExitControls & ~VmExit::kHostAddressSpaceSize;
}

// What of VMCS01, which is current, VMCS02 depends on. (Of VMCS02 it tells the same.)
Vmcs01Inputs ReadVmcs01Inputs(Vcpu& vcpu);

// The value of a field of the policies kMerge and kTranslateAddress in VMCS02, but for those of the
// guest-state area, of event injection and the EPT pointer (nested_paging.h). Nothing if VMCS02
// does not use the field.
std::optional<uint64_t> MergedControl(const Vcpu& vcpu, VmcsField field);

// The fields of VMCS02 whose merged value depends on those of VMCS12 that changed from `old` in
// these bits, beside the field itself.
FieldSet ControlsThatDependOn(VmcsField field, uint64_t changed_bits);

// The fields of VMCS02 that MergedControl() makes of what ReadVmcs01Inputs() reads.
extern const FieldSet kControlsThatDependOnVmcs01;

// The fields that hold addresses which EPT01 translates, and the controls that turn their use on.
extern const FieldSet kControlsThatDependOnEpt01;

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_VMCS02_CONTROLS_H_
