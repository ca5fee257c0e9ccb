// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/l0_log.h"

namespace nvmx::metal {
namespace {

const char* Name(TraceKind kind) {
  switch (kind) {
    case TraceKind::kNmiAcknowledged:
      return "stands still for a quiesce of CPU";
    case TraceKind::kNmiToGuest:
      return "NMI for the guest; pending now";
    case TraceKind::kNmiMergedForGuest:
      return "NMI merges with the guest's";
    case TraceKind::kNmiMergedWhileHeld:
      return "two held NMIs of the guest merge";
    case TraceKind::kNmiInjected:
      return "NMI injected, by VMCS";
    case TraceKind::kNmiExitToL1:
      return "NMI exit to L1";
    case TraceKind::kNestedEntry:
      return "L2 entered, VMCS12 at";
    case TraceKind::kNestedExit:
      return "L2 has exited to L1, reason and qualification";
    case TraceKind::kEntryRefused:
      return "VM entry refused, rule";
    case TraceKind::kMsrListEntry:
      return "entry of an MSR list, MSR and number";
    case TraceKind::kVmxAbort:
      return "VMX abort";
    case TraceKind::kQuiesceBegin:
      return "all others stand still";
    case TraceKind::kQuiesceEnd:
      return "all others have resumed";
    case TraceKind::kMemoryTypesChanged:
      return "EPT01 follows new MTRRs";
    case TraceKind::kLogLine:
      return "line of the log";
    case TraceKind::kAssertionFailed:
      return "no answer to";
  }
  return "unknown event";
}

}  // namespace

Text EventLine(CpuIndex cpu, const Event& event) {
  Text line;
  line << "L0: CPU " << cpu << ": at " << event.tsc << ": " << Name(event.kind) << ": "
       << Hex{event.first} << ", " << Hex{event.second} << "\n";
  return line;
}

void L0Log::Start(LogMode mode, uint32_t cpus, Sink sink) {
  mode_ = mode;
  cpus_ = cpus;
  sink_ = sink;
}

void L0Log::Record(CpuIndex cpu, const Event& event) {
  if (!records()) return;
  rings_[cpu].Put(event);
  if (mode_ == LogMode::kSerial) WriteIfNobodyDoes(kAllLines);
}

void L0Log::WriteSome() {
  if (HasMore()) WriteIfNobodyDoes(kFewLines);
}

void L0Log::WriteRest() {
  if (!records()) return;
  is_written_ = true;
  WriteLines(kAllLines, EventRing::Unfinished::kSkip);
  is_written_ = false;
}

void L0Log::WriteIfNobodyDoes(size_t most) {
  for (;;) {
    // Who finds the log taken leaves its event to the one who has it.
    if (is_written_.exchange(true)) return;
    const size_t written = WriteLines(most, EventRing::Unfinished::kComeAgain);
    is_written_ = false;
    // What does not come out now waits for a write that an NMI has interrupted here.
    if (written == 0 || most != kAllLines || !HasMore()) return;
  }
}

size_t L0Log::WriteLines(size_t most, EventRing::Unfinished unfinished) {
  size_t written = 0;
  for (CpuIndex cpu = 0; cpu < cpus_; ++cpu) {
    while (written < most) {
      const auto event = rings_[cpu].Take(unfinished);
      if (const uint64_t lost = rings_[cpu].TakeLost()) {
        sink_(Text() << "L0: CPU " << cpu << ": " << lost << " events are lost\n");
      }
      if (!event) break;
      sink_(EventLine(cpu, *event));
      ++written;
    }
  }
  return written;
}

bool L0Log::HasMore() const {
  for (CpuIndex cpu = 0; cpu < cpus_; ++cpu) {
    if (rings_[cpu].HasMore()) return true;
  }
  return false;
}

}  // namespace nvmx::metal
