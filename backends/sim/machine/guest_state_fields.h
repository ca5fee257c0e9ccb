// SPDX-License-Identifier: Apache-2.0
//
// Which registers VM entry loads from, and VM exit saves to, which guest-state fields, whatever the
// controls say. SDM Vol. 3C, 25.4.1 "Guest Register State".
#ifndef NVMX_BACKENDS_SIM_MACHINE_GUEST_STATE_FIELDS_H_
#define NVMX_BACKENDS_SIM_MACHINE_GUEST_STATE_FIELDS_H_

#include <cstdint>

#include "backends/sim/machine/processor_state.h"
#include "core/vmx/vmcs_field.h"
#include "core/x86/control_registers.h"

// For the loops over these tables: unrolled, the slot of each field is a constant. Half of the time
// of a guest program on the core is VM entries and VM exits.
#define NVMX_UNROLL _Pragma("clang loop unroll(full)")

namespace nvmx::sim {

struct GuestRegister {
  uint64_t SwitchedRegisters::*member;
  VmcsField field;
};
inline constexpr GuestRegister kGuestRegisters[] = {
    {&SwitchedRegisters::rip, VmcsField::kGuestRip},
    {&SwitchedRegisters::rsp, VmcsField::kGuestRsp},
    {&SwitchedRegisters::rflags, VmcsField::kGuestRflags},
    {&SwitchedRegisters::cr0, VmcsField::kGuestCr0},
    {&SwitchedRegisters::cr3, VmcsField::kGuestCr3},
    {&SwitchedRegisters::cr4, VmcsField::kGuestCr4},
    {&SwitchedRegisters::gdtr_base, VmcsField::kGuestGdtrBase},
    {&SwitchedRegisters::gdtr_limit, VmcsField::kGuestGdtrLimit},
    {&SwitchedRegisters::idtr_base, VmcsField::kGuestIdtrBase},
    {&SwitchedRegisters::idtr_limit, VmcsField::kGuestIdtrLimit},
    {&SwitchedRegisters::sysenter_cs, VmcsField::kGuestIa32SysenterCs},
    {&SwitchedRegisters::sysenter_esp, VmcsField::kGuestIa32SysenterEsp},
    {&SwitchedRegisters::sysenter_eip, VmcsField::kGuestIa32SysenterEip},
    {&SwitchedRegisters::pending_debug_exceptions, VmcsField::kGuestPendingDebugExceptions},
};

struct GuestSegment {
  SegmentState SwitchedRegisters::*member;
  VmcsField selector, base, limit, access_rights;
};
#define NVMX_SEGMENT(member, name)                                                                \
  {                                                                                               \
    &SwitchedRegisters::member, VmcsField::kGuest##name##Selector, VmcsField::kGuest##name##Base, \
        VmcsField::kGuest##name##Limit, VmcsField::kGuest##name##AccessRights                     \
  }
inline constexpr GuestSegment kGuestSegments[] = {
    NVMX_SEGMENT(es, Es), NVMX_SEGMENT(cs, Cs), NVMX_SEGMENT(ss, Ss),     NVMX_SEGMENT(ds, Ds),
    NVMX_SEGMENT(fs, Fs), NVMX_SEGMENT(gs, Gs), NVMX_SEGMENT(ldtr, Ldtr), NVMX_SEGMENT(tr, Tr)};
#undef NVMX_SEGMENT

inline constexpr VmcsField kGuestPdptes[] = {VmcsField::kGuestPdpte0, VmcsField::kGuestPdpte1,
                                             VmcsField::kGuestPdpte2, VmcsField::kGuestPdpte3};

// The bits of CR0 that neither VM entries nor VM exits modify, but for ET, which is always 1.
// SDM Vol. 3C, 27.3.2.1 "Loading Guest Control Registers, Debug Registers, and MSRs"; 28.5.1
// "Loading Host Control Registers, Debug Registers, MSRs".
inline constexpr uint64_t kCr0NotSwitched = 0xFFFFFFFF'00000000 | Cr0::kNw | Cr0::kCd |
                                            uint64_t{0x3FF} << 19 | uint64_t{1} << 17 |
                                            uint64_t{0x3FF} << 6;

constexpr uint64_t SwitchCr0(uint64_t old_value, uint64_t field) {
  return (old_value & kCr0NotSwitched) | (field & ~kCr0NotSwitched) | Cr0::kEt;
}

// Where the PDPTEs lie that CR3 names. SDM Vol. 3A, 5.4 "PAE Paging".
constexpr uint64_t PdptAddress(uint64_t cr3) { return cr3 & 0xFFFFFFE0; }

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_GUEST_STATE_FIELDS_H_
