// SPDX-License-Identifier: Apache-2.0
//
// EPT violations of an L2 that runs with EPT on a fake CPU.
#ifndef NVMX_CORE_TESTING_MEMORY_EXITS_FIXTURE_H_
#define NVMX_CORE_TESTING_MEMORY_EXITS_FIXTURE_H_

#include <cstdint>

#include "core/testing/nested_paging_fixture.h"
#include "core/vmx/ept.h"
#include "core/vmx/exit_reason.h"

namespace nvmx {

class MemoryExitsTest : public NestedPagingTest {
 protected:
  static constexpr uint64_t kR = EptViolation::kRead;
  static constexpr uint64_t kW = EptViolation::kWrite;
  static constexpr uint64_t kX = EptViolation::kFetch;
  static constexpr uint32_t kGp0 = 0x80000B0D;
  static constexpr unsigned kRightsShift = 3;
  VmcsImage& Vmcs02() { return l1_.vmcs.vmcs02(); }
  VmcsImage& Vmcs12() { return l1_.state.vmcs12; }
  void ExpectViolation(uint64_t qualification) {
    ExpectExit(ExitReason::kEptViolation, qualification, kL2, kLinear);
  }
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_MEMORY_EXITS_FIXTURE_H_
