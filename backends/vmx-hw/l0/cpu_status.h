// SPDX-License-Identifier: Apache-2.0
//
// What each CPU of L0 says about itself, for others to read at any time: when CPUs wait for each
// other, nobody can be asked.
#ifndef NVMX_BACKENDS_VMX_HW_L0_CPU_STATUS_H_
#define NVMX_BACKENDS_VMX_HW_L0_CPU_STATUS_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "core/ports/cpu.h"
#include "core/ports/vmcs.h"

namespace nvmx::metal {

class CpuStatus {
 public:
  enum class Place : uint8_t { kL0, kL1, kL2 };

  // What a CPU waits for; `cell` is null if it does not.
  struct Wait {
    const SharedCell* cell = nullptr;
    uint64_t wanted = 0;
    SpinCondition::Comparison comparison = SpinCondition::Comparison::kEquals;
    uint64_t since = 0;  // by the CPU's time-stamp counter
  };

  // --- Of the CPU itself.

  void Enter(VmcsRole role) { Set(place_, role == VmcsRole::kVmcs02 ? Place::kL2 : Place::kL1); }
  // A VM exit, of which the reason may be 0 if nobody asked for it.
  void Exit(VmcsRole role, uint32_t reason, bool was_nmi) {
    Set(exit_from_, role);
    Set(exit_reason_, reason);
    if (was_nmi) Set(nmi_exits_, nmi_exits() + 1);
    Set(nmi_exit_is_open_, was_nmi);
    Set(place_, Place::kL0);
  }
  // Blocking by NMI has ended.
  void NmisUnblocked() { Set(nmi_exit_is_open_, false); }
  void BeginNmi() {
    Set(nmis_in_root_, nmis_in_root() + 1);
    Set(in_nmi_context_, true);
  }
  void EndNmi() { Set(in_nmi_context_, false); }
  // NMI context has waits of its own: what it interrupts may be one.
  void BeginWait(const SpinCondition& condition, uint64_t now) {
    PublishedWait& wait = waits_[in_nmi_context() ? 1 : 0];
    Set(wait.wanted, condition.wanted);
    Set(wait.comparison, condition.comparison);
    Set(wait.since, now);
    wait.cell.store(condition.cell, std::memory_order_release);
  }
  void EndWait() { waits_[in_nmi_context() ? 1 : 0].cell.store(nullptr, kRelaxed); }

  // --- Of whoever wants to know.

  Place place() const { return place_.load(kRelaxed); }
  VmcsRole exit_from() const { return exit_from_.load(kRelaxed); }
  uint32_t exit_reason() const { return exit_reason_.load(kRelaxed); }
  // The last VM exit was an NMI, and NMIs have been blocked since.
  bool nmi_exit_is_open() const { return nmi_exit_is_open_.load(kRelaxed); }
  bool in_nmi_context() const { return in_nmi_context_.load(kRelaxed); }
  uint64_t nmis_in_root() const { return nmis_in_root_.load(kRelaxed); }
  uint64_t nmi_exits() const { return nmi_exits_.load(kRelaxed); }
  // Of NMI context, or of what it has interrupted.
  Wait WaitOf(bool nmi_context) const {
    const PublishedWait& wait = waits_[nmi_context ? 1 : 0];
    const SharedCell* const cell = wait.cell.load(std::memory_order_acquire);
    return {cell, wait.wanted.load(kRelaxed), wait.comparison.load(kRelaxed),
            wait.since.load(kRelaxed)};
  }
  bool IsWaiting() const {
    return place() == Place::kL0 && (WaitOf(false).cell != nullptr || WaitOf(true).cell != nullptr);
  }

 private:
  static constexpr std::memory_order kRelaxed = std::memory_order_relaxed;
  struct PublishedWait {
    std::atomic<const SharedCell*> cell{nullptr};
    std::atomic<uint64_t> wanted{0}, since{0};
    std::atomic<SpinCondition::Comparison> comparison{SpinCondition::Comparison::kEquals};
  };

  template <typename T>
  static void Set(std::atomic<T>& variable, T value) {
    variable.store(value, kRelaxed);
  }

  std::atomic<Place> place_{Place::kL0};
  std::atomic<VmcsRole> exit_from_{VmcsRole::kVmcs01};
  std::atomic<uint32_t> exit_reason_{0};
  std::atomic<bool> nmi_exit_is_open_{false};
  std::atomic<bool> in_nmi_context_{false};
  std::atomic<uint64_t> nmis_in_root_{0}, nmi_exits_{0};
  std::array<PublishedWait, 2> waits_{};
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_CPU_STATUS_H_
