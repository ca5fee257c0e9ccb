// SPDX-License-Identifier: Apache-2.0
//
// L0's log of events. Whoever records one takes no lock and waits for nobody: not in NMI context,
// not while it stands still or has all others stand still.
#ifndef NVMX_BACKENDS_VMX_HW_L0_L0_LOG_H_
#define NVMX_BACKENDS_VMX_HW_L0_L0_LOG_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "backends/vmx-hw/l0/event_ring.h"
#include "backends/vmx-hw/machine/text.h"
#include "core/ports/cpu.h"

namespace nvmx::metal {

enum class LogMode : uint8_t {
  kNone,    // nothing is recorded
  kSerial,  // events become lines as they happen, if no other CPU writes its own just then
  kRing,    // they become lines later: at VM exits outside a quiesce, and at the end of the run
};

// The line of an event of that CPU.
Text EventLine(CpuIndex cpu, const Event& event);

class L0Log {
 public:
  static constexpr uint32_t kMostCpus = 16;
  // At 115200 baud a line takes some 7 ms, and L1 may have something to do.
  static constexpr size_t kFewLines = 2;
  // Writes a line.
  using Sink = void (*)(const Text& line);

  // A log that nobody has started records nothing.
  void Start(LogMode mode, uint32_t cpus, Sink sink);
  bool records() const { return mode_ != LogMode::kNone; }
  // On that CPU.
  void Record(CpuIndex cpu, const Event& event);
  // At a VM exit, outside a quiesce: a few lines of what has been recorded. Nothing if another CPU,
  // or what an NMI has interrupted here, writes.
  void WriteSome();
  // At the end of the run: whatever there still is, even if somebody has been stopped while
  // writing.
  void WriteRest();

 private:
  static constexpr size_t kAllLines = ~size_t{0};

  void WriteIfNobodyDoes(size_t most);
  // Returns how many.
  size_t WriteLines(size_t most, EventRing::Unfinished unfinished);
  bool HasMore() const;

  LogMode mode_ = LogMode::kNone;
  uint32_t cpus_ = 0;
  Sink sink_ = nullptr;
  std::atomic<bool> is_written_{false};
  std::array<EventRing, kMostCpus> rings_{};
};

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_L0_L0_LOG_H_
