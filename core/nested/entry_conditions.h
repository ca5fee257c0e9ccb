// SPDX-License-Identifier: Apache-2.0
//
// What the conditions of entry_rules.def are made of, but for those about segment registers
// (entry_segments.h). Functions of the VMCS12 and of the capabilities that L1 was offered.
#ifndef NVMX_CORE_NESTED_ENTRY_CONDITIONS_H_
#define NVMX_CORE_NESTED_ENTRY_CONDITIONS_H_

#include <cstdint>

#include "core/nested/entry_surroundings.h"
#include "core/nested/offered_capabilities.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruptibility.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/vmcs_image.h"
#include "core/x86/address.h"

namespace nvmx {

// True if all these controls are 1.
inline bool HasPin(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kPinBasedControls>() & bits) == bits;
}
inline bool HasPrimary(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kPrimaryProcessorBasedControls>() & bits) == bits;
}
// True if these secondary controls are 1 and count, because secondary controls are activated.
inline bool HasSecondary(const VmcsImage& v, uint32_t bits) {
  return HasPrimary(v, PrimaryProcessorBased::kActivateSecondaryControls) &&
         (v.Get<VmcsField::kSecondaryProcessorBasedControls>() & bits) == bits;
}
// True if these VM functions are enabled.
inline bool HasVmFunction(const VmcsImage& v, uint64_t bits) {
  return HasSecondary(v, Secondary::kEnableVmFunctions) &&
         (v.Get<VmcsField::kVmFunctionControls>() & bits) == bits;
}
inline bool HasExit(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kVmExitControls>() & bits) == bits;
}
inline bool HasEntry(const VmcsImage& v, uint32_t bits) {
  return (v.Get<VmcsField::kVmEntryControls>() & bits) == bits;
}

// The event that the entry is to inject; not valid() if it injects none.
inline InterruptionInformation Injection(const VmcsImage& v) {
  return InterruptionInformation(v.Get<VmcsField::kVmEntryInterruptionInformation>());
}
inline bool InjectsExternalInterrupt(const VmcsImage& v) {
  return Injection(v).valid() && Injection(v).type() == InterruptionType::kExternalInterrupt;
}

// --- The injected event: SDM Vol. 3C, 27.2.1.3 "VM-Entry Control Fields" ---

bool IsInjectableType(InterruptionType type, const Capabilities& c);
bool VectorFitsType(InterruptionInformation event);
// True if the deliver-error-code bit is what the event, CR0.PE of the guest and
// IA32_VMX_BASIC[56] make of it.
bool DeliverErrorCodeFitsEvent(const VmcsImage& v, const Capabilities& c);
// True if the length is one that an instruction can have, or the event needs none.
bool InstructionLengthFitsEvent(const VmcsImage& v, const Capabilities& c);

// --- Addresses: SDM Vol. 3C, 27.2.1.1 "VM-Execution Control Fields" ---

// True if a 4-KByte page can lie at the address.
inline bool IsPageAddress(const Capabilities& c, uint64_t address) {
  return IsAligned(address) &&
         IsWithinWidth(address, 1, static_cast<unsigned>(c.physical_address_width));
}
template <typename... Fields>
bool ArePageAddresses(const VmcsImage& v, const Capabilities& c, Fields... fields) {
  return (IsPageAddress(c, v.Read(fields)) && ...);
}

// True if the TPR of the virtual-APIC page is not below the threshold, where that is checked.
bool TprIsNotBelowThreshold(const VmcsImage& v, const EntrySurroundings& e);

// --- Registers ---

// True if each bit of fixed0 is 1 and each bit outside fixed1 is 0.
inline bool HonoursFixedBits(uint64_t value, uint64_t fixed0, uint64_t fixed1) {
  return (fixed0 & ~value) == 0 && (value & ~fixed1) == 0;
}
// True if all `bits` of `value` are 1.
inline bool HasAll(uint64_t value, uint64_t bits) { return (value & bits) == bits; }
// True if bits 63:32 are 0.
inline bool FitsIn32Bits(uint64_t value) { return value >> 32 == 0; }
// True if the linear address is canonical on the CPU that L1 was offered.
inline bool IsCanonical(const Capabilities& c, uint64_t linear) {
  return IsCanonical(linear, static_cast<unsigned>(c.linear_address_width));
}
// True if the linear address of each field is canonical.
template <typename... Fields>
bool AreCanonical(const VmcsImage& v, const Capabilities& c, Fields... fields) {
  return (IsCanonical(c, v.Read(fields)) && ...);
}

// The bits of CR0 that must be 1 in this guest.
uint64_t GuestCr0Fixed0(const VmcsImage& v, const Capabilities& c);
// True if TI and RPL are 0 in every selector of the host-state area.
bool HostSelectorsAreOfRing0InTheGdt(const VmcsImage& v);
// True if RIP is one that the mode of the guest allows.
bool GuestRipFitsMode(const VmcsImage& v, const Capabilities& c);

// --- Non-register state: SDM Vol. 3C, 27.3.1.5 "Checks on Guest Non-Register State" ---

// The bits that the processor has which L1 was offered: one without SGX, RTM and bus-lock detection.
inline constexpr uint32_t kOfferedInterruptibility =
    Interruptibility::kDefined & ~Interruptibility::kEnclaveInterruption;
inline constexpr uint64_t kOfferedPendingDebugExceptions =
    PendingDebugExceptions::kDefined &
    ~(PendingDebugExceptions::kBld | PendingDebugExceptions::kRtm);

inline bool IsInActivityState(const VmcsImage& v, ActivityState state) {
  return v.Get<VmcsField::kGuestActivityState>() == static_cast<uint32_t>(state);
}
inline bool HasInterruptibility(const VmcsImage& v, uint32_t bits) {
  return HasAll(v.Get<VmcsField::kGuestInterruptibilityState>(), bits);
}
// True if the guest is to be in blocking by STI, by MOV SS, or both.
inline bool IsBlockedForOneInstruction(const VmcsImage& v) {
  return HasInterruptibility(v, Interruptibility::kBlockingBySti) ||
         HasInterruptibility(v, Interruptibility::kBlockingByMovSs);
}

bool IsOfferedActivityState(uint32_t state, const Capabilities& c);
// True if an event of this kind leaves that state, or none is injected.
bool InjectionFitsActivityState(const VmcsImage& v);
// True if the pending single step is what RFLAGS.TF and IA32_DEBUGCTL.BTF make of it, where that
// is checked.
bool PendingSingleStepFitsFlags(const VmcsImage& v);

// The VMCS link pointer; all ones: there is no such VMCS, and nothing is checked.
inline bool HasLinkedVmcs(const VmcsImage& v) {
  return v.Get<VmcsField::kVmcsLinkPointer>() != ~uint64_t{0};
}
// True if the region has the revision identifier of this CPU, and its shadow-VMCS indicator is the
// setting of "VMCS shadowing".
bool LinkedVmcsIsOfTheRightKind(const VmcsImage& v, const Capabilities& c,
                                const EntrySurroundings& e);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_ENTRY_CONDITIONS_H_
