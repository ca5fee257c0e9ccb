// SPDX-License-Identifier: Apache-2.0
#include "fuzz/state_comparison.h"

#include <cstring>

#include "core/nested/vmcs12.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx::fuzz {

using sim::ProcessorState;

std::optional<BenchDifference> CompareVmcs(const ProcessorState& native, Vcpu& vcpu,
                                           const Capabilities& offered) {
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
    if (a == b || !Exists(row.field, offered)) continue;
    // What a triple fault leaves of RF depends on how often delivery was tried.
    const bool is_triple_fault =
        expected.Get<VmcsField::kExitReason>() == static_cast<uint32_t>(ExitReason::kTripleFault);
    if (row.field == VmcsField::kGuestRflags && is_triple_fault && (a ^ b) == Rflags::kRf) continue;
    return BenchDifference{BenchDifference::What::kField, Encoding(row.field), a, b, row.name};
  }
  return std::nullopt;
}

std::optional<BenchDifference> CompareProcessors(const ProcessorState& a, const ProcessorState& b,
                                                 unsigned level) {
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
    return BenchDifference{BenchDifference::What::kControlRegister, 2, a.cr2, b.cr2, "CR2"};
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
  for (const auto segment : kSegments) {
    const sim::SegmentState& x = a.switched.*segment;
    const sim::SegmentState& y = b.switched.*segment;
    const bool is_same = level == 2 ? std::memcmp(&x, &y, sizeof x) == 0
                                    : x.selector == y.selector && x.base == y.base;
    if (is_same) continue;
    // That one an L1 can read at once.
    if (level != 2 && x.base != y.base && segment == &sim::SwitchedRegisters::fs) {
      return BenchDifference{BenchDifference::What::kMsr, Index(Msr::IA32_FS_BASE), x.base, y.base,
                             ""};
    }
    if (level != 2 && x.base != y.base && segment == &sim::SwitchedRegisters::gs) {
      return BenchDifference{BenchDifference::What::kMsr, Index(Msr::IA32_GS_BASE), x.base, y.base,
                             ""};
    }
    return differ("a segment register", x.base, y.base);
  }
  if (a.io_ports != b.io_ports) return differ("the I/O ports", 0, 0);
  return std::nullopt;
}

std::optional<BenchDifference> CompareMsrs(const ProcessorState& a, const ProcessorState& b,
                                           const VcpuState& l0) {
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

}  // namespace nvmx::fuzz
