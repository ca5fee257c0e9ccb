// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/native_machine.h"

#include "backends/sim/machine/initial_state.h"
#include "backends/sim/program/ticks.h"
#include "core/nested/offered_capabilities.h"

namespace nvmx::sim {

class NativeMachine::NativeCpu final : public ProgramCpu {
 public:
  explicit NativeCpu(const Parts& parts) : ProgramCpu(parts), at_reset_(processor().state()) {}

  void Reset(lhv::L1Mode mode) {
    processor().state() = at_reset_;
    processor().state().switched = InitialRegisters(index(), mode);
    processor().mmu().tlb().Clear();
    pending() = {};
  }

 private:
  // There is no L0.
  void RunRoot() override {}
  void EntryRefused(const char*) override {}

  ProcessorState at_reset_;
};

NativeMachine::NativeMachine(uint32_t cpus, TlbPolicy policy, const Capabilities& hardware,
                             NativeFeatures features)
    : ProgramMachine(cpus), watches_(policy == TlbPolicy::kEvictAtOnce) {
  if (watches_) memory().set_watch(&watch_);
  const Capabilities capabilities =
      features == NativeFeatures::kAll ? hardware : OfferedCapabilities(hardware);
  const ProcessorOptions options{.native = true,
                                 .ticks_per_instruction = kTicksPerInstruction,
                                 .keep_translations = policy == TlbPolicy::kKeep};
  for (uint32_t index = 0; index < cpus; ++index) {
    cpus_.push_back(std::make_unique<NativeCpu>(
        ProgramCpu::Parts{index, memory(), *this, capabilities, options}));
  }
}

NativeMachine::~NativeMachine() = default;

ProgramCpu& NativeMachine::cpu(uint32_t index) { return *cpus_[index]; }

void NativeMachine::Reset(lhv::L1Mode mode) {
  for (const std::unique_ptr<NativeCpu>& cpu : cpus_) cpu->Reset(mode);
  watch_ = {};
  left_open_at_.clear();
}

bool NativeMachine::Turn(uint32_t index) {
  const size_t observations = cpus_[index]->log().size();
  const bool moved = cpus_[index]->Turn();
  if (watch_.first() != LeftOpen::kNothing && left_open_at_.empty()) {
    for (const std::unique_ptr<NativeCpu>& cpu : cpus_) left_open_at_.push_back(cpu->log().size());
    // What was seen of the turn itself came behind it.
    left_open_at_[index] = observations;
  }
  return moved;
}

void NativeMachine::Report(ProgramResult& result) {
  result.left_open = watch_.first();
  result.left_open_at = left_open_at_;
}

bool NativeMachine::ExitedLike(const NativeMachine& other) const {
  const auto current_vmcs = [](const ProcessorState& state) -> const VmcsImage* {
    if (state.operation == Operation::kOff || state.current_vmcs_pointer == kNoVmcs) return nullptr;
    return &state.vmcs[state.current_vmcs].fields;
  };
  for (size_t index = 0; index < cpus_.size(); ++index) {
    const VmcsImage* a = current_vmcs(cpus_[index]->processor().state());
    const VmcsImage* b = current_vmcs(other.cpus_[index]->processor().state());
    if ((a == nullptr) != (b == nullptr)) return false;
    if (a == nullptr) continue;
    for (const VmcsFieldInformation& row : kVmcsFields) {
      // VM exits write these.
      const bool is_read_only = Type(row.field) == FieldType::kReadOnlyData;
      if (is_read_only && a->Read(row.field) != b->Read(row.field)) return false;
    }
  }
  return true;
}

CpuEnd NativeMachine::End(uint32_t index) { return cpus_[index]->End(); }

void NativeMachine::SaveStart() {
  start_ = std::make_unique<ProcessorState>(cpus_[0]->processor().state());
  watch_at_start_ = watch_;
}

void NativeMachine::RestoreStart() {
  cpus_[0]->processor().state() = *start_;
  cpus_[0]->processor().mmu().tlb().Clear();
  cpus_[0]->pending() = {};
  if (!watches_) return;
  watch_ = watch_at_start_;
  left_open_at_.clear();
}

}  // namespace nvmx::sim
