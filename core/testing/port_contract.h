// SPDX-License-Identifier: Apache-2.0
//
// What every implementation of the ports promises, as checks that run wherever the ports do: in
// tests (port_contract_gtest.h) and in an image on a bare machine.
#ifndef NVMX_CORE_TESTING_PORT_CONTRACT_H_
#define NVMX_CORE_TESTING_PORT_CONTRACT_H_

#include <concepts>
#include <cstdint>
#include <span>
#include <type_traits>

#include "core/ports/ports.h"

namespace nvmx {

// Refers to code that is to run on a CPU. What it is made of must outlive it.
class OnCpu {
 public:
  template <typename Code>
  requires(!std::same_as<std::remove_cvref_t<Code>, OnCpu>) OnCpu(Code&& code)
      : code_(const_cast<void*>(static_cast<const void*>(&code))),
        call_([](void* called, Ports& ports) {
          (*static_cast<std::remove_reference_t<Code>*>(called))(ports);
        }) {}
  void operator()(Ports& ports) const { call_(code_, ports); }

 private:
  void* code_;
  void (*call_)(void* code, Ports& ports);
};

// A machine of two CPUs under test.
class ContractMachine {
 public:
  // Runs the code on CPU 0, in root, NMIs not blocked, VMCS01 current. Returns when it has
  // returned.
  virtual void Run(const OnCpu& on_cpu_0) = 0;
  // The same while CPU 1 runs other code: at the latest when CPU 0 waits.
  virtual void RunBoth(const OnCpu& on_cpu_0, const OnCpu& on_cpu_1) = 0;
  // Called by on_cpu_0: blocks NMIs on CPU 0, as an NMI exit does, and sends it one more.
  virtual void BlockNmisAndSendOne() = 0;
  // How many NMIs CPU 0 has taken in root.
  virtual int NmisTaken() = 0;

  // An MSR whose 64 bits RDMSR and WRMSR read and write; one that neither accepts; one that only
  // RDMSR accepts.
  virtual uint32_t WritableMsr() = 0;
  virtual uint32_t AbsentMsr() = 0;
  virtual uint32_t ReadOnlyMsr() = 0;
  // The bits of a field of natural width.
  virtual uint64_t NaturalWidth() { return ~uint64_t{0}; }
  // The first address that is not backed by memory. At least two pages below it are.
  virtual uint64_t MemoryEnd() = 0;
  // The beginning of a page. What is backed by memory in front of it and behind it may lie in two
  // places.
  virtual uint64_t Seam() { return MemoryEnd() - kPageSize; }

 protected:
  ~ContractMachine() = default;
};

// Takes what is not kept; on any CPU.
class ContractReport {
 public:
  virtual void Fail(const char* what, uint64_t found, uint64_t wanted) = 0;

 protected:
  ~ContractReport() = default;
};

struct ContractCheck {
  const char* name;
  // Each check wants a machine to which nothing has been done but other checks.
  void (*run)(ContractMachine& machine, ContractReport& report);
};
std::span<const ContractCheck> PortContract();

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_PORT_CONTRACT_H_
