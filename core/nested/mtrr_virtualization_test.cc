// SPDX-License-Identifier: Apache-2.0
//
// MTRRs: what a write changes, and when the machine stops for it.
#include "core/nested/mtrr_virtualization.h"

#include <algorithm>

#include "core/nested/msr_lists.h"
#include "core/testing/builders.h"
#include "core/testing/fake_vcpu.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx {
namespace {

using testing::ElementsAre;

constexpr uint32_t kBase0 = Index(MtrrPhysBase(0));
constexpr uint32_t kMask0 = Index(MtrrPhysMask(0));
constexpr uint32_t kDefType = Index(Msr::IA32_MTRR_DEF_TYPE);
constexpr uint32_t kLstar = Index(Msr::IA32_LSTAR);
constexpr uint32_t kAbsent = 0x12345;
constexpr uint64_t kWriteBackAt1M = 0x100006;
constexpr uint64_t kMask1M = 0x7F'FFF0'0800;

class MtrrTest : public testing::Test {
 protected:
  MtrrTest() {
    l1_.RunL2();
    l1_.cpu.msrs() = {{kLstar, 0}};
  }

  FailedMsrListEntry Load(const std::vector<MsrListEntry>& entries) {
    l1_.log.clear();
    return LoadMsrsOnEntry(l1_.vcpu(), l1_.PutMsrList(FakeVcpu::kEntryLoadList, entries));
  }
  int Quiesces() const { return l1_.trace.Count(TraceKind::kQuiesceBegin); }
  // The position in the log of a line that is there once.
  std::ptrdiff_t When(const std::string& line) {
    EXPECT_EQ(std::count(l1_.log.begin(), l1_.log.end(), line), 1) << line;
    return std::find(l1_.log.begin(), l1_.log.end(), line) - l1_.log.begin();
  }
  MtrrSettings MemoryTypes() { return l1_.system.ept01_memory_types.Load(l1_.cpu); }

  FakeVcpu l1_;
};

TEST_F(MtrrTest, AListOfManyMtrrsStopsTheMachineOnce) {
  EXPECT_EQ(Load({{kBase0, 0, kWriteBackAt1M}, {kMask0, 0, kMask1M}, {kDefType, 0, 0x800}}), 0u);
  EXPECT_EQ(Quiesces(), 1);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kQuiesceEnd), 1);
  EXPECT_EQ(l1_.trace.Count(TraceKind::kMemoryTypesChanged), 1);
  EXPECT_EQ(std::count(l1_.cpu.invalidations().begin(), l1_.cpu.invalidations().end(),
                       Invalidation{.kind = Invalidation::Kind::kEptAllContexts}),
            1);
  EXPECT_EQ(MemoryTypes(), l1_.state.mtrr);
  EXPECT_EQ(l1_.state.mtrr.Read(kBase0), kWriteBackAt1M);
  EXPECT_EQ(l1_.state.mtrr.Read(kMask0), kMask1M);
  EXPECT_EQ(l1_.state.mtrr.Read(kDefType), 0x800u);
}

TEST_F(MtrrTest, TheMachineStopsAfterTheLastEntryOfTheList) {
  EXPECT_EQ(Load({{kBase0, 0, kWriteBackAt1M}, {kLstar, 0, 1}}), 0u);
  EXPECT_LT(When("WRMSR C0000082"), When("acquire quiesce_lock"));
}

TEST_F(MtrrTest, AListThatFailsAfterAnMtrrStillMakesItTakeEffect) {
  EXPECT_EQ(Load({{kBase0, 0, kWriteBackAt1M}, {kAbsent, 0, 0}, {kMask0, 0, kMask1M}}), 2u);
  EXPECT_EQ(Quiesces(), 1);
  EXPECT_EQ(MemoryTypes().Read(kBase0), kWriteBackAt1M);
  EXPECT_EQ(MemoryTypes().Read(kMask0), 0u);
}

TEST_F(MtrrTest, AListThatFailsBeforeItsMtrrStopsNothing) {
  EXPECT_EQ(Load({{kAbsent, 0, 0}, {kBase0, 0, kWriteBackAt1M}}), 1u);
  EXPECT_EQ(Quiesces(), 0);
  EXPECT_EQ(l1_.state.mtrr.Read(kBase0), 0u);
}

TEST_F(MtrrTest, AnMtrrThatDoesNotChangeStopsNothing) {
  EXPECT_EQ(Load({{kBase0, 0, kWriteBackAt1M}}), 0u);
  EXPECT_EQ(Quiesces(), 1);
  EXPECT_EQ(Load({{kBase0, 0, kWriteBackAt1M}}), 0u);
  EXPECT_EQ(Quiesces(), 1);
}

TEST_F(MtrrTest, AListWithoutMtrrsStopsNothing) {
  EXPECT_EQ(Load({{kLstar, 0, 1}}), 0u);
  EXPECT_EQ(Quiesces(), 0);
}

TEST_F(MtrrTest, AnInvalidMtrrValueFailsTheEntryAndChangesNothing) {
  EXPECT_EQ(Load({{kBase0, 0, 0x100002}}), 1u);                       // memory type 2
  EXPECT_EQ(Load({{kBase0, 0, (uint64_t{1} << 39) | 6}}), 1u);        // beyond MAXPHYADDR
  EXPECT_EQ(Load({{kMask0, 0, kMask1M | 1}}), 1u);                    // reserved bit
  EXPECT_EQ(Load({{kDefType, 0, 0x1006}}), 1u);                       // reserved bit
  EXPECT_EQ(Load({{Index(Msr::IA32_MTRR_FIX64K_00000), 0, 7}}), 1u);  // UC- is for the PAT only
  EXPECT_EQ(l1_.state.mtrr, MtrrSettings());
  EXPECT_EQ(Quiesces(), 0);
}

TEST_F(MtrrTest, TheExitLoadListStopsTheMachineOnceToo) {
  l1_.vmcs.MakeCurrent(VmcsRole::kVmcs01);
  const MsrList list =
      l1_.PutMsrList(FakeVcpu::kExitLoadList, {{kBase0, 0, kWriteBackAt1M}, {kMask0, 0, kMask1M}});
  EXPECT_EQ(LoadMsrsOnExit(l1_.vcpu(), list), 0u);
  EXPECT_EQ(Quiesces(), 1);
  EXPECT_EQ(MemoryTypes(), l1_.state.mtrr);
}

TEST_F(MtrrTest, MemoryTypesChangeWhileTheOthersStandStillAndCachedOnesAreDroppedBeforeTheyResume) {
  EXPECT_EQ(Load({{kBase0, 0, kWriteBackAt1M}}), 0u);
  const auto stopped = When("trace QuiesceBegin");
  const auto changed = When("store ept01_memory_types");
  const auto dropped = When("INVEPT");
  const auto resumed = When("store quiesce_resumed");
  EXPECT_LT(stopped, changed);
  EXPECT_LT(changed, dropped);
  EXPECT_LT(dropped, resumed);
}

TEST_F(MtrrTest, AWriteIsPrintedBeforeTheMachineStops) {
  EXPECT_TRUE(WriteMtrr(l1_.vcpu(), kBase0, kWriteBackAt1M));
  EXPECT_THAT(l1_.log, ElementsAre("acquire print_lock", "trace LogLine", "release print_lock"));
  EXPECT_EQ(Quiesces(), 0);
  CommitMemoryTypes(l1_.vcpu());
  EXPECT_EQ(Quiesces(), 1);
  CommitMemoryTypes(l1_.vcpu());
  EXPECT_EQ(Quiesces(), 1);
}

TEST_F(MtrrTest, WrmsrByL1TakesEffectAtOnceOnAllCpus) {
  FakeVcpu l1(2);
  l1.OthersAnswerQuiesce();
  l1.Register(GeneralRegister::kRcx) = kBase0;
  l1.Register(GeneralRegister::kRax) = 0xFFFFFFFF'00100006;
  l1.Register(GeneralRegister::kRdx) = 0;
  EXPECT_EQ(l1.Execute(ExitReason::kWrmsr), VmxOutcome::Succeed());
  EXPECT_EQ(l1.trace.Count(TraceKind::kQuiesceEnd), 1);
  EXPECT_EQ(l1.apic.nmis_sent(), 1);
  EXPECT_EQ(l1.system.ept01_memory_types.Load(l1.cpu).Read(kBase0), kWriteBackAt1M);
}

}  // namespace
}  // namespace nvmx
