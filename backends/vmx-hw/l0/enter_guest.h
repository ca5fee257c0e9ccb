// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VMX_HW_L0_ENTER_GUEST_H_
#define NVMX_BACKENDS_VMX_HW_L0_ENTER_GUEST_H_

#include <cstdint>

extern "C" {

enum EnterGuestResult : uint32_t {
  kGuestExited = 0,     // the registers are in place again
  kNmiBeforeEntry = 1,  // the mark was set; nothing has happened
  kVmfail = 2,
};

// VMLAUNCH or VMRESUME of the current VMCS with these registers (by encoding; RSP is not used).
// `nmi_mark` is what the NMI handler sets. If it is not 0, or becomes so before the very VM entry,
// there is none: whoever took the last look at pending NMIs has to look again.
EnterGuestResult EnterGuest(uint64_t* registers, uint64_t is_launched, const uint32_t* nmi_mark);
// HOST_RIP.
void GuestExit();

// Halts until an NMI is taken, unless the mark is set or becomes so before.
void WaitForNmi(const uint32_t* nmi_mark);
// Code in which the NMI handler replaces RIP by wait_for_nmi_end.
extern const char wait_for_nmi_begin[];
extern const char wait_for_nmi_end[];

// Code in which the NMI handler replaces RIP by EnterGuestAgain.
extern const char enter_guest_begin[];
extern const char enter_guest_end[];
void EnterGuestAgain();

}  // extern "C"

#endif  // NVMX_BACKENDS_VMX_HW_L0_ENTER_GUEST_H_
