// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/replay/perfetto.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/sim/machine/nmi_latch.h"
#include "core/nested/entry_rules.h"
#include "core/ports/vmcs.h"
#include "core/smp/console.h"
#include "core/smp/system.h"
#include "core/vmx/exit_reason.h"
#include "nlohmann/json.hpp"

namespace nvmx::sim {
namespace {

using nlohmann::json;

constexpr int kProcess = 1;
constexpr char kNmiCategory[] = "nmi";
constexpr char kNmiName[] = "NMI";

const char* LevelName(uint64_t role) {
  return static_cast<VmcsRole>(role) == VmcsRole::kVmcs02 ? "L2" : "L1";
}

const char* ExitName(uint64_t exit_reason) {
  return nvmx::Name(ExitReasonValue{static_cast<uint32_t>(exit_reason)}.basic());
}

const char* SourceName(uint64_t source) {
  switch (static_cast<NmiSource>(source)) {
    case NmiSource::kNone:
      break;
    case NmiSource::kQuiesce:
      return "L0's quiesce";
    case NmiSource::kGuest:
      return "the guest's";
  }
  return "no source";
}

const char* DestinationName(uint64_t destination) {
  switch (static_cast<NmiDestination>(destination)) {
    case NmiDestination::kRoot:
      return "in L0";
    case NmiDestination::kL1Exit:
      return "as a VM exit from L1";
    case NmiDestination::kL2Exit:
      return "as a VM exit from L2";
    case NmiDestination::kGuestIdt:
      return "by the guest's own handler, past L0";
  }
  return "somewhere";
}

std::string LogLineName(uint64_t line, uint64_t argument) {
  switch (static_cast<LogLine>(line)) {
    case LogLine::kMtrrWrite:
      return absl::StrCat("MTRR write, MSR 0x", absl::Hex(argument));
    case LogLine::kMemoryTypesChanged:
      return absl::StrCat("memory types follow the MTRRs that CPU ", argument, " wrote");
    case LogLine::kUnhandledNmiExit:
      return "an NMI exit that is not handled";
    case LogLine::kNmiTaken:
      return absl::StrCat("NMI taken by CPU ", argument);
  }
  return absl::StrCat("line ", line);
}

struct Instant {
  std::string name;
  const char* category;
};

Instant CoreInstant(const TraceEvent& event) {
  switch (static_cast<TraceKind>(event.core_kind)) {
    case TraceKind::kNmiAcknowledged:
      return {absl::StrCat("acknowledged to CPU ", event.first), "quiesce"};
    case TraceKind::kNmiToGuest:
      return {absl::StrCat("NMI is the guest's, ", event.first, " pending"), kNmiCategory};
    case TraceKind::kNmiMergedForGuest:
      return {"NMI merged for the guest: two are pending", kNmiCategory};
    case TraceKind::kNmiMergedWhileHeld:
      return {"NMI merged: the guest can take none, one is pending", kNmiCategory};
    case TraceKind::kNmiInjected:
      return {absl::StrCat("NMI given to ", LevelName(event.first)), "kvm_inj_nmi"};
    case TraceKind::kNmiExitToL1:
      return {"NMI given to L1 as a VM exit from L2", "kvm_inj_nmi"};
    case TraceKind::kNestedEntry:
      return {"VM entry of L1 into L2", "kvm_nested_vmenter"};
    case TraceKind::kNestedExit:
      return {absl::StrCat("VM exit for L1: ", ExitName(event.first)), "kvm_nested_vmexit_inject"};
    case TraceKind::kEntryRefused:
      return {absl::StrCat("VM entry of L1 breaks the rule ",
                           RuleOf(static_cast<EntryRuleNumber>(event.first)).name),
              "kvm_nested_vmenter_failed"};
    case TraceKind::kMsrListEntry:
      return {absl::StrCat("MSR list, entry ", event.second, ": MSR 0x", absl::Hex(event.first)),
              "msr_list"};
    case TraceKind::kVmxAbort:
      return {absl::StrCat("VMX abort, indicator ", event.first), "vmx"};
    case TraceKind::kQuiesceBegin:
      return {"all others have acknowledged", "quiesce"};
    case TraceKind::kQuiesceEnd:
      return {"all others have resumed", "quiesce"};
    case TraceKind::kMemoryTypesChanged:
      return {"EPT01's memory types changed", "mtrr"};
    case TraceKind::kLogLine:
      return {absl::StrCat("log: ", LogLineName(event.first, event.second)), "log"};
    case TraceKind::kAssertionFailed:
      return {absl::StrCat("assertion failed: ", event.first), "assertion"};
  }
  return {absl::StrCat("core event ", event.core_kind), "core"};
}

// Turns events, in their order, into records of the JSON.
class Timeline {
 public:
  Timeline(const std::vector<std::string>& cell_names, uint32_t cpus)
      : cell_names_(cell_names), cpus_(cpus) {
    for (const std::string& name : cell_names) ++cells_with_name_[name];
    for (uint32_t cpu = 0; cpu < cpus; ++cpu) Run(cpu, "L1", "kvm_entry", json::object());
  }

  void Add(const TraceEvent& event);
  // The records, with their times, after the last event. `metadata` comes first.
  std::string Finish(const std::string& title);

 private:
  // In the order of nesting.
  enum class Slice : uint8_t { kRuns, kQuiesce, kNmiContext };

  struct Record {
    uint32_t step;
    bool kept;
    json fields;
  };
  struct CpuTimeline {
    std::vector<Slice> open;
    std::optional<size_t> flow;  // of the NMI in the latch: the record where it begins
  };

  json& Append(uint32_t cpu, const char* phase, std::string name, const char* category);
  void AddInstant(uint32_t cpu, Instant instant, json arguments);
  void Begin(uint32_t cpu, Slice slice, std::string name, const char* category, json arguments);
  void End(uint32_t cpu, Slice slice);
  // What the CPU executes from now on.
  void Run(uint32_t cpu, std::string name, const char* category, json arguments);

  size_t BeginFlow(uint32_t sender);
  void EndFlow(size_t begin, uint32_t receiver);

  void AddNmiArrival(const TraceEvent& event);
  void AddNmiTaken(const TraceEvent& event);
  void AddCell(const TraceEvent& event);
  void AddCore(const TraceEvent& event);
  std::string CounterName(uint64_t cell) const;
  void AppendMetadata(const std::string& title, std::vector<std::string>& lines) const;
  void AppendRecords(std::vector<std::string>& lines);

  const std::string resumed_cell_ = System(1).quiesce.resumed.name();
  const std::vector<std::string>& cell_names_;
  const uint32_t cpus_;
  std::map<std::string, int> cells_with_name_;
  std::map<uint64_t, uint64_t> cell_values_;
  std::vector<CpuTimeline> cpu_timelines_ = std::vector<CpuTimeline>(cpus_);
  std::vector<Record> records_;
  uint32_t step_ = 0;
  uint64_t flows_ = 0;
  // The CPU that sent the IPI of which the arrivals are being told; no other event stands between.
  std::optional<uint32_t> sender_;
};

json& Timeline::Append(uint32_t cpu, const char* phase, std::string name, const char* category) {
  records_.push_back({step_,
                      true,
                      {{"ph", phase},
                       {"pid", kProcess},
                       {"tid", cpu + 1},
                       {"name", std::move(name)},
                       {"cat", category}}});
  return records_.back().fields;
}

void Timeline::AddInstant(uint32_t cpu, Instant instant, json arguments) {
  json& fields = Append(cpu, "i", std::move(instant.name), instant.category);
  fields["s"] = "t";
  fields["args"] = std::move(arguments);
}

void Timeline::Begin(uint32_t cpu, Slice slice, std::string name, const char* category,
                     json arguments) {
  End(cpu, slice);
  Append(cpu, "B", std::move(name), category)["args"] = std::move(arguments);
  cpu_timelines_[cpu].open.push_back(slice);
}

// Also what is nested in it; nothing if it is not open.
void Timeline::End(uint32_t cpu, Slice slice) {
  std::vector<Slice>& open = cpu_timelines_[cpu].open;
  const auto first = std::find(open.begin(), open.end(), slice);
  for (auto count = open.end() - first; count > 0; --count) {
    records_.push_back({step_, true, {{"ph", "E"}, {"pid", kProcess}, {"tid", cpu + 1}}});
  }
  open.erase(first, open.end());
}

void Timeline::Run(uint32_t cpu, std::string name, const char* category, json arguments) {
  Begin(cpu, Slice::kRuns, std::move(name), category, std::move(arguments));
}

// Nobody knows yet whether the NMI will be taken: the record counts only once it was.
size_t Timeline::BeginFlow(uint32_t sender) {
  Append(sender, "s", kNmiName, kNmiCategory);
  records_.back().kept = false;
  return records_.size() - 1;
}

void Timeline::EndFlow(size_t begin, uint32_t receiver) {
  const uint64_t id = ++flows_;
  records_[begin].kept = true;
  records_[begin].fields["id"] = id;
  json& fields = Append(receiver, "f", kNmiName, kNmiCategory);
  fields["id"] = id;
  fields["bp"] = "e";
}

void Timeline::AddNmiArrival(const TraceEvent& event) {
  const bool merged = event.kind == EventKind::kNmiMerged;
  std::optional<size_t> flow;
  if (sender_) flow = BeginFlow(*sender_);
  AddInstant(event.cpu,
             {absl::StrCat(merged ? "NMI merged: the latch is full (" : "NMI latched (",
                           SourceName(event.first), ")"),
              "kvm_apic_accept_irq"},
             {{"source", event.first}});
  if (!merged) {
    cpu_timelines_[event.cpu].flow = flow;
  } else if (flow) {
    EndFlow(*flow, event.cpu);
  }
}

void Timeline::AddNmiTaken(const TraceEvent& event) {
  const json arguments = {{"destination", event.first}, {"source", event.second}};
  if (static_cast<NmiDestination>(event.first) == NmiDestination::kRoot) {
    Begin(event.cpu, Slice::kNmiContext, "NMI context", kNmiCategory, arguments);
  }
  AddInstant(event.cpu,
             {absl::StrCat("NMI taken ", DestinationName(event.first), " (",
                           SourceName(event.second), ")"),
              kNmiCategory},
             arguments);
  std::optional<size_t>& flow = cpu_timelines_[event.cpu].flow;
  if (flow) EndFlow(*flow, event.cpu);
  flow.reset();
}

std::string Timeline::CounterName(uint64_t cell) const {
  if (cell >= cell_names_.size()) return absl::StrCat("cell ", cell);
  const std::string& name = cell_names_[cell];
  return cells_with_name_.at(name) == 1 ? name : absl::StrCat(name, " (cell ", cell, ")");
}

void Timeline::AddCell(const TraceEvent& event) {
  const auto [known, first_time] = cell_values_.try_emplace(event.first, event.second);
  if (first_time || known->second != event.second) {
    known->second = event.second;
    Append(event.cpu, "C", CounterName(event.first), "cell")["args"] = {{"value", event.second}};
  }
  if (event.first < cell_names_.size() && cell_names_[event.first] == resumed_cell_) {
    End(event.cpu, Slice::kNmiContext);
  }
}

void Timeline::AddCore(const TraceEvent& event) {
  const auto kind = static_cast<TraceKind>(event.core_kind);
  const json arguments = {
      {"core_kind", event.core_kind}, {"first", event.first}, {"second", event.second}};
  if (kind == TraceKind::kQuiesceBegin) {
    Begin(event.cpu, Slice::kQuiesce, "quiesce: others stopped", "quiesce", arguments);
  }
  AddInstant(event.cpu, CoreInstant(event), arguments);
  if (kind == TraceKind::kQuiesceEnd) End(event.cpu, Slice::kQuiesce);
  // The handler has nothing to do after it. An NMI that was a VM exit is settled outside any NMI
  // context.
  if (kind == TraceKind::kNmiToGuest || kind == TraceKind::kNmiMergedForGuest) {
    End(event.cpu, Slice::kNmiContext);
  }
}

void Timeline::Add(const TraceEvent& event) {
  step_ = event.step;
  const bool arrival = event.kind == EventKind::kNmiLatched || event.kind == EventKind::kNmiMerged;
  if (!arrival) sender_.reset();
  switch (event.kind) {
    case EventKind::kChoice:
      break;
    case EventKind::kCellChanged:
      AddCell(event);
      break;
    case EventKind::kIpiSent:
      AddInstant(event.cpu, {absl::StrCat("IPI sent: 0x", absl::Hex(event.first)), "kvm_apic_ipi"},
                 {{"interrupt_command", event.first}});
      sender_ = event.cpu;
      break;
    case EventKind::kNmiLatched:
    case EventKind::kNmiMerged:
      AddNmiArrival(event);
      break;
    case EventKind::kNmiTaken:
      AddNmiTaken(event);
      break;
    case EventKind::kVmExit: {
      const bool from_l2 = static_cast<VmcsRole>(event.first) == VmcsRole::kVmcs02;
      Run(event.cpu,
          absl::StrCat("L0: exit reason ", ExitName(event.second), " from ",
                       LevelName(event.first)),
          from_l2 ? "kvm_exit,kvm_nested_vmexit" : "kvm_exit",
          {{"vmcs", event.first}, {"exit_reason", event.second}});
      break;
    }
    case EventKind::kVmEntry:
      Run(event.cpu, LevelName(event.first), "kvm_entry", {{"vmcs", event.first}});
      break;
    case EventKind::kEntryRefused:
      Run(event.cpu, "L0: stopped, the VM entry was refused", "kvm_nested_vmenter_failed",
          json::object());
      break;
    case EventKind::kCore:
      AddCore(event);
      break;
  }
}

void Timeline::AppendMetadata(const std::string& title, std::vector<std::string>& lines) const {
  const auto append = [&lines](uint32_t thread, const char* name, json arguments) {
    json fields = {{"ph", "M"}, {"pid", kProcess}, {"name", name}, {"args", std::move(arguments)}};
    if (thread != 0) fields["tid"] = thread;
    lines.push_back(fields.dump(-1, ' ', false, json::error_handler_t::replace));
  };
  append(0, "process_name", {{"name", title.empty() ? "machine" : title}});
  for (uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    append(cpu + 1, "thread_name", {{"name", absl::StrCat("CPU ", cpu)}});
    append(cpu + 1, "thread_sort_index", {{"sort_index", cpu}});
  }
}

// Perfetto reads times to the nanosecond, and matches slices and arrows by time: while a step has
// fewer than 1000 records, each has a nanosecond of its own. The end of a slice needs none: it
// shares that of what follows, so that a CPU goes from one slice to the next without a gap.
void Timeline::AppendRecords(std::vector<std::string>& lines) {
  const auto takes_time = [](const Record& record) {
    return record.kept && record.fields.at("ph") != "E";
  };
  for (auto first = records_.begin(); first != records_.end();) {
    const uint32_t step = first->step;
    const auto end = std::find_if(first, records_.end(),
                                  [step](const Record& record) { return record.step != step; });
    const auto count = static_cast<uint64_t>(std::count_if(first, end, takes_time));
    uint64_t ticks_per_step = 1000;
    while (ticks_per_step <= count) ticks_per_step *= 10;
    // Before the first step nothing happens: all CPUs begin at once.
    const uint64_t distance = step == 0 ? 0 : ticks_per_step / (count + 1);
    uint64_t tick = uint64_t{step} * ticks_per_step;
    for (; first != end; ++first) {
      if (!first->kept) continue;
      first->fields["ts"] = static_cast<double>(tick) / static_cast<double>(ticks_per_step);
      if (takes_time(*first)) tick += distance;
      lines.push_back(first->fields.dump(-1, ' ', false, json::error_handler_t::replace));
    }
  }
}

std::string Timeline::Finish(const std::string& title) {
  ++step_;
  for (uint32_t cpu = 0; cpu < cpus_; ++cpu) End(cpu, Slice::kRuns);
  std::vector<std::string> lines;
  AppendMetadata(title, lines);
  AppendRecords(lines);
  // One record a line: two traces can be compared with diff.
  std::string text = "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n";
  for (size_t i = 0; i < lines.size(); ++i) {
    absl::StrAppend(&text, lines[i], i + 1 == lines.size() ? "\n" : ",\n");
  }
  absl::StrAppend(&text, "]}\n");
  return text;
}

absl::Status WriteFailure(const std::string& path, int error_number) {
  return absl::ErrnoToStatus(error_number, absl::StrCat("cannot write ", path));
}

// 0, or the error.
int WriteWhole(std::FILE* file, const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const int write_error = written ? 0 : errno;
  const int close_error = std::fclose(file) == 0 ? 0 : errno;
  return written ? close_error : write_error;
}

}  // namespace

std::string ChromeTrace(const std::string& title, const std::vector<std::string>& cell_names,
                        uint32_t cpus, const std::vector<TraceEvent>& events) {
  Timeline timeline(cell_names, cpus);
  for (const TraceEvent& event : events) timeline.Add(event);
  return timeline.Finish(title);
}

absl::Status WriteChromeTrace(const std::string& path, const std::string& title,
                              const std::vector<std::string>& cell_names, uint32_t cpus,
                              const std::vector<TraceEvent>& events) {
  const std::string text = ChromeTrace(title, cell_names, cpus, events);
  const std::string temporary = absl::StrCat(path, ".tmp");
  std::FILE* file = std::fopen(temporary.c_str(), "wb");
  if (file == nullptr) return WriteFailure(path, errno);
  int error_number = WriteWhole(file, text);
  if (error_number == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) error_number = errno;
  if (error_number == 0) return absl::OkStatus();
  std::remove(temporary.c_str());
  return WriteFailure(path, error_number);
}

}  // namespace nvmx::sim
