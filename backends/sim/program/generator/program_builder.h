// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_PROGRAM_BUILDER_H_
#define NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_PROGRAM_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backends/sim/program/generator/random.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/assembled.h"
#include "lhv/program.h"

namespace nvmx::sim {

// The bits that VMWRITE of the encoding, a field's or half a field's, stores.
constexpr uint64_t OperandMask(uint32_t encoding) {
  return IsHigh(encoding) ? ValueMask(FieldWidth::k32) : ValueMask(Width(encoding));
}

// The program of one CPU while topics add to it. All such programs have one shape:
//   setup     enters VMX operation and makes the VMCS that lhv::BaselineVmcs() writes
//   prelude   what the topics change of it
//   rounds    VM entry, and what L1 sees of the VM exit; between two of them what the topics add
//   epilogue  what the topics look at in the end
// and a list of operations of L2, which goes on where it was or somewhere else after each exit.
class ProgramBuilder {
 public:
  // `cpu` is the CPU that the program is for: its window is where the memory lies.
  explicit ProgramBuilder(uint32_t cpu);

  uint32_t cpu() const { return cpu_; }

  // --- Memory. Offsets are in the window of the CPU.
  // Zeroed pages of its own; the offset of the first.
  uint64_t AddPages(const std::string& name, size_t pages);
  // The bytes of what AddPages() or the setup put at the offset, from there on.
  std::span<std::byte> BytesAt(uint64_t offset);
  void Put64(uint64_t offset, uint64_t value);
  uint64_t Get64(uint64_t offset);
  uint64_t AddressOf(uint64_t offset) const;

  // Pages that the setup has already.
  static constexpr uint64_t kVmxonRegion = 0x1'0000;
  static constexpr uint64_t kVmcsRegion = 0x1'1000;
  // Two pages that both levels read and write.
  static constexpr uint64_t kData = 0x1'2000;
  static constexpr uint64_t kDataPages = 2;

  // --- Code.
  void Prelude(const lhv::Operation& operation) { prelude_.push_back(operation); }
  void Epilogue(const lhv::Operation& operation) { epilogue_.push_back(operation); }
  // Before the `round`th VM entry but the first: 1, 2 ...
  void BeforeEntry(size_t round, const lhv::Operation& operation);
  void L2(const lhv::Operation& operation) { l2_.push_back(operation); }
  size_t l2_size() const { return l2_.size(); }

  // Shorthands.
  static lhv::Operation Write(VmcsField field, uint64_t value, uint16_t flags = 0);
  static lhv::Operation WriteOffset(VmcsField field, uint64_t offset);
  // Sets bits of a control field on top of what others asked for; written before the first entry
  // and adjusted to the capability MSR.
  void SetControls(VmcsField field, uint64_t bits);
  void ClearControls(VmcsField field, uint64_t bits);
  // How many VM entries there are to be at least; 1 to kMaxRounds.
  static constexpr size_t kMaxRounds = 6;
  void WantRounds(size_t rounds);
  size_t rounds() const { return rounds_; }

  // The operations of the setup, which all programs begin with.
  static const std::vector<lhv::Operation>& Setup();

  // The program. To be called last.
  lhv::CpuProgram Build(Random& random);

 private:
  struct Controls {
    VmcsField field;
    uint64_t bits;
    bool changed;
  };
  Controls& ControlsOf(VmcsField field);
  static void AppendL1(const std::vector<lhv::Operation>& operations, lhv::CpuProgram& program);
  void AppendRounds(Random& random, lhv::CpuProgram& program);
  void AppendEntry(bool first, Random& random, lhv::CpuProgram& program);

  const uint32_t cpu_;
  std::vector<lhv::MemoryBlock> memory_;
  uint64_t next_offset_;
  std::vector<lhv::Operation> prelude_, epilogue_, l2_;
  std::vector<lhv::Operation> between_[kMaxRounds];
  Controls controls_[5];
  size_t rounds_ = 1;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_GENERATOR_PROGRAM_BUILDER_H_
