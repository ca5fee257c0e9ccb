// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/nested_cpu.h"

#include <optional>

#include "gtest/gtest.h"

namespace nvmx::sim {
namespace {

class Buses final : public ProgramBus, public L0Bus {
 public:
  void SendIpi(uint32_t, uint64_t) override {}
  void SendHostNmiToAllOthers(uint32_t) override {}
  void SendHostNmi(uint32_t) override {}
};

class NestedCpuTest : public testing::Test {
 protected:
  NestedCpuTest() { cpu_.Reset(lhv::L1Mode::k64Bit); }

  void Refuse(uint64_t address) {
    Vcpu& vcpu = cpu_.vcpu();
    vcpu.embedder.HandleForbiddenAccess(vcpu, GuestPhysicalAddress{address});
  }

  static constexpr uint64_t kL0 = L0Memory::BaseFor(L0Memory::kMostWidth);
  Buses buses_;
  Memory memory_{1};
  System system_{1};
  L0Memory l0_memory_{memory_, 1};
  NestedCpu cpu_{ProgramCpu::Parts{0, memory_, buses_, SimulatedCapabilities(), {}},
                 NestedCpu::L0Parts{system_, l0_memory_, buses_, *FindVariant("correct"), false}};
};

TEST_F(NestedCpuTest, NotesARefusedAccessToL0sMemory) {
  Refuse(kL0);
  EXPECT_EQ(cpu_.forbidden_access_at(), 0u);
}

// EPT01 allows it, so there is no excuse for the core.
TEST_F(NestedCpuTest, ARefusedAccessToOtherMemoryIsNotL0s) {
  Refuse(kL0 - 1);
  EXPECT_EQ(cpu_.forbidden_access_at(), std::nullopt);
}

}  // namespace
}  // namespace nvmx::sim
