// SPDX-License-Identifier: Apache-2.0
//
// The local APIC of the CPU that calls, in xAPIC or x2APIC mode, whichever it is in. SDM Vol. 3A,
// 11.6 "Issuing Interprocessor Interrupts", 11.12 "Extended XAPIC (x2APIC)".
#ifndef NVMX_BACKENDS_VMX_HW_MACHINE_LOCAL_APIC_H_
#define NVMX_BACKENDS_VMX_HW_MACHINE_LOCAL_APIC_H_

#include <cstdint>

namespace nvmx::metal {

inline constexpr uint32_t kX2apicIcrMsr = 0x830;

uint32_t ReadApicId();
bool IsInX2apicMode();
// Where the registers lie in xAPIC mode.
uint64_t ApicAddress();
// What the ICR's upper half holds in xAPIC mode.
uint32_t ReadIcrHigh();

// Each returns once the local APIC has sent it. What an ICR held before is in it again afterwards:
// in xAPIC mode somebody else may have written its upper half and not yet the lower.
void SendNmi(uint32_t apic_id);
void SendNmiToAllOthers();
void SendInit(uint32_t apic_id);
// Starts a CPU that waits for it in real mode at `page` * 4096; `page` is below 256.
void SendSipi(uint32_t apic_id, uint8_t page);

// Waits, by the PIT's channel 2 (SDM names no timer; it runs at 1193182 Hz on every PC).
void DelayMicroseconds(uint32_t microseconds);

}  // namespace nvmx::metal

#endif  // NVMX_BACKENDS_VMX_HW_MACHINE_LOCAL_APIC_H_
