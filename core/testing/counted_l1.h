// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_TESTING_COUNTED_L1_H_
#define NVMX_CORE_TESTING_COUNTED_L1_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "core/nested/vcpu.h"
#include "core/testing/counting_ports.h"
#include "core/testing/fake_vcpu.h"
#include "core/vmx/exit_reason.h"

namespace nvmx {

// An L1 whose VM exits go through the core on counting ports. What it does it does as instructions
// that exit, and what L2 does as exits of L2; the work of the processor itself is not counted.
class CountedL1 {
 public:
  // As `prepare` leaves a CPU on fake ports: there VMCS12s and tables are built with the means that
  // tests have.
  explicit CountedL1(const std::function<void(FakeVcpu&)>& prepare);
  CountedL1(const CountedL1&) = delete;
  CountedL1& operator=(const CountedL1&) = delete;

  // An exit of whoever runs.
  void Exit(ExitReason reason, uint64_t qualification = 0);
  // The same of an EPT violation at the address, by a read.
  void ViolateEpt(uint64_t guest_physical);
  // Instructions of L1 or L2, which exit. VMREAD and VMWRITE have a register as operand; the others
  // an operand in memory at kOperand.
  void Vmlaunch() { Exit(ExitReason::kVmlaunch); }
  void Vmresume() { Exit(ExitReason::kVmresume); }
  void Vmread(VmcsField field);
  void Vmwrite(VmcsField field, uint64_t value);
  void WithPointer(ExitReason instruction, uint64_t pointer);
  // INVEPT of a single context.
  void Invept(uint64_t eptp);

  // The result of the last VMREAD.
  uint64_t vmread_result() const;
  bool L2Runs() const { return state.operation == VmxOperation::kNonRoot; }
  // Whether the last instruction of L1 succeeded.
  bool Succeeded();

  PortCalls calls;
  CountingCpu cpu{calls};
  CountingVmcs vmcs{calls};
  CountingMemory memory{FakeVcpu::kMemorySize, calls};
  CountingApic apic{calls};
  CountingClock clock{calls};
  IgnoringTrace trace;
  System system{1};
  CpuCells own;
  VcpuState state;
  std::vector<HostPage> host_pages;
  Vcpu vcpu;

 private:
  void SetOperand(uint64_t offset, uint64_t value);
  void ExecuteInRegister(ExitReason instruction, VmcsField field);
};

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_COUNTED_L1_H_
