// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_PORTS_CPU_H_
#define NVMX_CORE_PORTS_CPU_H_

#include <cstdint>
#include <optional>

namespace nvmx {

class SharedCell;

// Position of a logical processor in L0's own numbering, 0 .. CPU count - 1. Never an APIC id:
// those can be sparse.
using CpuIndex = uint32_t;

// What a Shared<T> operation does to its cell.
enum class SharedOperation : uint8_t { kLoad, kStore, kAdd, kRelease };

// One access to memory that another CPU, or this CPU's NMI context, can touch too.
struct SharedAccess {
  const SharedCell* cell;
  SharedOperation operation;
};

// What a CPU waits for. Data instead of a closure, so that a backend can print it, evaluate it
// without running the waiting CPU, and so tell "nobody can move" from "somebody will".
struct SpinCondition {
  enum class Comparison : uint8_t {
    kEquals,    // the cell holds `wanted`
    kAtLeast,   // it holds that or more
    kAcquires,  // it holds `wanted`, and the CPU takes it, a lock, in the same step in which it
                // sees so
  };

  SharedCell* cell;
  uint64_t wanted;
  Comparison comparison;

  bool Holds() const;
};

// The four registers that CPUID returns.
struct CpuidRegisters {
  uint32_t eax, ebx, ecx, edx;
};

// The logical processor that runs L0, in VMX root operation.
class Cpu {
 public:
  // This processor's index; constant.
  virtual CpuIndex Index() const = 0;
  // RDMSR; nothing if the instruction would raise #GP.
  virtual std::optional<uint64_t> ReadMsr(uint32_t msr) = 0;
  // WRMSR; false, and nothing written, if the instruction would raise #GP.
  virtual bool WriteMsr(uint32_t msr, uint64_t value) = 0;
  // CPUID with EAX = leaf and ECX = subleaf, as the physical processor answers.
  virtual CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf) = 0;
  // Ends blocking by NMI, as an IRET to the next instruction does. A latched NMI is taken before
  // this returns.
  virtual void UnblockNmi() = 0;
  // Drops every translation of this processor that was derived from EPT (INVEPT, all contexts).
  virtual void InvalidateEpt() = 0;
  // Called before each Shared<T> operation; the access follows before the next call of any port.
  virtual void BeforeSharedAccess(const SharedAccess& access) = 0;
  // Returns when the condition holds; NMIs are taken meanwhile if they are not blocked.
  virtual void SpinUntil(const SpinCondition& condition) = 0;

 protected:
  ~Cpu() = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_CPU_H_
