// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_STATE_H_
#define NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_STATE_H_

#include <array>
#include <cstdint>
#include <type_traits>

#include "backends/sim/machine/vmcs_cache.h"
#include "core/x86/mtrr.h"

namespace nvmx::sim {

// What a simulated logical processor holds. Values only, without padding: equal bytes are equal
// states, and a digest of the bytes is a digest of the state. What other CPUs can change (the NMI
// latch) is not here but in the machine.

struct SegmentState {
  uint64_t selector, base, limit, access_rights;
};

// The registers that VM entries and VM exits switch.
struct SwitchedRegisters {
  uint64_t rip, rsp, rflags;
  uint64_t cr0, cr3, cr4, dr7;
  SegmentState es, cs, ss, ds, fs, gs, ldtr, tr;
  uint64_t gdtr_base, gdtr_limit, idtr_base, idtr_limit;
  uint64_t debugctl, pat, efer, sysenter_cs, sysenter_esp, sysenter_eip, perf_global_ctrl;
  // In the format of the VMCS field. Outside VMX operation too: what is to be a #DB at the next
  // instruction boundary.
  uint64_t pending_debug_exceptions;
  std::array<uint64_t, 4> pdptes;  // meaningful with PAE paging
};

// MSRs that the simulated processor has beside those that it keeps elsewhere. Writable without
// restriction but for what Processor::WriteMsr() checks.
struct PlainMsrs {
  uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
  uint64_t apic_base, misc_enable, bios_sign_id;
  std::array<uint64_t, 16> machine_check;  // four banks of CTL, STATUS, ADDR, MISC
};

// kOff: outside VMX operation, which only a processor without L0 ever is.
enum class Operation : uint64_t { kOff, kRoot, kNonRoot };

// I/O ports below this number hold the byte that was written last; all others read as all ones.
inline constexpr uint64_t kIoPortCount = 0x100;

struct ProcessorState {
  std::array<uint64_t, 16> registers;  // RAX..R15; RSP is in `switched`
  uint64_t cr2;
  std::array<uint64_t, 4> debug_addresses;  // DR0..DR3
  uint64_t dr6;
  uint64_t tpr;  // of the local APIC; CR8 is bits 7:4
  uint64_t xcr0;
  SwitchedRegisters switched;
  PlainMsrs plain;
  MtrrSettings mtrr;

  Operation operation;
  uint64_t activity_state;  // as in the VMCS
  uint64_t blocking_by_sti, blocking_by_mov_ss;
  uint64_t nmi_blocked;          // physical NMIs are blocked
  uint64_t virtual_nmi_blocked;  // meaningful in non-root operation with virtual NMIs
  uint64_t tsc;
  uint64_t preemption_timer;   // meaningful in non-root operation if the timer is active
  uint64_t mtf_pending;        // an MTF VM exit is due at the instruction boundary
  uint64_t tpr_below_pending;  // a TPR-below-threshold VM exit is
  uint64_t monitor_armed;      // by MONITOR, for MWAIT
  uint64_t random_numbers;     // how many RDRAND and RDSEED have given
  std::array<uint64_t, kIoPortCount / 8> io_ports;  // a byte each, the lowest first

  // Without L0, in VMX operation: the VMXON pointer and the current-VMCS pointer.
  uint64_t vmxon_pointer;
  uint64_t current_vmcs_pointer;  // kNoVmcs if there is none
  uint64_t current_vmcs;          // its slot in `vmcs`; any slot if there is none
  uint64_t vmx_abort;             // the VmxAbort that stopped the processor until RESET, or 0
  VmcsSlots vmcs;
};
static_assert(std::is_trivially_copyable_v<ProcessorState>);
static_assert(std::has_unique_object_representations_v<ProcessorState>);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_PROCESSOR_STATE_H_
