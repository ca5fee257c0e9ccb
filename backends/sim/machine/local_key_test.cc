// SPDX-License-Identifier: Apache-2.0
//
// SimCpu::LocalKey(): two moments with equal keys must have equal futures. What the code on the
// fiber has seen belongs to the key, what it has not seen does not.
#include <cstring>
#include <functional>
#include <memory>
#include <utility>

#include "backends/sim/machine/testing/program_run.h"
#include "backends/sim/machine/testing/root_probe.h"

namespace nvmx::sim {
namespace {

class LocalKeyTest : public testing::Test, private InRootOperation {
 protected:
  LocalKeyTest() { Build(FindVariant("correct")->quiesce); }
  ~LocalKeyTest() override { SetRootProbe(nullptr); }

  void Build(const QuiesceProtocol& quiesce) {
    const Variant variant{"probe", "", quiesce, RootProbe()};
    program_ = ProgramRun::MustAssemble("name: exits\ncpus:\n  - run: [cpuid: 0, cpuid: 0]\n");
    MachineOptions options;
    options.variant = &variant;
    options.enable_keys = true;
    auto machine = Machine::Create(program_, options);
    if (!machine.ok()) std::abort();
    machine_ = *std::move(machine);
    SetRootProbe(this);
    cpu().SaveStart();
  }
  SimCpu& cpu() { return machine_->cpu(0); }

  static void Put(const SharedCell& cell, uint64_t value) {
    std::memcpy(cell.bytes().data(), &value, sizeof value);
  }
  // The key after `steps` steps of the code, which begins with `first` in the cell.
  SimCpu::Key KeyAfter(int steps, uint64_t first) {
    cpu().RestoreStart();
    Put(first_, first);
    cpu().Advance(Choice::kStep);  // CPUID exits; the code comes to its first point
    for (int i = 0; i < steps; ++i) cpu().Advance(Choice::kStep);
    return cpu().LocalKey();
  }

  std::function<void(Cpu&)> code_;
  Shared first_{"first"};
  Shared second_{"second"};

 private:
  void Run(Vcpu& vcpu) override {
    if (code_) code_(vcpu.ports.cpu);
  }

  lhv::GuestProgram program_;
  std::unique_ptr<Machine> machine_;
};

TEST_F(LocalKeyTest, IsTheSameWhenTheSameHappensAgain) {
  code_ = [this](Cpu& cpu) {
    first_.Load(cpu);
    second_.Load(cpu);
  };
  EXPECT_EQ(KeyAfter(1, 5), KeyAfter(1, 5));
}

TEST_F(LocalKeyTest, AValueThatWasLoadedIsPartOfIt) {
  code_ = [this](Cpu& cpu) {
    first_.Load(cpu);
    second_.Load(cpu);
  };
  EXPECT_NE(KeyAfter(1, 5), KeyAfter(1, 6));
}

TEST_F(LocalKeyTest, AValueThatIsStillToBeLoadedIsNot) {
  code_ = [this](Cpu& cpu) { first_.Load(cpu); };
  EXPECT_EQ(KeyAfter(0, 5), KeyAfter(0, 6));
}

TEST_F(LocalKeyTest, AValueThatWasOverwrittenOrAddedToIsNot) {
  code_ = [this](Cpu& cpu) {
    first_.Store(cpu, 1);
    second_.Load(cpu);
  };
  EXPECT_EQ(KeyAfter(1, 5), KeyAfter(1, 6));
  code_ = [this](Cpu& cpu) {
    first_.Add(cpu, 1);
    second_.Load(cpu);
  };
  EXPECT_EQ(KeyAfter(1, 5), KeyAfter(1, 6));
}

TEST_F(LocalKeyTest, PointsDifferByWhatIsDoneThere) {
  code_ = [this](Cpu& cpu) { first_.Load(cpu); };
  const SimCpu::Key load = KeyAfter(0, 0);
  code_ = [this](Cpu& cpu) { first_.Store(cpu, 1); };
  const SimCpu::Key store = KeyAfter(0, 0);
  code_ = [this](Cpu& cpu) { second_.Load(cpu); };
  const SimCpu::Key other_cell = KeyAfter(0, 0);
  code_ = [this](Cpu& cpu) { first_.SpinUntilEquals(cpu, 1); };
  const SimCpu::Key spin = KeyAfter(0, 1);
  code_ = [this](Cpu& cpu) { first_.SpinUntilEquals(cpu, 2); };
  const SimCpu::Key other_spin = KeyAfter(0, 1);
  const SimCpu::Key keys[] = {load, store, other_cell, spin, other_spin};
  for (const SimCpu::Key& a : keys) {
    for (const SimCpu::Key& b : keys) EXPECT_EQ(a == b, &a == &b);
  }
}

TEST_F(LocalKeyTest, TheSamePointComesBackAsAnother) {
  code_ = [this](Cpu& cpu) {
    for (;;) first_.Load(cpu);
  };
  EXPECT_NE(KeyAfter(0, 5), KeyAfter(1, 5)) << "how often it was loaded may matter";
}

TEST_F(LocalKeyTest, NmiContextIsAnotherAndForgottenAtItsEnd) {
  code_ = [this](Cpu& cpu) { first_.Load(cpu); };
  const SimCpu::Key before = KeyAfter(0, 5);
  cpu().latch().Put(NmiSource::kGuest);
  ASSERT_TRUE(cpu().CanTakeNmi());
  cpu().Advance(Choice::kTakeNmi);
  EXPECT_TRUE(cpu().in_nmi_context());
  EXPECT_FALSE(cpu().CanTakeNmi());
  EXPECT_NE(cpu().LocalKey(), before);
  while (cpu().in_nmi_context()) cpu().Advance(Choice::kStep);
  EXPECT_EQ(cpu().LocalKey(), before);
  EXPECT_FALSE(cpu().nmi_context_was_impure());
}

TEST_F(LocalKeyTest, NmiContextThatChangesPrivateStateIsNoticed) {
  Build(ImpureQuiesce());
  code_ = [this](Cpu& cpu) { first_.Load(cpu); };
  KeyAfter(0, 5);
  cpu().latch().Put(NmiSource::kGuest);
  cpu().Advance(Choice::kTakeNmi);
  while (cpu().in_nmi_context()) cpu().Advance(Choice::kStep);
  EXPECT_TRUE(cpu().nmi_context_was_impure());
}

TEST_F(LocalKeyTest, TheStateOfTheProcessorAndTheMemoryArePartOfIt) {
  const SimCpu::Key before = KeyAfter(0, 0);
  cpu().processor().state().plain.star ^= 1;
  EXPECT_NE(cpu().LocalKey(), before);
  cpu().processor().state().plain.star ^= 1;
  EXPECT_EQ(cpu().LocalKey(), before);
  const uint64_t one = 1;
  ASSERT_TRUE(cpu().ports().memory.WriteValue(GuestPhysicalAddress{lhv::kWindowBase}, one));
  EXPECT_NE(cpu().LocalKey(), before);
}

TEST_F(LocalKeyTest, RestoringTheStartRestoresItsKey) {
  cpu().RestoreStart();
  const SimCpu::Key start = cpu().LocalKey();
  cpu().Advance(Choice::kStep);
  EXPECT_NE(cpu().LocalKey(), start);
  cpu().RestoreStart();
  EXPECT_EQ(cpu().LocalKey(), start);
}

}  // namespace
}  // namespace nvmx::sim
