// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/smallest.h"

#include <cstdint>
#include <map>
#include <memory>

#include "backends/sim/program/campaign.h"
#include "backends/sim/program/comparison.h"
#include "backends/sim/program/shrink.h"

namespace nvmx::sim {

lhv::GuestProgram SmallestWithSignature(const lhv::GuestProgram& program,
                                        const std::string& signature,
                                        const Capabilities& hardware) {
  // A candidate can have fewer CPUs.
  std::map<size_t, std::unique_ptr<Comparer>> comparers;
  Comparison comparison;
  return Shrink(program, [&](const lhv::GuestProgram& candidate) {
    std::unique_ptr<Comparer>& comparer = comparers[candidate.cpus.size()];
    if (!comparer) {
      comparer = std::make_unique<Comparer>(static_cast<uint32_t>(candidate.cpus.size()),
                                            *FindVariant("correct"), hardware);
    }
    comparer->Compare(candidate, comparison);
    return comparison.IsDefect() && SignatureOf(candidate, comparison) == signature;
  });
}

}  // namespace nvmx::sim
