// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_MSR_BITMAP_H_
#define NVMX_CORE_NESTED_MSR_BITMAP_H_

#include "core/nested/vcpu.h"

namespace nvmx {

// The MSR bitmaps of VMCS01 and VMCS02, two of L0's pages. Without host pages neither VMCS uses
// one: then every RDMSR and WRMSR exits.

// Fills VMCS01's: what L0 has to see, and nothing else.
void FillMsrBitmap01(Vcpu& vcpu);

// Fills VMCS02's, if VMCS12 uses MSR bitmaps: what L1 intercepts, read anew with each entry because
// L1 may change it in its memory, and what L0 has to see. All ones where no memory answers.
void MergeMsrBitmap(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_MSR_BITMAP_H_
