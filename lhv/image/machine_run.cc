// SPDX-License-Identifier: Apache-2.0
#include "lhv/image/machine_run.h"

#include <array>
#include <atomic>
#include <cstring>

#include "backends/vmx-hw/machine/console.h"
#include "backends/vmx-hw/machine/cpu_instructions.h"
#include "backends/vmx-hw/machine/cpus.h"
#include "backends/vmx-hw/machine/local_apic.h"
#include "backends/vmx-hw/machine/power.h"
#include "backends/vmx-hw/machine/text.h"
#include "core/x86/address.h"
#include "lhv/binary_program.h"
#include "lhv/guest_cpu.h"
#include "lhv/image/buffered_log.h"
#include "lhv/image/code_slots.h"
#include "lhv/image/cpu_area.h"
#include "lhv/image/cpu_instructions.h"
#include "lhv/image/cpu_state.h"
#include "lhv/image/local_apic.h"
#include "lhv/image/log_line.h"
#include "lhv/image/machine_tables.h"
#include "lhv/image/metal_guest_cpu.h"
#include "lhv/image/watchdog.h"
#include "lhv/interpreter.h"

namespace nvmx::lhv {
namespace {

using metal::Text;

constexpr uint64_t kMostSteps = 200'000;
constexpr size_t kStubAreaBytes = 0x10'0000;

struct CpuProgramStorage {
  std::array<Operation, kMaxOperations> l1, l2;
  size_t l1_count, l2_count, run_begin;
  CpuProgramView View() const { return {{l1.data(), l1_count}, run_begin, {l2.data(), l2_count}}; }
};

// How the run of a program ended on a CPU.
struct RunEnd {
  ImageEnd end;
  uint64_t detail;
  std::array<uint64_t, 5> fault;
};

alignas(kPageSize) CpuArea areas[kMostImageCpus];
alignas(kPageSize) uint8_t stubs[kMostImageCpus][kStubAreaBytes];
// What is mapped of the fourth GByte, as 4-level paging needs it, and how WriteMachineTables() is
// told.
alignas(kPageSize) uint64_t beyond[kPageSize / sizeof(uint64_t)];
uint64_t beyond_entry = 0;
CpuProgramStorage programs[kMostImageCpus];
BufferedLog logs[kMostImageCpus];
RunEnd ends[kMostImageCpus];
uint32_t apic_ids[kMostImageCpus];
MetalGuestCpu::Shared shared;
uint32_t machine_cpus = 1;

// Of the program that runs.
uint32_t program_cpus = 0;
// A round is one program. CPUs that wait for the next compare the number.
std::atomic<uint32_t> round = 0;
std::atomic<uint32_t> finished = 0;
// The last that the CPU has come out of.
std::atomic<uint32_t> last_rounds[kMostImageCpus];
// Whose setup is next.
std::atomic<uint32_t> turn = 0;
// At the end of their programs.
std::atomic<uint32_t> resting = 0;
std::atomic<bool> is_over = false;
// The CPU that booted, which writes the results, has come out of the program.
std::atomic<bool> boot_cpu_is_back = true;
std::atomic<bool> watchdog_is_taken = false;

// One CPU at a time may ask the timer, or set it.
bool AskWatchdog() {
  while (watchdog_is_taken.exchange(true)) metal::Pause();
  const bool over = Watchdog::IsOver();
  watchdog_is_taken = false;
  return over;
}
void RestartWatchdog() {
  while (watchdog_is_taken.exchange(true)) metal::Pause();
  Watchdog::Restart();
  watchdog_is_taken = false;
}

CodeSlots SlotsOf(uint32_t cpu) {
  return CodeSlots({.cpu = cpu,
                    .memory = nullptr,
                    .stubs = reinterpret_cast<uintptr_t>(stubs[cpu]),
                    .stub_bytes = kStubAreaBytes,
                    .area = reinterpret_cast<uintptr_t>(&areas[cpu]),
                    .mode = kImageMode,
                    .entry_from_guest_program = reinterpret_cast<uintptr_t>(&EntryFromGuestProgram),
                    .entry_from_interpreter = reinterpret_cast<uintptr_t>(&EntryFromInterpreter)});
}

// Puts a program into `programs` and the windows.
class Loader final : public BinaryProgramVisitor {
 public:
  void OnCpu(uint32_t cpu, uint32_t, size_t, size_t run_begin, size_t) override {
    cpu_ = cpu;
    programs[cpu].l1_count = programs[cpu].l2_count = 0;
    programs[cpu].run_begin = run_begin;
    std::memset(PointerTo(WindowOf(cpu)), 0, kWindowBytes);
    WriteMachineTables(nullptr, cpu, beyond_entry, kImageMode);
  }
  void OnOperation(uint32_t level, const Operation& operation) override {
    CpuProgramStorage& program = programs[cpu_];
    if (level == 1) {
      program.l1[program.l1_count++] = operation;
    } else {
      program.l2[program.l2_count++] = operation;
    }
  }
  void OnMemory(uint64_t offset, std::span<const std::byte> bytes) override {
    std::memcpy(PointerTo(WindowOf(cpu_) + offset), bytes.data(), bytes.size());
  }

 private:
  uint32_t cpu_ = 0;
};

// The number of CPUs that a program in binary form is for: the byte behind magic and version.
uint32_t CpusOf(std::span<const std::byte> program) {
  return program.size() < kBinaryHeaderBytes
             ? 0
             : std::to_integer<uint32_t>(program[kBinaryHeaderBytes - 1]);
}

// One CPU's run of a program.
class CpuRun {
 public:
  CpuRun(uint32_t cpu, MetalGuestCpu& guest_cpu)
      : cpu_(cpu),
        guest_cpu_(guest_cpu),
        program_(programs[cpu].View()),
        interpreter_(program_, cpu, logs[cpu]) {}

  static void Main(void* self) { static_cast<CpuRun*>(self)->Run(); }
  RunEnd end() const { return end_; }

 private:
  void Run() {
    // Each setup runs alone.
    while (turn.load() != cpu_) metal::Pause();
    bool goes_on = true;
    while (goes_on && !IsBehindSetup()) goes_on = Step();
    turn.fetch_add(1);
    while (turn.load() < program_cpus) metal::Pause();
    while (goes_on) goes_on = Step();
    // For those who go on, this CPU rests.
    if (cpu_ == 0 && program_cpus > 1) EndForAll(guest_cpu_.level());
  }

  bool IsBehindSetup() const {
    // A fault of the last operation leads past the first address behind it.
    const uint64_t rip = guest_cpu_.Rip();
    return guest_cpu_.level() == 1 && rip >= AddressInL1(program_.run_begin) &&
           rip < CodeOf(cpu_ + 1, kL1CodeBase);
  }
  uint64_t AddressInL1(size_t operation) const {
    return OperationAddress(CodeOf(cpu_, kL1CodeBase), operation);
  }

  // False if the run is over.
  bool Step() {
    if (steps_++ == kMostSteps) return false;
    // What has come may be the NMI that says so.
    if (is_over.load()) return End(ImageEnd::kResting, guest_cpu_.Rip());
    const StepResult result = interpreter_.Step(guest_cpu_);
    if (guest_cpu_.refusal() != EncodingRefusal::kNone) {
      return End(ImageEnd::kRefused, static_cast<uint64_t>(guest_cpu_.refused_kind()));
    }
    if (IsOver()) return End(ImageEnd::kResting, guest_cpu_.Rip());
    if (guest_cpu_.has_lost_l2()) return End(ImageEnd::kInterrupted, guest_cpu_.GuestRip());
    if (guest_cpu_.has_left_l2()) SettleL2();
    if (guest_cpu_.level() == 1) {
      // Before something stops the machine.
      if (program_cpus == 1) logs[cpu_].Flush(cpu_);
      RestartWatchdog();
    }
    return result == StepResult::kRan || RestAtEnd();
  }

  // An event took L2 between two instructions: behind one and before the next are the same place.
  void SettleL2() {
    const uint64_t rip = guest_cpu_.GuestRip();
    const uint64_t settled = interpreter_.SettledRip(rip, guest_cpu_.ScratchRegister());
    if (settled != rip) guest_cpu_.SetGuestRip(settled);
  }

  // Whether nothing moves any more. L2 may not ask the watchdog: I/O instructions may be VM exits
  // there.
  bool IsOver() const {
    if (is_over.load()) return true;
    if (cpu_ != 0) return false;
    return guest_cpu_.level() == 1 ? AskWatchdog() : guest_cpu_.has_unexpected_nmi();
  }

  // At the end of the program; false if that is where the CPU stays.
  bool RestAtEnd() {
    const uint64_t rip = guest_cpu_.Rip();
    if (guest_cpu_.Poll()) return true;
    if (program_cpus == 1) return EndAt(rip);
    const uint32_t count = resting.fetch_add(1) + 1;
    if (count == program_cpus) is_over = true;
    while (!is_over.load()) {
      if (guest_cpu_.level() == 1 && AskWatchdog()) is_over = true;
      if (!guest_cpu_.Poll() || is_over.load()) continue;
      resting.fetch_sub(1);
      return true;
    }
    return EndAt(rip);
  }

  bool EndAt(uint64_t rip) {
    const uint64_t l2_end = OperationAddress(CodeOf(cpu_, kL2CodeBase), program_.l2.size());
    return End(rip == AddressInL1(program_.l1.size()) ? ImageEnd::kComplete
               : rip == l2_end                        ? ImageEnd::kCompleteInL2
                                                      : ImageEnd::kLost,
               rip);
  }

  bool End(ImageEnd end, uint64_t detail) {
    end_ = {end, detail, {}};
    return false;
  }

  // CPUs that wait for an event get one.
  static void EndForAll(unsigned level) {
    is_over = true;
    // That asks an MSR for the APIC's mode, and in L2 RDMSR may be a VM exit.
    if (level == 1) return metal::SendNmiToAllOthers();
    LocalApic::Write(LocalApic::kInterruptCommandLow, InterruptCommand::kNmi |
                                                          InterruptCommand::kAssert |
                                                          InterruptCommand::kAllExcludingSelf);
  }

  const uint32_t cpu_;
  MetalGuestCpu& guest_cpu_;
  const CpuProgramView program_;
  Interpreter interpreter_;
  uint64_t steps_ = 0;
  RunEnd end_ = {ImageEnd::kStepLimit, 0, {}};
};

RunEnd RunOn(uint32_t cpu) {
  CodeSlots slots = SlotsOf(cpu);
  if (!slots.Prepare(programs[cpu].View())) return {ImageEnd::kBadProgram, 0, {}};
  CpuArea& area = areas[cpu];
  MetalGuestCpu guest_cpu(area, slots, shared);
  LoadInitialState(area, cpu);
  guest_cpu.Start(CodeOf(cpu, kL1CodeBase), WindowOf(cpu) + kL1StackTop);
  CpuRun run(cpu, guest_cpu);
  if (cpu == 0) Watchdog::Start(apic_ids[0]);
  const int how = RunProtected(&area, &CpuRun::Main, &run);
  // Those who wait for this CPU's setup, or for it to come to rest, wait no longer.
  if (how != kRunReturned) is_over = true;
  while (turn.load() == cpu) turn.fetch_add(1);
  RunEnd end = run.end();
  if (how == kRunExited) end = {ImageEnd::kInterrupted, area.fault[0], {}};
  if (how == kRunFaulted) {
    const uint64_t vector = area.fault[0] / kHandlerBytes % kVectorCount;
    end = {ImageEnd::kFault, vector | metal::ReadCr2() << 8, area.fault};
  }
  TakeBackCpu(area, cpu, guest_cpu.level());
  // Page tables of the program's need not map the I/O APIC.
  if (cpu == 0) Watchdog::Stop();
  slots.Clear();
  return end;
}

void WriteEnd(uint32_t cpu) {
  const RunEnd& end = ends[cpu];
  logs[cpu].Flush(cpu);
  std::array<char, kMostLineBytes> line;
  metal::WriteSerial({line.data(), WriteEndLine(cpu, end.end, end.detail, line)});
  if (end.end != ImageEnd::kFault) return;
  Text text;
  text << "fault of the interpreter, frame:";
  for (const uint64_t word : end.fault) text << ' ' << metal::Hex{word};
  metal::WriteSerial(text << "\n");
}

// What this CPU can still say when the one that booted does not come back from a program: after a
// shutdown, for example. Of others that have not come back either, only what they have observed.
[[noreturn]] void SpeakForBootCpu() {
  for (uint32_t cpu = 0; cpu < program_cpus; ++cpu) {
    if (last_rounds[cpu].load() == round.load()) {
      WriteEnd(cpu);
    } else {
      logs[cpu].Flush(cpu);
    }
  }
  metal::PowerOff(metal::EndStatus::kFailed);
}

void RunProgram(std::span<const std::byte> bytes) {
  Loader loader;
  const uint32_t cpus = CpusOf(bytes);
  if (cpus == 0 || cpus > machine_cpus || CheckBinaryProgram(bytes) != BinaryProgramError::kNone) {
    ends[0] = {ImageEnd::kBadProgram, cpus, {}};
    return WriteEnd(0);
  }
  if (L1ModeOf(bytes) != kImageMode) {
    constexpr uint64_t kBitsOfOther = kImageIs64Bit ? 32 : 64;
    ends[0] = {ImageEnd::kOtherL1, kBitsOfOther, {}};
    return WriteEnd(0);
  }
  ReadBinaryProgram(bytes, loader);
  program_cpus = cpus;
  shared.nmis_under_way = 0;
  turn = resting = finished = 0;
  is_over = boot_cpu_is_back = false;
  round.fetch_add(1);
  ends[0] = RunOn(0);
  boot_cpu_is_back = true;
  while (finished.load() != cpus - 1) metal::Pause();
  for (uint32_t cpu = 0; cpu < cpus; ++cpu) WriteEnd(cpu);
}

}  // namespace

void PrepareMachine(uint32_t cpus) {
  // The APICs alone: present, writable, uncacheable, accessed, dirty, a page of 2 MBytes, or the
  // one of 4 MBytes that both are in.
  constexpr uint64_t kApicPage = 0x80 | 0x60 | 0x18 | 3;
  constexpr unsigned kLargePageShift = 21;
  for (const uint64_t page : {LocalApic::kBase, Watchdog::kIoApic}) {
    beyond[(page >> kLargePageShift) % std::size(beyond)] = page | kApicPage;
  }
  constexpr uint64_t kBothApics = LocalApic::kBase & ~uint64_t{0x3F'FFFF};
  static_assert(kBothApics == (Watchdog::kIoApic & ~uint64_t{0x3F'FFFF}));
  beyond_entry = kImageIs64Bit ? reinterpret_cast<uintptr_t>(beyond) : kBothApics | kApicPage;
  machine_cpus = cpus;
  for (uint32_t cpu = 0; cpu < cpus; ++cpu) {
    apic_ids[cpu] = metal::CpuAt(cpu).apic_id;
    SlotsOf(cpu).FillAll();
    const CodeSlots::Ways ways = SlotsOf(cpu).WaysOfI386();
    areas[cpu].from_guest_program = ways.from_guest_program;
    areas[cpu].from_interpreter = ways.from_interpreter;
  }
  shared.apic_ids = std::span(apic_ids).first(cpus);
  LocalApic::Enable();
  AllowVmx();
}

void RunPack(std::span<const std::byte> pack, uint32_t first) {
  PackReader reader(pack);
  uint32_t index = 0;
  for (; const std::optional<PackedProgram> program = reader.Next(); ++index) {
    if (index < first) continue;
    const std::string_view name(reinterpret_cast<const char*>(program->name.data()),
                                program->name.size());
    metal::WriteSerial(Text() << "@program " << index << ' ' << name << "\n");
    RunProgram(program->bytes);
    metal::WriteSerial(Text() << "@done " << index << "\n");
    if (!LocalApic::Works()) {
      // Bochs turns it off for good, if a program asks for it.
      metal::Stop("the local APIC does not work any more");
    }
  }
  if (reader.failed()) metal::WriteSerial("the module is no pack of guest programs\n");
  metal::WriteSerial(Text() << "@finished " << index << "\n");
}

void TakePart(uint32_t cpu) {
  LocalApic::Enable();
  AllowVmx();
  for (uint32_t next = 1;; ++next) {
    constexpr uint64_t kPatience = 2'000'000;
    for (uint64_t waited = 0; round.load() < next; ++waited) {
      if (boot_cpu_is_back.load()) waited = 0;
      if (waited == kPatience && cpu == 1) SpeakForBootCpu();
      metal::Pause();
    }
    if (cpu >= program_cpus) continue;
    ends[cpu] = RunOn(cpu);
    last_rounds[cpu] = next;
    finished.fetch_add(1);
  }
}

}  // namespace nvmx::lhv
