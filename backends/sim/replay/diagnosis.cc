// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/replay/diagnosis.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

bool SpinsOn(const Machine& machine, uint32_t cpu, const SharedCell& cell) {
  const Point& point = machine.cpu(cpu).point();
  return point.kind == PointKind::kSpin && point.cell == &cell;
}

// CPU numbers in a cell are stored + 1.
std::optional<uint32_t> CpuIn(const SharedCell& cell) {
  const uint64_t value = cell.Peek();
  if (value == 0) return std::nullopt;
  return static_cast<uint32_t>(value - 1);
}

// The CPUs that have acknowledged the open request and stand still are those that wait for the
// resume signal.
bool StandsStill(const Machine& machine, uint32_t cpu) {
  return SpinsOn(machine, cpu, machine.system().quiesce.resume_signal);
}

std::string CpuList(const std::vector<uint32_t>& cpus) {
  if (cpus.empty()) return "nobody";
  return absl::StrCat("CPU ", absl::StrJoin(cpus, ", CPU "));
}

Wait WaitForCell(const Machine& machine, uint32_t cpu) {
  const Point& point = machine.cpu(cpu).point();
  const QuiesceCells& quiesce = machine.system().quiesce;
  const SharedCell& cell = *point.cell;
  Wait wait;
  if (point.acquires()) {
    const std::optional<uint32_t> holder = CpuIn(cell);
    wait.what = absl::StrCat(cell.name(), " to be free");
    wait.now = holder ? absl::StrCat("held by CPU ", *holder) : "free";
    wait.thing = absl::StrCat(cell.name(), ", ", wait.now);
    if (holder) wait.for_cpus.push_back(*holder);
    return wait;
  }
  const bool at_least = point.comparison == SpinCondition::Comparison::kAtLeast;
  wait.what = absl::StrCat(cell.name(), at_least ? " >= " : " = ", point.wanted);
  wait.now = absl::StrCat(cell.Peek());
  wait.thing = wait.what;
  if (&cell == &quiesce.acknowledged || &cell == &quiesce.resumed) {
    const bool acknowledgement = &cell == &quiesce.acknowledged;
    for (uint32_t other = 0; other < machine.cpu_count(); ++other) {
      if (other == cpu || StandsStill(machine, other) == acknowledgement) continue;
      wait.for_cpus.push_back(other);
    }
    wait.thing = absl::StrCat(acknowledgement ? "the acknowledgement of " : "the resumption of ",
                              CpuList(wait.for_cpus));
  } else if (&cell == &quiesce.resume_signal) {
    // Only a CPU between its Stop and its Resume raises it.
    const std::optional<uint32_t> initiator = CpuIn(quiesce.initiator);
    if (initiator) wait.for_cpus.push_back(*initiator);
    wait.thing = initiator ? absl::StrCat("the resume signal of CPU ", *initiator)
                           : "a resume signal that nobody will raise";
  }
  return wait;
}

const char* SourceName(NmiSource source) {
  switch (source) {
    case NmiSource::kNone:
      return "no NMI";
    case NmiSource::kQuiesce:
      return "quiesce NMI";
    case NmiSource::kGuest:
      return "NMI of a device or of another guest";
  }
  return "";
}

std::string ReasonForUnsettled(const Machine& machine, uint32_t cpu) {
  const SimCpu& c = machine.cpu(cpu);
  const LastNmi& nmi = c.last_nmi();
  const std::optional<Wait> wait = WaitOf(machine, cpu);
  std::string reason =
      absl::StrCat("The NMI that asks CPU ", cpu, " to stop was consumed by its VM exit from ",
                   nmi.destination == NmiDestination::kL2Exit ? "L2" : "L1", " at step ", nmi.step,
                   ", and before acknowledging it CPU ", cpu);
  if (!wait) return absl::StrCat(reason, " stopped.");
  absl::StrAppend(&reason, " asked for ", c.point().cell->name());
  if (wait->for_cpus.empty()) return absl::StrCat(reason, ", which will never come.");
  const uint32_t holder = wait->for_cpus.front();
  return absl::StrCat(reason, ", which CPU ", holder, " keeps until CPU ", cpu,
                      " has acknowledged.");
}

// The initiator whose acknowledgements are missing, if there is one.
std::optional<uint32_t> WaitingInitiator(const Machine& machine) {
  for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    if (SpinsOn(machine, cpu, machine.system().quiesce.acknowledged)) return cpu;
  }
  return std::nullopt;
}

std::string ReasonForMissingAcknowledgement(const Machine& machine, uint32_t initiator) {
  const Wait wait = WaitForCell(machine, initiator);
  for (uint32_t cpu : wait.for_cpus) {
    const SimCpu& c = machine.cpu(cpu);
    const LastNmi& nmi = c.last_nmi();
    if (nmi.any && nmi.fate == LastNmi::Fate::kUnsettled && nmi.source == NmiSource::kQuiesce) {
      return ReasonForUnsettled(machine, cpu);
    }
    if (c.in_nmi_context()) {
      return absl::StrCat("CPU ", cpu, " took its NMI and, in NMI context, asked for ",
                          c.point().cell != nullptr ? c.point().cell->name() : "something",
                          ", which the CPU that stopped it keeps.");
    }
    if (c.latch().full() && !c.CanTakeNmi()) {
      return absl::StrCat("The NMI that asks CPU ", cpu,
                          " to stop lies in its latch, but NMIs are ",
                          "blocked there since its NMI exit of step ", nmi.step,
                          ": no IRET followed before CPU ", cpu, " began to wait.");
    }
    if (nmi.any && nmi.fate == LastNmi::Fate::kSwallowed) {
      return absl::StrCat("The NMI that asks CPU ", cpu,
                          " to stop was delivered to the guest's own ", "handler at step ",
                          nmi.step, ", past L0: nothing will acknowledge it.");
    }
    if (nmi.any && nmi.fate == LastNmi::Fate::kUnsettled) return ReasonForUnsettled(machine, cpu);
  }
  return "An acknowledgement is missing and will not come.";
}

// A CPU that has acknowledged more often than it was asked has acknowledged a request that was
// over.
std::optional<uint32_t> FindTooManyAcknowledgements(const Machine& machine) {
  uint32_t all = 0;
  for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    all += machine.cpu(cpu).account().quiesces_begun;
  }
  for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    const NmiAccount& account = machine.cpu(cpu).account();
    if (account.acknowledged > all - account.quiesces_begun) return cpu;
  }
  return std::nullopt;
}

// `cpu` stands still, and no request is open.
std::string ReasonForLostSignal(const Machine& machine, uint32_t cpu) {
  const std::optional<uint32_t> twice = FindTooManyAcknowledgements(machine);
  if (!twice || *twice == cpu) {
    return absl::StrCat("CPU ", cpu, " acknowledged, with its NMI of step ",
                        machine.cpu(cpu).last_nmi().step,
                        ", a request that had been answered already, and waits for a resume signal "
                        "that nobody will raise.");
  }
  return absl::StrCat(
      "CPU ", *twice, " acknowledged one request twice, again with its NMI of step ",
      machine.cpu(*twice).last_nmi().step,
      ", and was counted twice among the resumed; so the initiator lowered the resume ",
      "signal before CPU ", cpu, " had seen it, and nobody will raise it again.");
}

}  // namespace

std::optional<Wait> WaitOf(const Machine& machine, uint32_t cpu) {
  if (machine.cpu(cpu).point().kind != PointKind::kSpin) return std::nullopt;
  return WaitForCell(machine, cpu);
}

std::vector<std::string> LocksHeldBy(const Machine& machine, uint32_t cpu) {
  std::vector<std::string> locks;
  for (const CellPlace& place : machine.cells()) {
    if (place.cell->kind() == CellKind::kLock && CpuIn(*place.cell) == cpu) {
      locks.push_back(place.cell->name());
    }
  }
  return locks;
}

std::vector<uint32_t> FindCycle(const Machine& machine) {
  for (uint32_t start = 0; start < machine.cpu_count(); ++start) {
    std::vector<uint32_t> path = {start};
    for (;;) {
      const std::optional<Wait> wait = WaitOf(machine, path.back());
      if (!wait || wait->for_cpus.empty()) break;
      // Any of those it waits for keeps it waiting; one that waits itself carries the cycle on.
      uint32_t next = wait->for_cpus.front();
      for (uint32_t candidate : wait->for_cpus) {
        if (WaitOf(machine, candidate)) next = candidate;
      }
      if (next == start) return path;
      if (std::find(path.begin(), path.end(), next) != path.end()) break;
      path.push_back(next);
    }
  }
  return {};
}

std::string DescribeCycle(const Machine& machine) {
  const std::vector<uint32_t> cycle = FindCycle(machine);
  if (cycle.empty()) {
    std::vector<std::string> waits;
    for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
      if (const std::optional<Wait> wait = WaitOf(machine, cpu)) {
        waits.push_back(absl::StrCat("CPU ", cpu, " -> ", wait->thing));
      }
    }
    return absl::StrCat("none; ", absl::StrJoin(waits, "; "));
  }
  std::string text;
  for (uint32_t cpu : cycle) {
    absl::StrAppend(&text, "CPU ", cpu, " -> ", WaitOf(machine, cpu)->thing, " -> ");
  }
  return absl::StrCat(text, "CPU ", cycle.front());
}

std::string DescribeReason(const Machine& machine) {
  if (const std::optional<uint32_t> initiator = WaitingInitiator(machine)) {
    return ReasonForMissingAcknowledgement(machine, *initiator);
  }
  for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    const std::optional<Wait> wait = WaitOf(machine, cpu);
    if (!wait || !machine.cpu(cpu).point().acquires() || wait->for_cpus.empty()) continue;
    const uint32_t holder = wait->for_cpus.front();
    if (StandsStill(machine, holder) && CpuIn(machine.system().quiesce.initiator) == cpu) {
      return absl::StrCat("CPU ", holder, " was stopped while it held ",
                          machine.cpu(cpu).point().cell->name(), ", and CPU ", cpu,
                          ", which stopped it and alone can resume it, asks for that lock.");
    }
  }
  for (uint32_t cpu = 0; cpu < machine.cpu_count(); ++cpu) {
    const std::optional<Wait> wait = WaitOf(machine, cpu);
    if (!wait || !wait->for_cpus.empty() || !StandsStill(machine, cpu)) continue;
    return ReasonForLostSignal(machine, cpu);
  }
  return absl::StrCat("Every CPU waits: ", DescribeCycle(machine), ".");
}

std::string DescribePlace(const Scenario& scenario, const Machine& machine, uint32_t cpu) {
  const SimCpu& c = machine.cpu(cpu);
  const bool l1 = c.processor().Current() == VmcsRole::kVmcs01;
  if (!c.processor().in_guest()) {
    const LastExit& exit = c.last_exit();
    const ExitReasonValue reason{exit.reason};
    return absl::StrCat("root (L0), ", c.in_nmi_context() ? "in NMI context, on top of " : "",
                        "handling a VM exit from ", exit.from == VmcsRole::kVmcs01 ? "L1" : "L2",
                        ": raw exit reason ", reason.value & ExitReasonValue::kBasicMask, " (",
                        Name(reason.basic()), ")");
  }
  const uint64_t base = lhv::CodeOf(cpu, l1 ? lhv::kL1CodeBase : lhv::kL2CodeBase);
  const lhv::CpuProgram& program = scenario.program.cpus[cpu];
  const std::vector<int>& lines = l1 ? program.l1_lines : program.l2_lines;
  const uint64_t operation = (c.processor().Rip() - base) / lhv::kOperationBytes;
  std::string place = l1 ? "L1" : "L2";
  if (!c.processor().IsActive()) {
    return absl::StrCat(place, ", ",
                        Name(static_cast<ActivityState>(c.processor().state().activity_state)));
  }
  if (c.processor().Rip() >= base && operation < lines.size()) {
    return absl::StrCat(place, ", at ", scenario.file_name, ":", lines[operation]);
  }
  return absl::StrCat(place, ", at the end of its program");
}

std::string DescribeLastNmi(const Machine& machine, uint32_t cpu) {
  const LastNmi& nmi = machine.cpu(cpu).last_nmi();
  if (!nmi.any) return "none";
  std::string text = absl::StrCat("step ", nmi.step, ": ", SourceName(nmi.source), ", ");
  switch (nmi.destination) {
    case NmiDestination::kRoot:
      absl::StrAppend(&text, "taken by L0's NMI handler");
      break;
    case NmiDestination::kL1Exit:
      absl::StrAppend(&text, "consumed by a VM exit from L1");
      break;
    case NmiDestination::kL2Exit:
      absl::StrAppend(&text, "consumed by a VM exit from L2");
      break;
    case NmiDestination::kGuestIdt:
      absl::StrAppend(&text, "delivered through the guest's IDT");
      break;
  }
  switch (nmi.fate) {
    case LastNmi::Fate::kUnsettled:
      return absl::StrCat(text, ", not acknowledged");
    case LastNmi::Fate::kAcknowledged:
      return absl::StrCat(text, ", acknowledged");
    case LastNmi::Fate::kGivenToGuest:
      return absl::StrCat(text, ", given to the guest");
    case LastNmi::Fate::kSwallowed:
      return absl::StrCat(text, ", swallowed");
  }
  return text;
}

std::string DescribeNmiState(const Machine& machine, uint32_t cpu) {
  const SimCpu& c = machine.cpu(cpu);
  std::string text;
  if (c.CanTakeNmi()) {
    text = "not blocked";
  } else if (c.in_nmi_context()) {
    text = "blocked: in NMI context";
  } else {
    text = absl::StrCat("blocked since the NMI exit of step ", c.last_nmi().step);
  }
  return absl::StrCat(
      text, "; latch ",
      c.latch().full() ? absl::StrCat("holds a ", SourceName(c.latch().source())) : "empty");
}

}  // namespace nvmx::sim
