// SPDX-License-Identifier: Apache-2.0
//
// Changes that a target knows of and no other: entries, counts and addresses of MSR lists; entries
// of EPT paging structures.
#ifndef NVMX_FUZZ_TOPICAL_MUTATIONS_H_
#define NVMX_FUZZ_TOPICAL_MUTATIONS_H_

#include <cstdint>

#include "fuzz/target.h"
#include "lhv/assembled.h"

namespace nvmx::fuzz {

// An MSR with a name, its neighbour, or any.
uint32_t SomeMsr(Random& random);

// One of the three lists of the VMCS that the program makes. A list that the program does not use
// yet is begun.
void MutateMsrList(lhv::CpuProgram& cpu, Random& random, const ByteMutator& mutate_bytes);

// An entry of the tables of kBehindEptEntry, an access of L2 through it, or what L1 does about it.
void MutateEpt(lhv::CpuProgram& cpu, Random& random);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_TOPICAL_MUTATIONS_H_
