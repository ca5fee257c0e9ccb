// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs02.h"

#include "core/nested/entry_conditions.h"
#include "core/nested/event_injection.h"
#include "core/nested/guest_nmi.h"
#include "core/nested/host_state.h"
#include "core/nested/msr_bitmap.h"
#include "core/nested/vmcs02_controls.h"
#include "core/nested/vmcs12.h"
#include "core/vmx/controls.h"
#include "core/vmx/interruption_info.h"
#include "core/x86/control_registers.h"
#include "core/x86/efer.h"

namespace nvmx {
namespace {

// A register that VM entry loads from the VMCS if a control says so, and that else keeps the value
// that it had in L1. SDM Vol. 3C, 27.3.2.1 "Loading Guest Control Registers, Debug Registers, and
// MSRs".
struct LoadedRegister {
  VmcsField field;
  uint32_t load;
};
constexpr LoadedRegister kLoadedRegisters[] = {
    {VmcsField::kGuestIa32Efer, VmEntry::kLoadIa32Efer},
    {VmcsField::kGuestIa32Pat, VmEntry::kLoadIa32Pat},
    {VmcsField::kGuestIa32Debugctl, VmEntry::kLoadDebugControls},
    {VmcsField::kGuestDr7, VmEntry::kLoadDebugControls},
};
constexpr size_t kLoadedRegisterCount = std::size(kLoadedRegisters);

// What L1 has in those that the entry does not load; read while VMCS01 is current.
using L1Registers = std::array<uint64_t, kLoadedRegisterCount>;

L1Registers ReadL1Registers(Vcpu& vcpu) {
  const VmcsImage& v = vcpu.state.vmcs12;
  L1Registers values{};
  for (size_t n = 0; n < kLoadedRegisterCount; ++n) {
    const LoadedRegister& row = kLoadedRegisters[n];
    if (!HasEntry(v, row.load)) values[n] = vcpu.ports.vmcs.Read(row.field);
  }
  return values;
}

// Those that the entry does not load.
FieldSet RegistersOfL1(const VmcsImage& vmcs12) {
  FieldSet fields;
  for (const LoadedRegister& row : kLoadedRegisters) {
    if (!HasEntry(vmcs12, row.load)) fields.Add(row.field);
  }
  return fields;
}

// Written each time, because L1 and L2 can have changed them.
void KeepL1Registers(Vcpu& vcpu, const L1Registers& values) {
  const VmcsImage& v = vcpu.state.vmcs12;
  for (size_t n = 0; n < kLoadedRegisterCount; ++n) {
    const LoadedRegister& row = kLoadedRegisters[n];
    if (HasEntry(v, row.load)) continue;
    uint64_t value = values[n];
    // EFER.LMA follows the mode of the guest all the same, and LME too if there is paging.
    if (row.field == VmcsField::kGuestIa32Efer) {
      const bool paging = (v.Get<VmcsField::kGuestCr0>() & Cr0::kPg) != 0;
      const uint64_t long_mode = paging ? Efer::kLme | Efer::kLma : Efer::kLma;
      value = HasEntry(v, VmEntry::kIa32eModeGuest) ? value | long_mode : value & ~long_mode;
    }
    vcpu.ports.vmcs.Write(row.field, value);
    vcpu.state.vmcs02_stale.Add(row.field);
  }
}

// What L0 has in the fields that are its own, as far as they do not describe the machine: L1's MSR
// lists are processed in software, and so are shadow VMCSs and VM functions.
std::optional<uint64_t> HostOwnedValue(VmcsField field) {
  switch (field) {
    case VmcsField::kVmExitMsrStoreCount:
    case VmcsField::kVmExitMsrLoadCount:
    case VmcsField::kVmEntryMsrLoadCount:
    case VmcsField::kVmFunctionControls:
      return 0;
    case VmcsField::kVmcsLinkPointer:
      return kNoVmcs;
    default:
      return std::nullopt;
  }
}

// The fields that other parts write with each entry.
constexpr FieldSet kWrittenElsewhere = {VmcsField::kVmEntryInterruptionInformation,
                                        VmcsField::kVmEntryExceptionErrorCode,
                                        VmcsField::kVmEntryInstructionLength,
                                        VmcsField::kGuestInterruptibilityState,
                                        VmcsField::kEptPointer,
                                        VmcsField::kVmxPreemptionTimerValue,
                                        VmcsField::kGuestPdpte0,
                                        VmcsField::kGuestPdpte1,
                                        VmcsField::kGuestPdpte2,
                                        VmcsField::kGuestPdpte3};

// What VMCS02 has of a field that is L1's. VMCS02 may be left before it is entered, and must then
// hold what a processor would have loaded. SDM Vol. 3C, 27.3.2.1 "Loading Guest Control Registers,
// Debug Registers, and MSRs": DR7 has bits that no load changes.
uint64_t CopiedValue(const VmcsImage& vmcs12, VmcsField field) {
  const uint64_t value = vmcs12.Read(field);
  return field == VmcsField::kGuestDr7 ? (value & ~Dr7::kFixed0) | Dr7::kFixed1 : value;
}

// The fields whose value in VMCS02 is made in one of these ways.
enum class Making : uint8_t { kCopied, kMerged, kOfHost };
consteval FieldSet FieldsMade(Making making) {
  FieldSet fields;
  for (const VmcsFieldInformation& row : kVmcsFields) {
    switch (row.policy) {
      case Vmcs02Policy::kCopy:
        if (making == Making::kCopied) fields.Add(row.field);
        break;
      case Vmcs02Policy::kMerge:
      case Vmcs02Policy::kTranslateAddress:
        if (making ==
            (Type(row.field) == FieldType::kGuestState ? Making::kCopied : Making::kMerged)) {
          fields.Add(row.field);
        }
        break;
      case Vmcs02Policy::kHostOwned:
        if (making == Making::kOfHost) fields.Add(row.field);
        break;
      case Vmcs02Policy::kExitInformation:
      case Vmcs02Policy::kUnused:
        break;
    }
  }
  return fields - kWrittenElsewhere;
}
constexpr FieldSet kCopied = FieldsMade(Making::kCopied);
constexpr FieldSet kMerged = FieldsMade(Making::kMerged);
constexpr FieldSet kOfHost = FieldsMade(Making::kOfHost);

// A control without a value is one that VMCS02 does without.
void WriteStaleFields(Vcpu& vcpu, const FieldSet& fields) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const FieldSet there = fields & vcpu.state.offered_fields;
  (there & kCopied).ForEach([&](VmcsField field) {
    vmcs.Write(field, CopiedValue(vcpu.state.vmcs12, field));
  });
  const auto write_if_any = [&](VmcsField field, std::optional<uint64_t> value) {
    if (value) vmcs.Write(field, *value);
  };
  (there & kMerged).ForEach([&](VmcsField field) {
    write_if_any(field, MergedControl(vcpu, field));
  });
  (there & kOfHost).ForEach([&](VmcsField field) { write_if_any(field, HostOwnedValue(field)); });
  vcpu.state.vmcs02_stale -= fields;
}

// CR0 in VMCS02 is that of VMCS12, but for the bits that VM entry leaves as L1 has them: they
// differ only if L1 has changed them since.
void KeepUnloadedBitsOfCr0(Vcpu& vcpu, uint64_t cr0_of_l1) {
  const uint64_t cr0 = vcpu.state.vmcs12.Get<VmcsField::kGuestCr0>();
  if (((cr0 ^ cr0_of_l1) & ~kLoadedBitsOfCr0) == 0) return;
  vcpu.ports.vmcs.Write(VmcsField::kGuestCr0,
                        (cr0 & kLoadedBitsOfCr0) | (cr0_of_l1 & ~kLoadedBitsOfCr0));
  vcpu.state.vmcs02_stale.Add(VmcsField::kGuestCr0);
}

void WriteInjection(Vcpu& vcpu) {
  const InterruptionInformation event(
      vcpu.state.vmcs12.Get<VmcsField::kVmEntryInterruptionInformation>());
  // The exit has cleared the valid bit in VMCS02 too.
  if (event.valid() || InjectionPending(vcpu)) InjectEventOfVmcs12(vcpu);
}

}  // namespace

void BuildVmcs02(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  Vmcs& vmcs = vcpu.ports.vmcs;
  const Vmcs01Inputs inputs = ReadVmcs01Inputs(vcpu);
  if (inputs != state.vmcs01_inputs) {
    state.vmcs01_inputs = inputs;
    state.vmcs02_stale |= kControlsThatDependOnVmcs01;
  }
  const L1Registers registers = ReadL1Registers(vcpu);
  const uint64_t cr0_of_l1 = vmcs.Read(VmcsField::kGuestCr0);
  vmcs.MakeCurrent(VmcsRole::kVmcs02);
  // The list loads L2's registers into VMCS02. If it fails VMCS12 is what it was before.
  if (state.vmcs12.Get<VmcsField::kVmEntryMsrLoadCount>() != 0) SaveRegistersThatEntryLoads(vcpu);
  WriteStaleFields(vcpu, state.vmcs02_stale - RegistersOfL1(state.vmcs12));
  KeepL1Registers(vcpu, registers);
  KeepUnloadedBitsOfCr0(vcpu, cr0_of_l1);
  vmcs.Write(VmcsField::kGuestInterruptibilityState,
             EnterL2NmiBlocking(vcpu, state.vmcs12.Get<VmcsField::kGuestInterruptibilityState>()));
  MergeMsrBitmap(vcpu);
  WriteInjection(vcpu);
}

void TranslateAddressesAgain(Vcpu& vcpu) {
  vcpu.state.vmcs02_stale |= kControlsThatDependOnEpt01;
  WriteStaleFields(vcpu, kControlsThatDependOnEpt01);
}

bool HasTranslatedAddresses(const VmcsImage& vmcs12) {
  return HasPrimary(vmcs12, PrimaryProcessorBased::kUseIoBitmaps) ||
         HasPrimary(vmcs12, PrimaryProcessorBased::kUseTprShadow) ||
         HasSecondary(vmcs12, Secondary::kVirtualizeApicAccesses);
}

}  // namespace nvmx
