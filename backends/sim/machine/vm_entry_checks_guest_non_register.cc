// SPDX-License-Identifier: Apache-2.0
//
// SDM Vol. 3C, 27.3.1.5 "Checks on Guest Non-Register State", 27.3.1.6 "Checks on Guest
// Page-Directory-Pointer-Table Entries".
#include <array>

#include "backends/sim/machine/vm_entry_checks.h"
#include "core/vmx/exit_reason.h"
#include "core/vmx/interruptibility.h"
#include "core/x86/control_registers.h"
#include "core/x86/msr.h"
#include "core/x86/rflags.h"

namespace nvmx::sim {
namespace {

using Blocking = Interruptibility;
constexpr uint64_t kNoLink = ~uint64_t{0};

uint32_t BlockingOf(const EntryInput& in) {
  return in.Get<VmcsField::kGuestInterruptibilityState>();
}
bool Injects(const EntryInput& in, InterruptionType type) {
  return in.Injected().valid() && in.Injected().type() == type;
}
ActivityState ActivityOf(const EntryInput& in) {
  return static_cast<ActivityState>(in.Get<VmcsField::kGuestActivityState>());
}

// IA32_VMX_MISC tells which states VM entry can establish beside the active one.
bool IsActivitySupported(const EntryInput& in) {
  const uint64_t misc = in.capabilities.misc;
  switch (ActivityOf(in)) {
    case ActivityState::kActive:
      return true;
    case ActivityState::kHlt:
      return (misc & VmxMisc::kActivityStateHlt) != 0;
    case ActivityState::kShutdown:
      return (misc & VmxMisc::kActivityStateShutdown) != 0;
    case ActivityState::kWaitForSipi:
      return (misc & VmxMisc::kActivityStateWaitForSipi) != 0;
  }
  return false;
}

bool IsInjectionAllowedInActivity(const EntryInput& in) {
  const InterruptionInformation event = in.Injected();
  if (!event.valid()) return true;
  const bool is_nmi = event.IsNmi();
  const bool is_machine_check = event.IsHardwareException(Vector::kMachineCheck);
  switch (ActivityOf(in)) {
    case ActivityState::kActive:
      return true;
    case ActivityState::kHlt:
      return is_nmi || is_machine_check || event.IsHardwareException(Vector::kDebug) ||
             event.type() == InterruptionType::kExternalInterrupt ||
             event.type() == InterruptionType::kOtherEvent;
    case ActivityState::kShutdown:
      return is_nmi || is_machine_check;
    case ActivityState::kWaitForSipi:
      return false;
  }
  return false;
}

// A trap is pending if the guest single-steps and events are held back.
bool IsPendingSingleStepRight(const EntryInput& in) {
  const bool held_back =
      (BlockingOf(in) & (Blocking::kBlockingBySti | Blocking::kBlockingByMovSs)) != 0 ||
      ActivityOf(in) == ActivityState::kHlt;
  if (!held_back) return true;
  const bool steps = (in.Get<VmcsField::kGuestRflags>() & Rflags::kTf) != 0 &&
                     (in.Get<VmcsField::kGuestIa32Debugctl>() & DebugCtl::kBtf) == 0;
  const bool pending =
      (in.Get<VmcsField::kGuestPendingDebugExceptions>() & PendingDebugExceptions::kBs) != 0;
  return pending == steps;
}

bool DoesLinkedRegionFit(const EntryInput& in) {
  constexpr uint32_t kShadowVmcs = uint32_t{1} << 31;
  uint32_t header = 0;
  in.memory.ReadPhysical(in.Get<VmcsField::kVmcsLinkPointer>(),
                         std::as_writable_bytes(std::span(&header, 1)));
  const auto revision =
      static_cast<uint32_t>(in.capabilities.basic & VmxBasic::kRevisionIdentifier);
  return header == (revision | (in.Secondary(Secondary::kVmcsShadowing) ? kShadowVmcs : 0));
}

std::array<uint64_t, 4> PdptesOf(const EntryInput& in) {
  if (in.Secondary(Secondary::kEnableEpt)) {
    return {in.Get<VmcsField::kGuestPdpte0>(), in.Get<VmcsField::kGuestPdpte1>(),
            in.Get<VmcsField::kGuestPdpte2>(), in.Get<VmcsField::kGuestPdpte3>()};
  }
  constexpr uint64_t kAddressBits = 0xFFFFFFE0;
  std::array<uint64_t, 4> pdptes;
  in.memory.ReadPhysical(in.Get<VmcsField::kGuestCr3>() & kAddressBits,
                         std::as_writable_bytes(std::span(pdptes)));
  return pdptes;
}

// Neither RTM nor bus-lock detection nor SGX is there: their bits are reserved.
constexpr uint64_t kPendingDefined = PendingDebugExceptions::kDefined &
                                     ~(PendingDebugExceptions::kRtm | PendingDebugExceptions::kBld);
constexpr uint32_t kBlockingDefined = Blocking::kDefined & ~Blocking::kEnclaveInterruption;

constexpr EntryRule kRules[] = {
    {"guest activity state", IsActivitySupported},
    {"guest activity state HLT with SS.DPL above 0",
     [](const EntryInput& in) {
       return ActivityOf(in) != ActivityState::kHlt ||
              in.Segment(SegmentRegister::kSs).rights.dpl() == 0;
     }},
    {"guest activity state with blocking by STI or MOV SS",
     [](const EntryInput& in) {
       return ActivityOf(in) == ActivityState::kActive ||
              (BlockingOf(in) & (Blocking::kBlockingBySti | Blocking::kBlockingByMovSs)) == 0;
     }},
    {"injected event in an activity state that holds it back", IsInjectionAllowedInActivity},
    {"guest interruptibility state: reserved bits",
     [](const EntryInput& in) { return (BlockingOf(in) & ~kBlockingDefined) == 0; }},
    {"blocking by STI and by MOV SS",
     [](const EntryInput& in) {
       constexpr uint32_t kBoth = Blocking::kBlockingBySti | Blocking::kBlockingByMovSs;
       return (BlockingOf(in) & kBoth) != kBoth;
     }},
    {"blocking by STI with interrupts masked",
     [](const EntryInput& in) {
       return (BlockingOf(in) & Blocking::kBlockingBySti) == 0 ||
              (in.Get<VmcsField::kGuestRflags>() & Rflags::kIf) != 0;
     }},
    {"injected external interrupt with blocking by STI or MOV SS",
     [](const EntryInput& in) {
       return !Injects(in, InterruptionType::kExternalInterrupt) ||
              (BlockingOf(in) & (Blocking::kBlockingBySti | Blocking::kBlockingByMovSs)) == 0;
     }},
    // Blocking by STI is no obstacle to an NMI on this processor.
    {"injected NMI with blocking by MOV SS",
     [](const EntryInput& in) {
       return !Injects(in, InterruptionType::kNmi) ||
              (BlockingOf(in) & Blocking::kBlockingByMovSs) == 0;
     }},
    {"blocking by SMI outside SMM",
     [](const EntryInput& in) { return (BlockingOf(in) & Blocking::kBlockingBySmi) == 0; }},
    {"injected NMI while virtual NMIs are blocked",
     [](const EntryInput& in) {
       return !in.Pin(PinBased::kVirtualNmis) || !Injects(in, InterruptionType::kNmi) ||
              (BlockingOf(in) & Blocking::kBlockingByNmi) == 0;
     }},
    {"pending debug exceptions: reserved bits",
     [](const EntryInput& in) {
       return (in.Get<VmcsField::kGuestPendingDebugExceptions>() & ~kPendingDefined) == 0;
     }},
    {"pending debug exceptions: single step", IsPendingSingleStepRight},
    {"VMCS link pointer: address",
     [](const EntryInput& in) {
       const uint64_t link = in.Get<VmcsField::kVmcsLinkPointer>();
       return link == kNoLink || in.IsVmxPage(link);
     },
     InvalidGuestStateQualification::kVmcsLinkPointer},
    {"VMCS link pointer: revision identifier and shadow-VMCS indicator",
     [](const EntryInput& in) {
       return in.Get<VmcsField::kVmcsLinkPointer>() == kNoLink || DoesLinkedRegionFit(in);
     },
     InvalidGuestStateQualification::kVmcsLinkPointer},
    {"VMCS link pointer: the current VMCS",
     [](const EntryInput& in) {
       const uint64_t link = in.Get<VmcsField::kVmcsLinkPointer>();
       return link == kNoLink || link != in.current_vmcs;
     },
     InvalidGuestStateQualification::kVmcsLinkPointer},
    {"guest PDPTEs",
     [](const EntryInput& in) {
       return !UsesPaePaging(in) || ArePdptesValid(PdptesOf(in), in.capabilities);
     },
     InvalidGuestStateQualification::kPdptes},
};

}  // namespace

bool UsesPaePaging(const EntryInput& in) {
  return (in.Get<VmcsField::kGuestCr0>() & Cr0::kPg) != 0 &&
         (in.Get<VmcsField::kGuestCr4>() & Cr4::kPae) != 0 && !in.Entry(VmEntry::kIa32eModeGuest);
}

EntryRules GuestNonRegisterRules() { return {kRules, FirstBroken<kRules>}; }

}  // namespace nvmx::sim
