// SPDX-License-Identifier: Apache-2.0
//
// The checks of VM entry on VMX controls, host state and guest state, as rules over values.
// Source: SDM Vol. 3C, 27.2 "Checks on VMX Controls and Host-State Area", 27.3.1 "Checks on the
// Guest State Area".
#ifndef NVMX_BACKENDS_SIM_MACHINE_VM_ENTRY_CHECKS_H_
#define NVMX_BACKENDS_SIM_MACHINE_VM_ENTRY_CHECKS_H_

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <utility>

#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/vmx/outcomes.h"
#include "core/vmx/vmcs_image.h"
#include "core/x86/address.h"
#include "core/x86/segment.h"

namespace nvmx::sim {

// The physical memory that the checks look at: the virtual-APIC page, the region that the VMCS link
// pointer names, and PDPTEs.
class EntryMemory {
 public:
  // Copies from `address`; all ones where nothing answers.
  virtual void ReadPhysical(uint64_t address, std::span<std::byte> bytes) const = 0;

 protected:
  ~EntryMemory() = default;
};

// A guest segment register, as the guest-state area has it.
struct EntrySegment {
  uint16_t selector;
  uint64_t base;
  uint32_t limit;
  AccessRights rights;
};

// Everything that a VM entry is judged by.
struct EntryInput {
  const VmcsImage& vmcs;
  const Capabilities& capabilities;
  const EntryMemory& memory;
  // The physical address of the VMCS, which the VMCS link pointer must not name.
  uint64_t current_vmcs;
  // IA32_EFER.LMA at the time of the VM entry.
  bool long_mode;

  template <VmcsField F>
  FieldValue<F> Get() const {
    return vmcs.Get<F>();
  }
  // Whether one of the controls is 1. What is not activated counts as 0.
  bool Pin(uint32_t control) const { return (Get<VmcsField::kPinBasedControls>() & control) != 0; }
  bool Primary(uint32_t control) const {
    return (Get<VmcsField::kPrimaryProcessorBasedControls>() & control) != 0;
  }
  bool Secondary(uint32_t control) const {
    return Primary(PrimaryProcessorBased::kActivateSecondaryControls) &&
           (Get<VmcsField::kSecondaryProcessorBasedControls>() & control) != 0;
  }
  bool Exit(uint32_t control) const { return (Get<VmcsField::kVmExitControls>() & control) != 0; }
  bool Entry(uint32_t control) const { return (Get<VmcsField::kVmEntryControls>() & control) != 0; }

  InterruptionInformation Injected() const {
    return InterruptionInformation(Get<VmcsField::kVmEntryInterruptionInformation>());
  }
  EntrySegment Segment(SegmentRegister segment) const {
    const auto read = [&](VmcsField of_es) {
      return vmcs.Read(
          static_cast<VmcsField>(Encoding(of_es) + 2 * static_cast<uint32_t>(segment)));
    };
    return {static_cast<uint16_t>(read(VmcsField::kGuestEsSelector)), read(VmcsField::kGuestEsBase),
            static_cast<uint32_t>(read(VmcsField::kGuestEsLimit)),
            AccessRights{static_cast<uint32_t>(read(VmcsField::kGuestEsAccessRights))}};
  }

  // No bit of the address of a VMX structure lies beyond what the processor has. SDM Vol. 3D, A.1
  // "Basic VMX Information", bit 48.
  bool IsVmxAddress(uint64_t address, uint64_t length = 1) const {
    const bool limited = (capabilities.basic & VmxBasic::kAddressesLimitedTo32Bits) != 0;
    return IsWithinWidth(address, length,
                         limited ? 32 : static_cast<unsigned>(capabilities.physical_address_width));
  }
  // The same, and 4-KByte aligned.
  bool IsVmxPage(uint64_t address) const { return IsAligned(address) && IsVmxAddress(address); }
  bool IsPhysical(uint64_t address) const {
    return IsWithinWidth(address, 1, static_cast<unsigned>(capabilities.physical_address_width));
  }
  bool IsCanonical(uint64_t linear) const {
    return nvmx::IsCanonical(linear, static_cast<unsigned>(capabilities.linear_address_width));
  }
};

struct EntryRule {
  const char* name;
  bool (*holds)(const EntryInput& input);
  // The exit qualification if a rule about the guest-state area is broken.
  uint64_t qualification = 0;
};

// The first rule of the table that does not hold, or null. The functions are named at compile time,
// so that a VM entry, which asks them all, is straight code and no hundred calls through pointers.
template <const auto& kTable>
const EntryRule* FirstBroken(const EntryInput& input) {
  return [&]<size_t... Row>(std::index_sequence<Row...>) {
    const EntryRule* broken = nullptr;
    static_cast<void>(((kTable[Row].holds(input) || (broken = &kTable[Row], false)) && ...));
    return broken;
  }
  (std::make_index_sequence<std::size(kTable)>());
}

// A table of rules, with FirstBroken() of it.
struct EntryRules : std::span<const EntryRule> {
  template <size_t N>
  constexpr EntryRules(const EntryRule (&table)[N],
                       const EntryRule* (*first_broken)(const EntryInput&))
      : std::span<const EntryRule>(table), first_broken(first_broken) {}

  const EntryRule* (*first_broken)(const EntryInput& input);
};

// The rules in the order of the SDM: 27.2.1.1, 27.2.1.2, 27.2.1.3; 27.2.2 to 27.2.4; 27.3.1.1 to
// 27.3.1.6. A rule may count on those before it.
EntryRules ExecutionControlRules();
EntryRules ExitControlRules();
EntryRules EntryControlRules();
EntryRules HostStateRules();
EntryRules GuestRegisterRules();
EntryRules GuestSegmentRules();
EntryRules GuestNonRegisterRules();

// What the checks let become of the VM entry: Entered if they pass; with the name of the first
// broken rule otherwise. They are made in this order.
// Fail with VM-instruction error 7.
EntryOutcome CheckControls(const EntryInput& input);
// Fail with VM-instruction error 8.
EntryOutcome CheckHostState(const EntryInput& input);
// EntryFailure with basic exit reason 33.
EntryOutcome CheckGuestState(const EntryInput& input);

// One of the MSR lists passes: an empty one always. SDM Vol. 3C, 27.2.1.2, 27.2.1.3.
bool IsMsrListValid(const EntryInput& input, uint64_t address, uint32_t count);

// Whether VM entry to this guest uses PAE paging. SDM Vol. 3C, 27.3.1.6 "Checks on Guest
// Page-Directory-Pointer-Table Entries".
bool UsesPaePaging(const EntryInput& input);

// Whether MOV to CR3 would accept the four PDPTEs. SDM Vol. 3A, 5.4.1 "PDPTE Registers".
bool ArePdptesValid(std::span<const uint64_t, 4> pdptes, const Capabilities& capabilities);

// The control holds a supported EPTP: VM entry and EPTP switching ask the same. SDM Vol. 3C,
// 27.2.1.1, 26.5.6.3 "EPTP Switching".
bool IsEptpValid(uint64_t eptp, const Capabilities& capabilities);

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_MACHINE_VM_ENTRY_CHECKS_H_
