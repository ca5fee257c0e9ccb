// SPDX-License-Identifier: Apache-2.0
#include "core/nested/entry_surroundings.h"

#include "core/nested/entry_conditions.h"
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
// What the rules about segment registers and PDPTEs look at.
constexpr FieldSet kSegmentsAndPdptes = {NVMX_SEGMENT(Es),
                                         NVMX_SEGMENT(Cs),
                                         NVMX_SEGMENT(Ss),
                                         NVMX_SEGMENT(Ds),
                                         NVMX_SEGMENT(Fs),
                                         NVMX_SEGMENT(Gs),
                                         NVMX_SEGMENT(Ldtr),
                                         NVMX_SEGMENT(Tr),
                                         VmcsField::kGuestPdpte0,
                                         VmcsField::kGuestPdpte1,
                                         VmcsField::kGuestPdpte2,
                                         VmcsField::kGuestPdpte3,
                                         VmcsField::kGuestRflags,
                                         VmcsField::kGuestCr0,
                                         VmcsField::kGuestCr4,
                                         VmcsField::kVmEntryControls,
                                         VmcsField::kPrimaryProcessorBasedControls,
                                         VmcsField::kSecondaryProcessorBasedControls};
#undef NVMX_SEGMENT

void ReadPdptesOfEntry(Vcpu& vcpu, EntrySurroundings& e) {
  const VmcsImage& v = vcpu.state.vmcs12;
  e.loads_pdptes = UsesPaePaging(v.Get<VmcsField::kGuestCr0>(), v.Get<VmcsField::kGuestCr4>(),
                                 HasEntry(v, VmEntry::kIa32eModeGuest));
  if (!e.loads_pdptes) return;
  e.pdptes = HasSecondary(v, Secondary::kEnableEpt)
                 ? Pdptes{v.Get<VmcsField::kGuestPdpte0>(), v.Get<VmcsField::kGuestPdpte1>(),
                          v.Get<VmcsField::kGuestPdpte2>(), v.Get<VmcsField::kGuestPdpte3>()}
                 : ReadPdptes(vcpu, v.Get<VmcsField::kGuestCr3>());
}

}  // namespace

EntrySurroundings ReadEntrySurroundings(Vcpu& vcpu) {
  constexpr uint64_t kVtprOffset = 0x80;
  const VmcsImage& v = vcpu.state.vmcs12;
  EntrySurroundings e;
  e.segments_are_as_l2_left_them = !vcpu.state.vmcs02_stale.Intersects(kSegmentsAndPdptes);
  if (!e.segments_are_as_l2_left_them) CompleteVmcs12(vcpu);
  ReadPdptesOfEntry(vcpu, e);
  e.l1_in_ia32e_mode = (vcpu.ports.vmcs.Read(VmcsField::kGuestIa32Efer) & Efer::kLma) != 0;
  e.current_vmcs = vcpu.state.current_vmcs;
  if (HasPrimary(v, PrimaryProcessorBased::kUseTprShadow)) {
    e.vtpr = ReadOnPage(vcpu, v.Get<VmcsField::kVirtualApicAddress>(), kVtprOffset, e.vtpr);
  }
  if (HasLinkedVmcs(v)) {
    e.linked_revision =
        ReadOnPage(vcpu, v.Get<VmcsField::kVmcsLinkPointer>(), 0, e.linked_revision);
  }
  if (HasExit(v, VmExit::kLoadIa32PerfGlobalCtrl) ||
      HasEntry(v, VmEntry::kLoadIa32PerfGlobalCtrl)) {
    e.perf_global_ctrl_reserved = ~PerfGlobalCtrlBits(vcpu.ports.cpu);
  }
  return e;
}

}  // namespace nvmx
