// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_surroundings.h"

#include "core/nested/entry_conditions.h"
#include "core/nested/pdptes.h"
#include "core/nested/perf_global_ctrl.h"
#include "core/nested/vmcs12.h"
#include "core/vmx/controls.h"
#include "core/x86/efer.h"

namespace nvmx {
namespace {

// A value in L1's memory, all ones where nothing answers; `unread` if the address is not one that
// the checks let through, so that it is not used.
template <typename T>
T ReadOnPage(Vcpu& vcpu, uint64_t page, uint64_t offset, T unread) {
  if (!IsPageAddress(vcpu.state.offered, page)) return unread;
  T value;
  if (!vcpu.ports.memory.ReadValue(GuestPhysicalAddress{page + offset}, value)) {
    return static_cast<T>(~T{0});
  }
  return value;
}

#define NVMX_SEGMENT(name)                                          \
  VmcsField::kGuest##name##Selector, VmcsField::kGuest##name##Base, \
      VmcsField::kGuest##name##Limit, VmcsField::kGuest##name##AccessRights
// What the rules about segment registers look at.
constexpr FieldSet kSegments = {NVMX_SEGMENT(Es),
                                NVMX_SEGMENT(Cs),
                                NVMX_SEGMENT(Ss),
                                NVMX_SEGMENT(Ds),
                                NVMX_SEGMENT(Fs),
                                NVMX_SEGMENT(Gs),
                                NVMX_SEGMENT(Ldtr),
                                NVMX_SEGMENT(Tr),
                                VmcsField::kGuestRflags,
                                VmcsField::kGuestCr0,
                                VmcsField::kVmEntryControls,
                                VmcsField::kPrimaryProcessorBasedControls,
                                VmcsField::kSecondaryProcessorBasedControls};
#undef NVMX_SEGMENT

}  // namespace

uint8_t ReadVtpr(Vcpu& vcpu) {
  constexpr uint64_t kVtprOffset = 0x80;
  return ReadOnPage(vcpu, vcpu.state.vmcs12.Get<VmcsField::kVirtualApicAddress>(), kVtprOffset,
                    uint8_t{0});
}

EntrySurroundings ReadEntrySurroundings(Vcpu& vcpu) {
  const VmcsImage& v = vcpu.state.vmcs12;
  EntrySurroundings e;
  e.segments_are_as_l2_left_them = !vcpu.state.vmcs02_stale.Intersects(kSegments);
  if (!e.segments_are_as_l2_left_them) CompleteVmcs12(vcpu);
  e.l1_in_ia32e_mode = (vcpu.ports.vmcs.Read(VmcsField::kGuestIa32Efer) & Efer::kLma) != 0;
  e.current_vmcs = vcpu.state.current_vmcs;
  if (HasPrimary(v, PrimaryProcessorBased::kUseTprShadow)) e.vtpr = ReadVtpr(vcpu);
  if (HasLinkedVmcs(v)) {
    e.linked_revision =
        ReadOnPage(vcpu, v.Get<VmcsField::kVmcsLinkPointer>(), 0, e.linked_revision);
  }
  if (HasExit(v, VmExit::kLoadIa32PerfGlobalCtrl) ||
      HasEntry(v, VmEntry::kLoadIa32PerfGlobalCtrl)) {
    e.perf_global_ctrl_reserved = ~PerfGlobalCtrlBits(vcpu.ports.cpu);
  }
  if (const std::optional<Pdptes> pdptes = PdptesOfVmcs12(vcpu)) {
    e.pdptes_are_valid =
        AreValidPdptes(*pdptes, static_cast<unsigned>(vcpu.state.offered.physical_address_width));
  }
  return e;
}

}  // namespace nvmx
