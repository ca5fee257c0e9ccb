// SPDX-License-Identifier: Apache-2.0
#include "fuzz/bench.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "backends/sim/machine/guest_tables.h"
#include "backends/sim/machine/initial_state.h"
#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/program/ticks.h"
#include "core/nested/offered_capabilities.h"
#include "core/nested/vmcs12.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/msr_list.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"
#include "fuzz/field_pokes.h"
#include "fuzz/input.h"
#include "lhv/layout.h"
#include "xxhash.h"

namespace nvmx::fuzz {
namespace {

using lhv::Operation;
using sim::CpuEnd;
using sim::ProcessorState;

// Turns of a setup and of a run. Inputs are short: more turns are a loop, which says nothing new.
constexpr int kSetupTurns = 400;
constexpr int kMostTurns = 64;

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
  uint64_t window_digest = 0;
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
      sim::NestedCpu::L0Parts{*system_, *l0_memory_, *bus_, *sim::FindVariant("correct"), false});
  native_->cpu = native_cpu_.get();
  nested_->cpu = nested_cpu_.get();
  RememberSetup();
}

Bench::~Bench() = default;

void Bench::RememberSetup() {
  nested_cpu_->Reset();
  for (Side* side : {native_.get(), nested_.get()}) {
    sim::WriteGuestTables(side->memory, 0);
    WriteMemory(*side, program_);
    side->cpu->Load(program_);
    for (int turn = 0; turn < kSetupTurns && !side->cpu->IsBehindSetup(); ++turn) {
      side == nested_.get() ? nested_cpu_->Run() : native_cpu_->Turn();
    }
    side->window = side->memory.SaveWindow(0);
    side->window_digest = side->memory.WindowDigest(0);
    side->start = side->cpu->processor().state();
    side->steps = side->cpu->steps();
  }
  l0_state_ = std::make_unique<sim::NestedCpu::L0State>(nested_cpu_->SaveL0State());
}

void Bench::Restore(Side& side) {
  side.memory.RestoreWindow(0, *side.window);
  side.cpu->processor().state() = side.start;
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
    reached.exit = vmcs.Get<VmcsField::kExitReason>();
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
  if (std::optional<BenchDifference> difference = CompareState()) return difference;
  if (native_end == CpuEnd::kComplete) {
    if (std::optional<BenchDifference> difference = CompareMsrs()) return difference;
    if (std::optional<BenchDifference> difference = CompareVmcs()) return difference;
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
    const uint64_t native = native_->memory.WindowDigest(0) ^ native_->window_digest;
    const uint64_t nested = nested_->memory.WindowDigest(0) ^ nested_->window_digest;
    return native == nested ? std::nullopt : std::optional(difference);
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

std::optional<BenchDifference> Bench::CompareVmcs() {
  const ProcessorState& native = native_cpu_->processor().state();
  Vcpu& vcpu = nested_cpu_->vcpu();
  const bool native_in_vmx = native.operation != sim::Operation::kOff;
  const bool nested_in_vmx = vcpu.state.operation != VmxOperation::kOff;
  if (native_in_vmx != nested_in_vmx) {
    return BenchDifference{BenchDifference::What::kState, 0, native_in_vmx, nested_in_vmx,
                           "VMX operation"};
  }
  if (!native_in_vmx) return std::nullopt;
  if (native.current_vmcs_pointer != vcpu.state.current_vmcs) {
    return BenchDifference{BenchDifference::What::kState, 0, native.current_vmcs_pointer,
                           vcpu.state.current_vmcs, "the current-VMCS pointer"};
  }
  // What a shadow VMCS holds is not looked at here.
  if (native.current_vmcs_pointer == sim::kNoVmcs || vcpu.state.vmcs12_is_shadow != 0) {
    return std::nullopt;
  }
  CompleteVmcs12(vcpu);
  const VmcsImage& expected = native.vmcs[native.current_vmcs].fields;
  if (expected == vcpu.state.vmcs12) return std::nullopt;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    const uint64_t a = expected.Read(row.field);
    const uint64_t b = vcpu.state.vmcs12.Read(row.field);
    if (a == b || !Exists(row.field, offered_)) continue;
    // What a triple fault leaves of RF depends on how often delivery was tried.
    const bool is_triple_fault =
        expected.Get<VmcsField::kExitReason>() == static_cast<uint32_t>(ExitReason::kTripleFault);
    if (row.field == VmcsField::kGuestRflags && is_triple_fault && (a ^ b) == Rflags::kRf) continue;
    return BenchDifference{BenchDifference::What::kField, Encoding(row.field), a, b, row.name};
  }
  return std::nullopt;
}

std::optional<BenchDifference> Bench::CompareState() {
  const ProcessorState& a = native_cpu_->processor().state();
  const ProcessorState& b = nested_cpu_->processor().state();
  const auto differ = [](const char* name, uint64_t native, uint64_t nested) {
    return BenchDifference{BenchDifference::What::kState, 0, native, nested, name};
  };
#define NVMX_SAME(member) \
  if (a.member != b.member) return differ(#member, a.member, b.member)
  NVMX_SAME(switched.rip);
  NVMX_SAME(switched.rsp);
  NVMX_SAME(switched.rflags);
  NVMX_SAME(switched.cr3);
  NVMX_SAME(switched.gdtr_base);
  NVMX_SAME(switched.idtr_base);
  NVMX_SAME(switched.gdtr_limit);
  NVMX_SAME(switched.idtr_limit);
  NVMX_SAME(switched.dr7);
  NVMX_SAME(activity_state);
  if (a.cr2 != b.cr2) {
    return BenchDifference{BenchDifference::What::kCr2, 0, a.cr2, b.cr2, "CR2"};
  }
  NVMX_SAME(dr6);
  NVMX_SAME(xcr0);
  NVMX_SAME(random_numbers);
#undef NVMX_SAME
  for (size_t i = 0; i < a.registers.size(); ++i) {
    if (a.registers[i] != b.registers[i]) {
      return differ("a general-purpose register", a.registers[i], b.registers[i]);
    }
  }
  constexpr sim::SegmentState sim::SwitchedRegisters::*kSegments[] = {
      &sim::SwitchedRegisters::es,   &sim::SwitchedRegisters::cs, &sim::SwitchedRegisters::ss,
      &sim::SwitchedRegisters::ds,   &sim::SwitchedRegisters::fs, &sim::SwitchedRegisters::gs,
      &sim::SwitchedRegisters::ldtr, &sim::SwitchedRegisters::tr};
  // What an L1 cannot read of its own segments the core need not keep as a processor does.
  const unsigned level = native_cpu_->processor().level();
  for (const auto segment : kSegments) {
    const sim::SegmentState& x = a.switched.*segment;
    const sim::SegmentState& y = b.switched.*segment;
    const bool is_same = level == 2 ? std::memcmp(&x, &y, sizeof x) == 0
                                    : x.selector == y.selector && x.base == y.base;
    if (!is_same) return differ("a segment register", x.base, y.base);
  }
  if (a.io_ports != b.io_ports) return differ("the I/O ports", 0, 0);
  return std::nullopt;
}

std::optional<BenchDifference> Bench::CompareMsrs() {
  const ProcessorState& a = native_cpu_->processor().state();
  const ProcessorState& b = nested_cpu_->processor().state();
  const VcpuState& l0 = nested_cpu_->vcpu_state();
  const auto differ = [](uint32_t msr, uint64_t native, uint64_t nested) {
    return BenchDifference{BenchDifference::What::kMsr, msr, native, nested, ""};
  };
#define NVMX_SAME(member, msr) \
  if (a.member != b.member) return differ(Index(Msr::msr), a.member, b.member)
  NVMX_SAME(switched.efer, IA32_EFER);
  NVMX_SAME(switched.pat, IA32_PAT);
  NVMX_SAME(switched.debugctl, IA32_DEBUGCTL);
  NVMX_SAME(switched.sysenter_cs, IA32_SYSENTER_CS);
  NVMX_SAME(switched.sysenter_esp, IA32_SYSENTER_ESP);
  NVMX_SAME(switched.sysenter_eip, IA32_SYSENTER_EIP);
  NVMX_SAME(switched.perf_global_ctrl, IA32_PERF_GLOBAL_CTRL);
  NVMX_SAME(plain.star, IA32_STAR);
  NVMX_SAME(plain.lstar, IA32_LSTAR);
  NVMX_SAME(plain.cstar, IA32_CSTAR);
  NVMX_SAME(plain.fmask, IA32_FMASK);
  NVMX_SAME(plain.kernel_gs_base, IA32_KERNEL_GS_BASE);
  NVMX_SAME(plain.tsc_aux, IA32_TSC_AUX);
  NVMX_SAME(plain.misc_enable, IA32_MISC_ENABLE);
#undef NVMX_SAME
  for (uint32_t bank = 0; bank < a.plain.machine_check.size(); ++bank) {
    if (a.plain.machine_check[bank] == b.plain.machine_check[bank]) continue;
    return differ(Index(Msr::IA32_MC0_CTL) + bank, a.plain.machine_check[bank],
                  b.plain.machine_check[bank]);
  }
  if (std::memcmp(&a.mtrr, &l0.mtrr, sizeof a.mtrr) == 0) return std::nullopt;
  for (uint32_t msr = Index(Msr::IA32_MTRR_PHYSBASE0); msr <= Index(Msr::IA32_MTRR_DEF_TYPE);
       ++msr) {
    const std::optional<uint64_t> x = a.mtrr.Read(msr), y = l0.mtrr.Read(msr);
    if (x && y && *x != *y) return differ(msr, *x, *y);
  }
  return std::nullopt;
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
