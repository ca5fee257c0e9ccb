// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_MUTATOR_H_
#define NVMX_FUZZ_MUTATOR_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "fuzz/target.h"
#include "lhv/assembled.h"

namespace nvmx::fuzz {

// Changes guest programs by their structure. What it inserts are pieces of programs of the
// generator's topics that the target is about, made once.
class ProgramMutator {
 public:
  explicit ProgramMutator(const TargetInformation& target);

  // One to a few changes. `own` is an input's own part.
  void Mutate(lhv::GuestProgram& own, Random& random, const ByteMutator& mutate_bytes) const;
  // What `a` has, with pieces of `b`.
  void CrossOver(lhv::GuestProgram& a, const lhv::GuestProgram& b, Random& random) const;
  // A program of the pool.
  const lhv::GuestProgram& Some(Random& random) const {
    return random.Of(std::span<const lhv::GuestProgram>(pool_));
  }

 private:
  void MutateOnce(lhv::GuestProgram& own, Random& random, const ByteMutator& mutate_bytes) const;
  void MutateCode(lhv::CpuProgram& cpu, Random& random, const ByteMutator& mutate_bytes) const;
  void MutateMemory(lhv::CpuProgram& cpu, Random& random, const ByteMutator& mutate_bytes) const;
  void InsertPiece(lhv::CpuProgram& cpu, const lhv::CpuProgram& from, Random& random) const;
  void RemovePiece(lhv::CpuProgram& cpu, Random& random) const;

  const TargetInformation& target_;
  std::vector<lhv::GuestProgram> pool_;
};

// In one of the first pages of L0's own memory: nothing that L1 or L2 does may reach it.
uint64_t SomeAddressOfL0(Random& random);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_MUTATOR_H_
