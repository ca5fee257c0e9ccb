// SPDX-License-Identifier: Apache-2.0
#include "fuzz/vmcs12_rounding.h"

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/machine/vm_entry_checks.h"
#include "core/nested/offered_capabilities.h"
#include "core/vmx/capabilities.h"
#include "fuzz/field_pokes.h"
#include "lhv/baseline.h"
#include "lhv/layout.h"
#include "lhv/vmcs_sequences.h"

namespace nvmx::fuzz {
namespace {

using lhv::Operation;
using lhv::OperationKind;

class ZeroMemory final : public sim::EntryMemory {
 public:
  void ReadPhysical(uint64_t, std::span<std::byte> bytes) const override {
    std::memset(bytes.data(), 0, bytes.size());
  }
};

const Capabilities& Offered() {
  static const Capabilities offered = OfferedCapabilities(sim::SimulatedCapabilities());
  return offered;
}

// What kVmwriteHostState writes.
void WriteHostState(VmcsImage& image) {
  for (size_t number = 0; number < lhv::HostStateInstructionCount(); ++number) {
    const lhv::Instruction instruction = lhv::HostStateInstruction(0, number);
    const std::optional<size_t> slot = SlotOf(static_cast<uint32_t>(instruction.first));
    if (slot) image.Write(FieldAt(*slot), instruction.second);
  }
  image.Set<VmcsField::kHostRip>(lhv::kL1CodeBase);
}

VmcsImage MakeBaseline(InputForm form) {
  VmcsImage image;
  for (const Operation& operation : SetupOf(form).cpus[0].l1) {
    if (operation.kind == OperationKind::kVmwriteHostState) WriteHostState(image);
    if (const std::optional<FieldPoke> poke = PokeOf(operation, Offered())) {
      image.Write(poke->field, poke->value);
    }
  }
  return image;
}

const VmcsImage& Baseline(InputForm form) {
  static const VmcsImage behind_entry = MakeBaseline(InputForm::kBehindEntry);
  static const VmcsImage behind_ept = MakeBaseline(InputForm::kBehindEptEntry);
  return form == InputForm::kBehindEptEntry ? behind_ept : behind_entry;
}

std::array<std::span<const sim::EntryRule>, 7> AllRules() {
  return {sim::ExecutionControlRules(), sim::ExitControlRules(),   sim::EntryControlRules(),
          sim::HostStateRules(),        sim::GuestRegisterRules(), sim::GuestSegmentRules(),
          sim::GuestNonRegisterRules()};
}

size_t LeadingWrites(const lhv::CpuProgram& cpu) {
  size_t count = 0;
  while (count < cpu.l1.size() && PokeOf(cpu.l1[count], Offered())) ++count;
  return count;
}

}  // namespace

VmcsImage Vmcs12Of(InputForm form, const lhv::CpuProgram& cpu) {
  VmcsImage image = Baseline(form);
  const size_t count = LeadingWrites(cpu);
  for (size_t i = 0; i < count; ++i) {
    const FieldPoke poke = *PokeOf(cpu.l1[i], Offered());
    image.Write(poke.field, poke.value);
  }
  return image;
}

BrokenRule FirstBrokenRule(const VmcsImage& vmcs) {
  static const ZeroMemory memory;
  const sim::EntryInput input{vmcs, Offered(), memory, lhv::WindowOf(0) + 0x1'1000, true};
  uint32_t number = 0;
  for (const std::span<const sim::EntryRule> rules : AllRules()) {
    for (const sim::EntryRule& rule : rules) {
      ++number;
      if (!rule.holds(input)) return {number, rule.name};
    }
  }
  return {};
}

const char* RuleName(uint32_t number) {
  for (const std::span<const sim::EntryRule> rules : AllRules()) {
    if (number <= rules.size()) return number == 0 ? "none" : rules[number - 1].name;
    number -= static_cast<uint32_t>(rules.size());
  }
  return nullptr;
}

void RoundVmcs12(InputForm form, lhv::CpuProgram& cpu, Random& random) {
  constexpr int kMostRepairs = 6;
  for (int repair = 0; repair < kMostRepairs; ++repair) {
    const BrokenRule broken = FirstBrokenRule(Vmcs12Of(form, cpu));
    if (broken.number == 0) return;
    const size_t count = LeadingWrites(cpu);
    bool repaired = false;
    const size_t first = count == 0 ? 0 : random.Below(count);
    for (size_t i = 0; i < count && !repaired; ++i) {
      const auto at = static_cast<ptrdiff_t>((first + i) % count);
      const Operation taken = cpu.l1[static_cast<size_t>(at)];
      cpu.l1.erase(cpu.l1.begin() + at);
      const BrokenRule now = FirstBrokenRule(Vmcs12Of(form, cpu));
      repaired = now.number == 0 || now.number > broken.number;
      if (!repaired) cpu.l1.insert(cpu.l1.begin() + at, taken);
    }
    if (!repaired) return;
  }
}

void ChangeField(InputForm form, lhv::CpuProgram& cpu, Random& random) {
  if (cpu.run_begin != 0) return;
  const VmcsField field = FieldAt(random.Below(kVmcsFieldCount));
  if (!Exists(field, Offered())) return;
  const uint64_t mask = ValueMask(field);
  const unsigned width = mask == ~uint64_t{0} ? 64 : mask == 0xFFFF ? 16 : 32;
  uint64_t value = Vmcs12Of(form, cpu).Read(field);
  value = random.OneIn(3) ? random.Awkward(width) : value ^ random.Bit(width);
  const bool control = lhv::HasControlCapability(Encoding(field)) && !random.OneIn(4);
  Operation write = lhv::Vmwrite(field, value & mask);
  if (control) write.kind = OperationKind::kVmwriteControl;
  cpu.l1.insert(cpu.l1.begin() + static_cast<ptrdiff_t>(random.Below(LeadingWrites(cpu) + 1)),
                write);
}

}  // namespace nvmx::fuzz
