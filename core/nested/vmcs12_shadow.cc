// SPDX-License-Identifier: Apache-2.0
#include "core/nested/vmcs12_shadow.h"

#include "core/nested/field_set.h"
#include "core/nested/vmcs12.h"
#include "core/vmx/bitmaps.h"
#include "core/vmx/capabilities.h"
#include "core/vmx/controls.h"

namespace nvmx {
namespace {

// Each costs an access with every entry and exit, so they are those that most of both pay for. All
// are fields that an exit saves into VMCS12 (vmcs12.h), or controls.
constexpr FieldSet kWritable = {
    VmcsField::kPrimaryProcessorBasedControls,
    VmcsField::kExceptionBitmap,
    VmcsField::kVmEntryInterruptionInformation,
    VmcsField::kVmEntryExceptionErrorCode,
    VmcsField::kVmEntryInstructionLength,
    VmcsField::kTprThreshold,
    VmcsField::kCr0ReadShadow,
    VmcsField::kCr4ReadShadow,
    VmcsField::kGuestInterruptibilityState,
    VmcsField::kGuestCr0,
    VmcsField::kGuestCr3,
    VmcsField::kGuestCr4,
    VmcsField::kGuestRsp,
    VmcsField::kGuestRip,
    VmcsField::kGuestRflags,
};
constexpr FieldSet kReadable = kWritable | FieldSet{
                                               VmcsField::kExitReason,
                                               VmcsField::kExitQualification,
                                               VmcsField::kGuestLinearAddress,
                                               VmcsField::kGuestPhysicalAddress,
                                               VmcsField::kVmExitInterruptionInformation,
                                               VmcsField::kVmExitInterruptionErrorCode,
                                               VmcsField::kIdtVectoringInformation,
                                               VmcsField::kIdtVectoringErrorCode,
                                               VmcsField::kVmExitInstructionLength,
                                               VmcsField::kVmExitInstructionInformation,
                                               VmcsField::kGuestCsAccessRights,
                                               VmcsField::kGuestSsAccessRights,
                                           };

enum ShadowPage : size_t { kShadowVmcsPage, kVmreadBitmapPage, kVmwriteBitmapPage };

// The bits of other fields, of high halves, and of what is no field are 1: those accesses exit.
void FillBitmap(HostPage& page, const FieldSet& shadowed) {
  constexpr uint32_t kBits = 64;
  page.words.fill(~uint64_t{0});
  shadowed.ForEach([&](VmcsField field) {
    page.words[Encoding(field) / kBits] &= ~(uint64_t{1} << Encoding(field) % kBits);
  });
}

void SetShadowing(Vcpu& vcpu, bool on) {
  Vmcs& vmcs = vcpu.ports.vmcs;
  const uint64_t old = vmcs.Read(VmcsField::kSecondaryProcessorBasedControls);
  const uint64_t bit = Secondary::kVmcsShadowing;
  vmcs.Write(VmcsField::kSecondaryProcessorBasedControls, on ? old | bit : old & ~bit);
  vmcs.Write(VmcsField::kVmcsLinkPointer,
             on ? vcpu.shadow_pages.AddressOf(kShadowVmcsPage).value : kNoVmcs);
  vcpu.state.shadowing = on ? Shadowing::kOn : Shadowing::kOff;
}

}  // namespace

void InitializeShadowing(Vcpu& vcpu) {
  const Capabilities& offered = vcpu.state.offered;
  // What is offered is what the processor has. Without VMWRITE of any field L0 could not put exit
  // information there.
  if (vcpu.shadow_pages.pages.empty() || !offered.SupportsSecondary(Secondary::kVmcsShadowing) ||
      (offered.misc & VmxMisc::kVmwriteToAnyField) == 0) {
    return;
  }
  FillBitmap(vcpu.shadow_pages.pages[kVmreadBitmapPage], kReadable);
  FillBitmap(vcpu.shadow_pages.pages[kVmwriteBitmapPage], kWritable);
  vcpu.ports.vmcs.Write(VmcsField::kVmreadBitmapAddress,
                        vcpu.shadow_pages.AddressOf(kVmreadBitmapPage).value);
  vcpu.ports.vmcs.Write(VmcsField::kVmwriteBitmapAddress,
                        vcpu.shadow_pages.AddressOf(kVmwriteBitmapPage).value);
  vcpu.state.shadowing = Shadowing::kOff;
}

bool IsShadowed(VmcsField field) { return kReadable.Has(field); }
bool IsShadowedForWrite(VmcsField field) { return kWritable.Has(field); }

void FetchFromShadow(Vcpu& vcpu) {
  VcpuState& state = vcpu.state;
  if (state.shadowing != Shadowing::kOn) return;
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.MakeCurrent(VmcsRole::kShadow);
  (kWritable & state.offered_fields).ForEachSlot([&](size_t slot) {
    const uint64_t value = vmcs.Read(FieldAt(slot));
    if (value != state.vmcs12.ReadSlot(slot)) ChangeVmcs12(vcpu, FieldAt(slot), value);
  });
  vmcs.MakeCurrent(VmcsRole::kVmcs01);
}

void StoreIntoShadow(Vcpu& vcpu) {
  const VcpuState& state = vcpu.state;
  if (state.shadowing != Shadowing::kOn) return;
  Vmcs& vmcs = vcpu.ports.vmcs;
  vmcs.MakeCurrent(VmcsRole::kShadow);
  (kReadable & state.offered_fields).ForEachSlot([&](size_t slot) {
    vmcs.Write(FieldAt(slot), state.vmcs12.ReadSlot(slot));
  });
}

void BeginShadowing(Vcpu& vcpu) {
  if (vcpu.state.shadowing == Shadowing::kAbsent) return;
  if (vcpu.state.shadowing == Shadowing::kOff) SetShadowing(vcpu, true);
  StoreIntoShadow(vcpu);
  vcpu.ports.vmcs.MakeCurrent(VmcsRole::kVmcs01);
}

void EndShadowing(Vcpu& vcpu) {
  if (vcpu.state.shadowing == Shadowing::kOn) SetShadowing(vcpu, false);
}

}  // namespace nvmx
