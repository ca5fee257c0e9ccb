// SPDX-License-Identifier: Apache-2.0
#include "backends/sim/program/shrink.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/vmx/vmcs_field.h"
#include "lhv/layout.h"

namespace nvmx::sim {
namespace {

using lhv::Operation;
using lhv::OperationKind;

class Shrinker {
 public:
  Shrinker(lhv::GuestProgram program,
           const std::function<bool(const lhv::GuestProgram&)>& still_shows)
      : best_(std::move(program)), still_shows_(still_shows) {}

  lhv::GuestProgram Run() {
    // Until a whole round takes nothing away.
    do {
      changed_ = false;
      DropLastCpu();
      for (size_t cpu = 0; cpu < best_.cpus.size(); ++cpu) {
        SilenceL1(cpu);
        SilenceL2(cpu);
        EmptyBlocks(cpu);
        SimplifyValues(cpu);
      }
    } while (changed_);
    for (size_t cpu = 0; cpu < best_.cpus.size(); ++cpu) {
      CloseUpL1(cpu);
      CloseUpL2(cpu);
    }
    return std::move(best_);
  }

 private:
  bool Accept(lhv::GuestProgram candidate) {
    if (!still_shows_(candidate)) return false;
    best_ = std::move(candidate);
    changed_ = true;
    return true;
  }

  // The others keep their numbers.
  void DropLastCpu() {
    if (best_.cpus.size() < 2) return;
    lhv::GuestProgram candidate = best_;
    candidate.cpus.pop_back();
    Accept(std::move(candidate));
  }

  // Puts NOPs in place of operations, many at once first: the others keep their numbers.
  template <typename Code>
  void Silence(Code code_of, size_t begin) {
    const size_t end = code_of(best_).size();
    for (size_t length = std::max<size_t>(1, (end - begin) / 2);; length /= 2) {
      for (size_t at = begin; at < end; at += length) {
        lhv::GuestProgram candidate = best_;
        std::vector<Operation>& code = code_of(candidate);
        bool silenced = false;
        for (size_t i = at; i < std::min(at + length, end); ++i) {
          if (code[i].kind == OperationKind::kNop) continue;
          code[i] = {.kind = OperationKind::kNop};
          silenced = true;
        }
        if (silenced) Accept(std::move(candidate));
      }
      if (length == 1) break;
    }
  }
  void SilenceL1(size_t cpu) {
    const auto code = [cpu](lhv::GuestProgram& p) -> std::vector<Operation>& {
      return p.cpus[cpu].l1;
    };
    Silence(code, best_.cpus[cpu].run_begin);
  }
  void SilenceL2(size_t cpu) {
    Silence([cpu](lhv::GuestProgram& p) -> std::vector<Operation>& { return p.cpus[cpu].l2; }, 0);
  }

  void EmptyBlocks(size_t cpu) {
    for (size_t block = 0; block < best_.cpus[cpu].memory.size(); ++block) {
      lhv::GuestProgram candidate = best_;
      std::vector<std::byte>& bytes = candidate.cpus[cpu].memory[block].bytes;
      if (std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; })) {
        continue;
      }
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
      Accept(std::move(candidate));
    }
  }

  // One bit less each time.
  void SimplifyValues(size_t cpu) {
    for (size_t at = best_.cpus[cpu].run_begin; at < best_.cpus[cpu].l1.size(); ++at) {
      const Operation& operation = best_.cpus[cpu].l1[at];
      if (operation.kind != OperationKind::kVmwrite &&
          operation.kind != OperationKind::kVmwriteControl) {
        continue;
      }
      if (operation.flags != 0) continue;
      for (uint64_t bits = operation.value; bits != 0; bits &= bits - 1) {
        lhv::GuestProgram candidate = best_;
        candidate.cpus[cpu].l1[at].value &= ~(bits & (~bits + 1));
        Accept(std::move(candidate));
      }
    }
  }

  // Takes the NOPs out; operation numbers in operands follow.
  void CloseUpL1(size_t cpu) {
    lhv::GuestProgram candidate = best_;
    lhv::CpuProgram& program = candidate.cpus[cpu];
    const std::vector<size_t> moved = MovedTo(program.l1, program.run_begin);
    std::vector<Operation> closed;
    for (size_t at = 0; at < program.l1.size(); ++at) {
      Operation operation = program.l1[at];
      if (at >= program.run_begin && operation.kind == OperationKind::kNop) continue;
      if (operation.kind == OperationKind::kSetHostRip && operation.value < moved.size()) {
        operation.value = moved[operation.value];
      }
      if (operation.kind == OperationKind::kRepeat) {
        operation.value =
            std::max<uint64_t>(1, moved[at] - moved[at - std::min(operation.value, at)]);
      }
      closed.push_back(operation);
    }
    program.l1 = std::move(closed);
    program.l1_lines.assign(program.l1.size(), 0);
    Accept(std::move(candidate));
  }
  void CloseUpL2(size_t cpu) {
    lhv::GuestProgram candidate = best_;
    lhv::CpuProgram& program = candidate.cpus[cpu];
    const std::vector<size_t> moved = MovedTo(program.l2, 0);
    std::erase_if(program.l2, [](const Operation& o) { return o.kind == OperationKind::kNop; });
    program.l2_lines.assign(program.l2.size(), 0);
    for (Operation& operation : program.l1) {
      if (operation.kind != OperationKind::kVmwrite ||
          operation.selector != Encoding(VmcsField::kGuestRip)) {
        continue;
      }
      const uint64_t code = lhv::CodeOf(static_cast<uint32_t>(cpu), lhv::kL2CodeBase);
      const uint64_t number = (operation.value - code) / lhv::kOperationBytes;
      if (number >= moved.size()) continue;
      operation.value = lhv::OperationAddress(code, moved[number]);
    }
    Accept(std::move(candidate));
  }
  // The number that each operation, and the end, has without the NOPs from `begin` on.
  static std::vector<size_t> MovedTo(const std::vector<Operation>& code, size_t begin) {
    std::vector<size_t> moved;
    size_t number = 0;
    for (size_t at = 0; at < code.size(); ++at) {
      moved.push_back(number);
      if (at < begin || code[at].kind != OperationKind::kNop) ++number;
    }
    moved.push_back(number);
    return moved;
  }

  lhv::GuestProgram best_;
  const std::function<bool(const lhv::GuestProgram&)>& still_shows_;
  bool changed_ = false;
};

}  // namespace

lhv::GuestProgram Shrink(const lhv::GuestProgram& program,
                         const std::function<bool(const lhv::GuestProgram&)>& still_shows) {
  return Shrinker(program, still_shows).Run();
}

}  // namespace nvmx::sim
