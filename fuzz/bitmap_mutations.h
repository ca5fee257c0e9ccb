// SPDX-License-Identifier: Apache-2.0
//
// Changes of the bitmaps that decide whether an access of L2 exits: to I/O ports, to MSRs, to VMCS
// fields. A bit that no access of L2 looks at says nothing, and a random one is such a bit.
#ifndef NVMX_FUZZ_BITMAP_MUTATIONS_H_
#define NVMX_FUZZ_BITMAP_MUTATIONS_H_

#include "fuzz/target.h"
#include "lhv/assembled.h"

namespace nvmx::fuzz {

// An access that L2 makes, the bit that decides about one, or where a bitmap lies. What the program
// lacks, the control and the bitmap, is begun.
void MutateBitmap(lhv::CpuProgram& cpu, Random& random);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_BITMAP_MUTATIONS_H_
