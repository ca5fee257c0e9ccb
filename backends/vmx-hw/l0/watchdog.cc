// SPDX-License-Identifier: Apache-2.0
#include "backends/vmx-hw/l0/watchdog.h"

#include "core/smp/shared.h"

namespace nvmx::metal {
namespace {

void AppendValue(Text& text, CellKind kind, uint64_t value) {
  switch (kind) {
    case CellKind::kCpu:
    case CellKind::kLock:
      if (value == 0) {
        text << "nobody";
      } else {
        text << "CPU " << value - 1;
      }
      return;
    case CellKind::kCpuSet:
      text << Hex{value};
      return;
    case CellKind::kNumber:
    case CellKind::kBlock:
      text << value;
      return;
  }
}

void AppendCell(Text& text, const char* separator, const SharedCell& cell) {
  text << separator << cell.name() << " ";
  AppendValue(text, cell.kind(), cell.Peek());
}

const char* PlaceName(CpuStatus::Place place) {
  switch (place) {
    case CpuStatus::Place::kL0:
      return "in L0";
    case CpuStatus::Place::kL1:
      return "in L1";
    case CpuStatus::Place::kL2:
      return "in L2";
  }
  return "nowhere";
}

const char* NmiState(const CpuStatus& status) {
  if (status.in_nmi_context()) return "blocked: in NMI context";
  if (status.place() != CpuStatus::Place::kL0) return "as the guest has them";
  if (status.nmi_exit_is_open()) return "blocked since the NMI exit, which nobody has settled";
  return "not blocked";
}

}  // namespace

void Watchdog::Report(const System& system, CpuIndex reporter, uint64_t now, Sink sink) const {
  sink(Text() << "watchdog: CPU " << reporter << " has waited too long; variant " << variant_
              << "\n");
  ReportCells(system, sink);
  uint32_t waiting = 0;
  for (CpuIndex cpu = 0; cpu < system.cpu_count; ++cpu) {
    ReportCpu(cpu, now, sink);
    if (statuses_[cpu].IsWaiting()) ++waiting;
  }
  if (waiting == system.cpu_count) {
    sink(Text() << "watchdog: all " << waiting << " CPUs wait: a deadlock\n");
  } else {
    sink(Text() << "watchdog: " << waiting << " of " << system.cpu_count << " CPUs wait\n");
  }
}

void Watchdog::ReportCells(const System& system, Sink sink) const {
  const QuiesceCells& quiesce = system.quiesce;
  Text holders, counts;
  const char* separator = "watchdog: cells: ";
  for (const SharedCell* cell : {&quiesce.lock.cell(), &system.print_lock.cell(),
                                 static_cast<const SharedCell*>(&quiesce.initiator)}) {
    AppendCell(holders, separator, *cell);
    separator = ", ";
  }
  separator = "watchdog: cells: ";
  for (const Shared* cell :
       {&quiesce.acknowledged, &quiesce.resume_signal, &quiesce.resumed, &quiesce.left_out}) {
    AppendCell(counts, separator, *cell);
    separator = ", ";
  }
  sink(holders << "\n");
  sink(counts << "\n");
}

void Watchdog::ReportCpu(CpuIndex cpu, uint64_t now, Sink sink) const {
  const CpuStatus& status = statuses_[cpu];
  sink(Text() << "watchdog: CPU " << cpu << ": " << PlaceName(status.place())
              << ", last VM exit from " << (status.exit_from() == VmcsRole::kVmcs02 ? "L2" : "L1")
              << ", reason " << (status.exit_reason() & 0xFFFF) << "; NMIs " << NmiState(status)
              << "; " << status.nmis_in_root() << " NMIs in L0, " << status.nmi_exits()
              << " NMI exits\n");
  if (status.place() != CpuStatus::Place::kL0) return;
  ReportWait(cpu, false, now, sink);
  ReportWait(cpu, true, now, sink);
}

void Watchdog::ReportWait(CpuIndex cpu, bool nmi_context, uint64_t now, Sink sink) const {
  const CpuStatus::Wait wait = statuses_[cpu].WaitOf(nmi_context);
  if (wait.cell == nullptr) return;
  Text text;
  text << "watchdog: CPU " << cpu << ": " << (nmi_context ? "in NMI context " : "")
       << "waits until " << wait.cell->name();
  switch (wait.comparison) {
    case SpinCondition::Comparison::kAcquires:
      text << " is free";
      break;
    case SpinCondition::Comparison::kEquals:
      text << " is " << wait.wanted;
      break;
    case SpinCondition::Comparison::kAtLeast:
      text << " is " << wait.wanted << " or more";
      break;
  }
  text << "; it is ";
  AppendValue(text, wait.cell->kind(), wait.cell->Peek());
  // Time-stamp counters of two CPUs can differ a little.
  const uint64_t ticks = now > wait.since ? now - wait.since : 0;
  sink(text << "; for " << ticks / ticks_per_millisecond_ << " ms\n");
}

}  // namespace nvmx::metal
