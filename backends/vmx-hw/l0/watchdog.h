// SPDX-License-Identifier: Apache-2.0
//
// Ends a run in which CPUs of L0 wait for each other, and says how each stands. It takes no lock
// and asks no CPU: what it reads is what each has said (cpu_status.h) and the cells themselves.
#ifndef NVMX_BACKENDS_VMX_HW_L0_WATCHDOG_H_
#define NVMX_BACKENDS_VMX_HW_L0_WATCHDOG_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "backends/vmx-hw/l0/cpu_status.h"
#include "backends/vmx-hw/machine/text.h"
#include "core/smp/system.h"

namespace nvmx::metal {

class Watchdog {
 public:
  static constexpr uint32_t kMostCpus = 16;
  using Sink = void (*)(const Text& line);

  // A watchdog without patience never barks.
  void Start(uint64_t patience_in_ticks, uint64_t ticks_per_second, const char* variant) {
    patience_ = patience_in_ticks;
    ticks_per_millisecond_ = ticks_per_second / 1000;
    variant_ = variant;
  }
  bool watches() const { return patience_ != 0; }
  CpuStatus& status(CpuIndex cpu) { return statuses_[cpu]; }

  // Whether a CPU that has waited since then has waited too long.
  bool IsTooLong(uint64_t since, uint64_t now) const {
    return watches() && now - since > patience_;
  }
  // True for the first CPU that asks: the one that reports.
  bool BeginReport() { return !reports_.exchange(true); }
  // By the CPU that has waited too long, at its time `now`.
  void Report(const System& system, CpuIndex reporter, uint64_t now, Sink sink) const;

 private:
  void ReportCells(const System& system, Sink sink) const;
  void ReportCpu(CpuIndex cpu, uint64_t now, Sink sink) const;
  void ReportWait(CpuIndex cpu, bool nmi_context, uint64_t now, Sink sink) const;

  uint64_t patience_ = 0;
  uint64_t ticks_per_millisecond_ = 1;
  const char* variant_ = "";
  std::atomic<bool> reports_{false};
  std::array<CpuStatus, kMostCpus> statuses_{};
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_WATCHDOG_H_
