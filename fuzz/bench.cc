// SPDX-License-Identifier: Apache-2.0
#include "fuzz/bench.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

#include "backends/sim/machine/guest_tables.h"
#include "backends/sim/machine/initial_state.h"
#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/program/ticks.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/vmcs12.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/msr_list.h"
#include "fuzz/field_pokes.h"
#include "fuzz/input.h"
#include "fuzz/state_comparison.h"
#include "lhv/layout.h"
#include "xxhash.h"

namespace nvmx::fuzz {
namespace {

using lhv::Operation;
using sim::CpuEnd;
using sim::ProcessorState;

// Turns of a setup and of a run. Inputs are short: more turns are a loop, which says nothing new.
constexpr int kSetupTurns = 400;
constexpr int kMostTurns = 48;

bool NamesEpt(const Operation& operation) {
  return operation.kind == lhv::OperationKind::kVmwrite &&
         operation.selector == Encoding(VmcsField::kEptPointer);
}

bool MakesRegion(const Operation& operation) {
  switch (operation.kind) {
    case lhv::OperationKind::kInitializeVmxRegion:
    case lhv::OperationKind::kVmxon:
    case lhv::OperationKind::kVmclear:
    case lhv::OperationKind::kVmptrld:
      return true;
    case lhv::OperationKind::kVmwrite:
      return operation.selector == Encoding(VmcsField::kVmcsLinkPointer);
    default:
      return false;
  }
}

bool WritesExitReason(const Operation& operation) {
  return operation.kind == lhv::OperationKind::kVmwrite &&
         operation.selector == Encoding(VmcsField::kExitReason);
}

// Most of a state is the VMCSs, and most of their slots are free, which is all zeros (ClearVmcs).
void RestoreState(const ProcessorState& start, ProcessorState& state) {
  constexpr size_t kBeforeSlots = offsetof(ProcessorState, vmcs);
  static_assert(kBeforeSlots + sizeof state.vmcs == sizeof state);
  std::memcpy(&state, &start, kBeforeSlots);
  for (size_t slot = 0; slot < sim::kVmcsSlots; ++slot) {
    const bool is_free = state.vmcs[slot].in_use == 0 && start.vmcs[slot].in_use == 0;
    // Those of L0's VMCSs are never said to be in use.
    if (slot < sim::kSlotsOfL0 || !is_free) state.vmcs[slot] = start.vmcs[slot];
  }
}

}  // namespace

// --- The two machines

class Bench::NativeCpu final : public sim::ProgramCpu {
 public:
  explicit NativeCpu(const Parts& parts) : ProgramCpu(parts) {
    processor().state().switched = sim::InitialRegisters(index());
  }

 private:
  void RunRoot() override {}
  void EntryRefused(const char*) override {}
};

// An IPI of the only CPU reaches at most that CPU.
struct Bench::Side final : private sim::ProgramBus {
  Side() : memory(1) {}

  sim::ProgramBus& bus() { return *this; }
  void SendIpi(uint32_t, uint64_t command) override {
    using lhv::InterruptCommand;
    const uint64_t shorthand = command & InterruptCommand::kShorthand;
    const bool to_self = shorthand == InterruptCommand::kSelf ||
                         (shorthand == 0 && command >> InterruptCommand::kDestinationShift == 0);
    if (!to_self) return;
    cpu->ReceiveIpi(command & InterruptCommand::kDeliveryMode,
                    static_cast<uint8_t>(command & InterruptCommand::kVector));
  }

  sim::Memory memory;
  sim::ProgramCpu* cpu = nullptr;
  std::unique_ptr<sim::Memory::Snapshot> window;
  ProcessorState start{};
  uint64_t steps = 0;
};

class Bench::Bus final : public sim::L0Bus {
 public:
  void SendHostNmiToAllOthers(uint32_t) override {}
  void SendHostNmi(uint32_t) override {}
};

Bench::Bench(const lhv::GuestProgram& setup)
    : offered_(OfferedCapabilities(sim::SimulatedCapabilities())),
      program_(setup.cpus[0]),
      setup_size_(program_.l1.size()),
      setup_l2_size_(program_.l2.size()),
      has_ept_(std::any_of(program_.l1.begin(), program_.l1.end(), NamesEpt)),
      native_(std::make_unique<Side>()),
      nested_(std::make_unique<Side>()),
      bus_(std::make_unique<Bus>()) {
  const sim::ProcessorOptions native{.native = true,
                                     .ticks_per_instruction = sim::kTicksPerInstruction};
  native_cpu_ = std::make_unique<NativeCpu>(
      sim::ProgramCpu::Parts{0, native_->memory, native_->bus(), offered_, native});
  system_.emplace(1);
  l0_memory_.emplace(nested_->memory, 1);
  nested_cpu_ = std::make_unique<sim::NestedCpu>(
      sim::ProgramCpu::Parts{0,
                             nested_->memory,
                             nested_->bus(),
                             sim::SimulatedCapabilities(),
                             {.ticks_per_instruction = sim::kTicksPerInstruction}},
      sim::NestedCpu::L0Parts{*system_, *l0_memory_, *bus_, *FindVariant("correct"), false});
  native_->cpu = native_cpu_.get();
  nested_->cpu = nested_cpu_.get();
  RememberSetup();
}

Bench::~Bench() = default;

void Bench::RememberSetup() {
  nested_cpu_->Reset(lhv::L1Mode::k64Bit);
  for (Side* side : {native_.get(), nested_.get()}) {
    sim::WriteGuestTables(side->memory, 0);
    WriteMemory(*side, program_);
    side->cpu->Load(program_);
    for (int turn = 0; turn < kSetupTurns && !side->cpu->IsBehindSetup(); ++turn) {
      side == nested_.get() ? nested_cpu_->Run() : native_cpu_->Turn();
    }
    side->window = side->memory.SaveWindow(0);
    side->start = side->cpu->processor().state();
    side->steps = side->cpu->steps();
  }
  l0_state_ = std::make_unique<sim::NestedCpu::L0State>(nested_cpu_->SaveL0State());
}

void Bench::Restore(Side& side) {
  side.memory.RestoreWindow(0, *side.window);
  RestoreState(side.start, side.cpu->processor().state());
  side.cpu->processor().mmu().tlb().Clear();
  side.cpu->pending() = {};
}

void Bench::WriteMemory(Side& side, const lhv::CpuProgram& own) {
  for (const lhv::MemoryBlock& block : own.memory) {
    side.memory.Write(lhv::WindowOf(0) + block.offset, block.bytes);
  }
}

// --- Running

std::optional<BenchDifference> Bench::Run(const lhv::CpuProgram& own, bool thorough) {
  program_.l1.resize(setup_size_);
  AppendL1(own.l1, program_.l1);
  program_.l2.resize(setup_l2_size_);
  program_.l2.insert(program_.l2.end(), own.l2.begin(), own.l2.end());
  for (Side* side : {native_.get(), nested_.get()}) {
    Restore(*side);
    WriteMemory(*side, own);
    side->cpu->Load(program_, side->steps);
  }
  system_.emplace(1);
  nested_cpu_->RestoreL0State(*l0_state_);
  has_regions_ = std::any_of(own.l1.begin(), own.l1.end(), MakesRegion) ||
                 std::any_of(own.l2.begin(), own.l2.end(), MakesRegion);
  writes_exit_reason_ = std::any_of(own.l1.begin(), own.l1.end(), WritesExitReason);
  const size_t first = Poke(own, setup_size_);
  for (Side* side : {native_.get(), nested_.get()}) {
    side->cpu->processor().Jump(lhv::OperationAddress(lhv::kL1CodeBase, first));
    RunToTheEnd(*side);
  }
  return Compare(own, thorough);
}

size_t Bench::Poke(const lhv::CpuProgram& own, size_t setup_size) {
  size_t count = 0;
  while (count < own.l1.size() && PokeOne(own.l1[count])) ++count;
  return setup_size + count;
}

bool Bench::PokeOne(const Operation& operation) {
  const std::optional<FieldPoke> poke = PokeOf(operation, offered_);
  if (!poke) return false;
  native_cpu_->processor().VmcsWrite(poke->field, poke->value);
  WriteVmcs12(nested_cpu_->vcpu(), poke->field, poke->value);
  return true;
}

void Bench::RunToTheEnd(Side& side) {
  const bool nested = &side == nested_.get();
  for (int turn = 0; turn < kMostTurns; ++turn) {
    const bool moved = nested ? nested_cpu_->Run() : native_cpu_->Turn();
    if (!moved && !side.cpu->processor().PassTimeToTimer()) return;
  }
}

// --- Comparing

BenchReached Bench::reached() const {
  BenchReached reached;
  reached.log = native_cpu_->log();
  const ProcessorState& state = native_cpu_->processor().state();
  reached.entered = native_cpu_->processor().level() == 2;
  if (state.operation != sim::Operation::kOff && state.current_vmcs_pointer != sim::kNoVmcs) {
    const VmcsImage& vmcs = state.vmcs[state.current_vmcs].fields;
    if (!writes_exit_reason_) reached.exit = vmcs.Get<VmcsField::kExitReason>();
    reached.exit_qualification = vmcs.Get<VmcsField::kExitQualification>();
  }
  return reached;
}

std::optional<BenchDifference> Bench::Compare(const lhv::CpuProgram& own, bool thorough) {
  using What = BenchDifference::What;
  if (!nested_cpu_->defect().empty()) {
    return BenchDifference{What::kL0Defect, 0, 0, 0, nested_cpu_->defect()};
  }
  if (++runs_ % runs_between_checks_ == 0 && l0_memory_->IsDamaged()) {
    return BenchDifference{What::kL0Defect, 0, 0, 0,
                           "something wrote to memory that is L0's alone"};
  }
  const CpuEnd native_end = native_cpu_->End();
  const CpuEnd nested_end = nested_cpu_->EndOfRun();
  if (std::optional<BenchDifference> difference = CompareLogs()) return difference;
  if (native_end != nested_end) {
    return BenchDifference{What::kEnd, 0, static_cast<uint64_t>(native_end),
                           static_cast<uint64_t>(nested_end), ""};
  }
  // In a loop the two are not at the same instruction: a turn that ends in an event can be two.
  if (native_end == CpuEnd::kStepLimit || native_end == CpuEnd::kShutdown) return std::nullopt;
  const ProcessorState& native = native_cpu_->processor().state();
  const ProcessorState& nested = nested_cpu_->processor().state();
  const unsigned level = native_cpu_->processor().level();
  if (auto difference = CompareProcessors(native, nested, level)) return difference;
  if (native_end == CpuEnd::kComplete) {
    if (auto difference = CompareControlRegisters()) return difference;
    if (auto difference = CompareMsrs(native, nested, nested_cpu_->vcpu_state())) return difference;
    if (auto difference = CompareVmcs(native, nested_cpu_->vcpu(), offered_)) return difference;
  }
  return CompareMemory(own, thorough);
}

bool Bench::SameMemory(uint64_t address, uint64_t length) {
  std::array<std::byte, 1024> native, nested;
  for (; length > 0; address += native.size()) {
    const size_t part = std::min<uint64_t>(length, native.size());
    native_->memory.ReadPhysical(address, std::span(native).first(part));
    nested_->memory.ReadPhysical(address, std::span(nested).first(part));
    if (std::memcmp(native.data(), nested.data(), part) != 0) return false;
    length -= part;
  }
  return true;
}

std::optional<BenchDifference> Bench::CompareMemory(const lhv::CpuProgram& own, bool thorough) {
  if (has_regions_) return std::nullopt;
  const BenchDifference difference{BenchDifference::What::kMemory, 0, 0, 0, ""};
  if (thorough || has_ept_) {
    return native_->memory.IsSameWhereWritten(nested_->memory, 0) ? std::nullopt
                                                                  : std::optional(difference);
  }
  constexpr uint64_t kWindow = lhv::WindowOf(0);
  for (const lhv::MemoryBlock& block : own.memory) {
    if (!SameMemory(kWindow + block.offset, block.bytes.size())) return difference;
  }
  constexpr uint64_t kStackBytes = 128;
  for (const uint64_t top : {lhv::kL1StackTop, lhv::kL2StackTop}) {
    if (!SameMemory(kWindow + top - kStackBytes, kStackBytes)) return difference;
  }
  const ProcessorState& state = native_cpu_->processor().state();
  const VmcsImage& vmcs = state.vmcs[state.current_vmcs].fields;
  constexpr uint64_t kMostEntries = 32;
  const uint64_t list = vmcs.Get<VmcsField::kVmExitMsrStoreAddress>();
  const uint64_t count =
      std::min<uint64_t>(vmcs.Get<VmcsField::kVmExitMsrStoreCount>(), kMostEntries);
  if (native_->memory.IsBacked(list, MsrListLength(static_cast<uint32_t>(count))) &&
      !SameMemory(list, MsrListLength(static_cast<uint32_t>(count)))) {
    return difference;
  }
  return std::nullopt;
}

// As L1 reads them: of those of the processor some bits are L0's.
std::optional<BenchDifference> Bench::CompareControlRegisters() const {
  const sim::Processor& native = native_cpu_->processor();
  const sim::Processor& nested = nested_cpu_->processor();
  const auto differ = [](uint64_t number, uint64_t a, uint64_t b) {
    return BenchDifference{BenchDifference::What::kControlRegister, number, a, b, ""};
  };
  if (native.VisibleCr0() != nested.VisibleCr0()) {
    return differ(0, native.VisibleCr0(), nested.VisibleCr0());
  }
  if (native.VisibleCr4() != nested.VisibleCr4()) {
    return differ(4, native.VisibleCr4(), nested.VisibleCr4());
  }
  return std::nullopt;
}

std::optional<BenchDifference> Bench::CompareLogs() {
  const std::vector<lhv::Observation>& a = native_cpu_->log();
  const std::vector<lhv::Observation>& b = nested_cpu_->log();
  const size_t common = std::min(a.size(), b.size());
  const bool both_ran_on =
      native_cpu_->End() == CpuEnd::kStepLimit && nested_cpu_->EndOfRun() == CpuEnd::kStepLimit;
  size_t position = 0;
  while (position < common && a[position] == b[position]) ++position;
  if (position == common && (a.size() == b.size() || both_ran_on)) return std::nullopt;
  return BenchDifference{BenchDifference::What::kLog, position, a.size(), b.size(), ""};
}

uint64_t Bench::Digest() const {
  const std::vector<lhv::Observation>& log = nested_cpu_->log();
  const ProcessorState& state = nested_cpu_->processor().state();
  uint64_t digest = XXH3_64bits(log.data(), log.size() * sizeof log[0]);
  digest = XXH3_64bits_withSeed(&state, sizeof state, digest);
  return XXH3_64bits_withSeed(&nested_cpu_->vcpu_state(), sizeof(VcpuState), digest) ^
         nested_->memory.WindowDigest(0);
}

}  // namespace nvmx::fuzz
