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

// Cached translations that are to be dropped. SDM Vol. 3C, 29.4.3.1 "Operations that Invalidate
// Cached Mappings"; 31.3, "INVEPT", "INVVPID".
struct Invalidation {
  enum class Kind : uint8_t {
    kEptSingleContext,                   // INVEPT type 1, of `eptp`
    kEptAllContexts,                     // INVEPT type 2
    kVpidIndividualAddress,              // INVVPID type 0, of `vpid` and `linear`
    kVpidSingleContext,                  // INVVPID type 1, of `vpid`
    kVpidAllContexts,                    // INVVPID type 2
    kVpidSingleContextRetainingGlobals,  // INVVPID type 3, of `vpid`
  };
  Kind kind = Kind::kEptAllContexts;
  uint64_t eptp = 0;  // a value of the EPT-pointer field
  uint16_t vpid = 0;  // not 0
  uint64_t linear = 0;

  friend constexpr bool operator==(const Invalidation&, const Invalidation&) = default;
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
  // INVEPT or INVVPID. A kind that the processor does not have is widened to one that it has.
  virtual void Invalidate(const Invalidation& invalidation) = 0;
  // XSETBV of XCR0 with a value that is valid for the processor; L1 and L2 run with it.
  virtual void WriteXcr0(uint64_t value) = 0;
  // MOV to CR0 that gives CD and NW the values they have in `cr0`, and changes no other bit. L1 and
  // L2 run with them: VM entry and VM exit leave both as they are. NW is 1 only if CD is. SDM Vol.
  // 3C, 27.3.2.1 "Loading Guest Control Registers, Debug Registers, and MSRs".
  virtual void WriteCacheControl(uint64_t cr0) = 0;
  // Called before each Shared<T> operation; the access follows before the next call of any port.
  virtual void BeforeSharedAccess(const SharedAccess& access) = 0;
  // Returns when the condition holds; NMIs are taken meanwhile if they are not blocked.
  virtual void SpinUntil(const SpinCondition& condition) = 0;

 protected:
  ~Cpu() = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_CPU_H_
