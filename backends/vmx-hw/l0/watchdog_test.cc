// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/watchdog.h"

#include <memory>
#include <string>
#include <vector>

#include "core/testing/fake_ports.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nvmx::metal {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines;
void Take(const Text& line) { lines.emplace_back(line.view()); }

class WatchdogTest : public testing::Test {
 protected:
  static constexpr uint64_t kTicksPerSecond = 1'000'000;
  WatchdogTest() {
    lines.clear();
    watchdog_->Start(2 * kTicksPerSecond, kTicksPerSecond, "late-acknowledgement");
  }
  Watchdog& watchdog() { return *watchdog_; }
  CpuStatus& cpu(CpuIndex index) { return watchdog_->status(index); }
  void Report(CpuIndex reporter, uint64_t now) { watchdog_->Report(system_, reporter, now, &Take); }

  EventLog log_;
  FakeCpu cpu_0_{0, log_};
  System system_{2};

 private:
  std::unique_ptr<Watchdog> watchdog_ = std::make_unique<Watchdog>();
};

TEST_F(WatchdogTest, HasPatienceAndReportsOnce) {
  EXPECT_FALSE(watchdog().IsTooLong(100, 100 + 2 * kTicksPerSecond));
  EXPECT_TRUE(watchdog().IsTooLong(100, 101 + 2 * kTicksPerSecond));
  EXPECT_TRUE(watchdog().BeginReport());
  EXPECT_FALSE(watchdog().BeginReport());
}

TEST_F(WatchdogTest, WithoutPatienceItNeverBarks) {
  const auto other = std::make_unique<Watchdog>();
  EXPECT_FALSE(other->watches());
  EXPECT_FALSE(other->IsTooLong(0, ~uint64_t{0}));
}

// The documented deadlock: CPU 0 waits for an acknowledgement, CPU 1 for a lock of CPU 0's.
TEST_F(WatchdogTest, TellsWhereEachCpuStands) {
  system_.quiesce.lock.Acquire(cpu_0_);
  system_.quiesce.initiator.Store(cpu_0_, 1);
  cpu(0).Exit(VmcsRole::kVmcs01, 20, false);
  cpu(0).BeginWait({&system_.quiesce.acknowledged, 1, SpinCondition::Comparison::kAtLeast},
                   1'000'000);
  Shared lock("quiesce_lock", CellKind::kLock);
  lock.Store(cpu_0_, 1);
  cpu(1).Enter(VmcsRole::kVmcs02);
  cpu(1).Exit(VmcsRole::kVmcs02, 0, true);
  cpu(1).BeginWait({&lock, 0, SpinCondition::Comparison::kAcquires}, 2'000'000);
  Report(0, 4'000'000);
  EXPECT_THAT(lines[0], HasSubstr("CPU 0 has waited too long; variant late-acknowledgement"));
  EXPECT_THAT(lines, Contains(HasSubstr("watchdog: cells: quiesce_lock CPU 0, print_lock nobody, "
                                        "quiesce_initiator CPU 0\n")));
  EXPECT_THAT(lines, Contains(HasSubstr("CPU 0: in L0, last VM exit from L1, reason 20; NMIs not "
                                        "blocked; 0 NMIs in L0, 0 NMI exits")));
  EXPECT_THAT(lines, Contains(HasSubstr("CPU 0: waits until quiesce_acknowledged is 1 or more; it "
                                        "is 0; for 3000 ms")));
  EXPECT_THAT(lines, Contains(HasSubstr("CPU 1: in L0, last VM exit from L2, reason 0; NMIs "
                                        "blocked since the NMI exit, which nobody has settled; 0 "
                                        "NMIs in L0, 1 NMI exits")));
  EXPECT_THAT(lines, Contains(HasSubstr("CPU 1: waits until quiesce_lock is free; it is CPU 0; for "
                                        "2000 ms")));
  EXPECT_EQ(lines.back(), "watchdog: all 2 CPUs wait: a deadlock\n");
}

TEST_F(WatchdogTest, ACpuInAGuestDoesNotWait) {
  cpu(0).BeginWait({&system_.quiesce.acknowledged, 1, SpinCondition::Comparison::kAtLeast}, 0);
  cpu(1).Enter(VmcsRole::kVmcs01);
  Report(0, 1);
  EXPECT_THAT(lines, Contains(HasSubstr("CPU 1: in L1")));
  EXPECT_THAT(lines, Not(Contains(HasSubstr("CPU 1: waits"))));
  EXPECT_EQ(lines.back(), "watchdog: 1 of 2 CPUs wait\n");
}

TEST_F(WatchdogTest, NmiContextHasAWaitOfItsOwn) {
  cpu(0).BeginWait({&system_.quiesce.acknowledged, 1, SpinCondition::Comparison::kAtLeast}, 0);
  cpu(0).BeginNmi();
  cpu(0).BeginWait({&system_.quiesce.resume_signal, 1, SpinCondition::Comparison::kEquals}, 0);
  Report(0, 0);
  EXPECT_THAT(lines, Contains(HasSubstr("NMIs blocked: in NMI context; 1 NMIs in L0")));
  EXPECT_THAT(lines, Contains(HasSubstr("CPU 0: waits until quiesce_acknowledged")));
  EXPECT_THAT(lines, Contains(HasSubstr("CPU 0: in NMI context waits until "
                                        "quiesce_resume_signal is 1;")));
  cpu(0).EndWait();
  cpu(0).EndNmi();
  EXPECT_TRUE(cpu(0).IsWaiting());
  cpu(0).EndWait();
  EXPECT_FALSE(cpu(0).IsWaiting());
}

TEST_F(WatchdogTest, AnIretEndsTheBlockingOfAnNmiExit) {
  cpu(0).Exit(VmcsRole::kVmcs02, 0, true);
  EXPECT_TRUE(cpu(0).nmi_exit_is_open());
  cpu(0).NmisUnblocked();
  EXPECT_FALSE(cpu(0).nmi_exit_is_open());
}

}  // namespace
}  // namespace nvmx::metal
