// SPDX-License-Identifier: Apache-2.0
#include "core/nested/exit_routing.h"

#include "core/nested/entry_conditions.h"
#include "core/vmx/bitmaps.h"
#include "core/vmx/controls.h"
#include "core/vmx/qualifications.h"
#include "core/x86/control_registers.h"

namespace nvmx {
namespace {

enum class Controls : uint8_t { kPin, kPrimary, kSecondary };

// The control of VMCS12 whose 1-setting asks for the exit. SDM Vol. 3C, 26.1.3 "Instructions That
// Cause VM Exits Conditionally", 26.2 "Other Causes of VM Exits".
struct ControlOfExit {
  ExitReason reason;
  Controls controls;
  uint32_t bit;
};
constexpr ControlOfExit kControlsOfExits[] = {
    {ExitReason::kExternalInterrupt, Controls::kPin, PinBased::kExternalInterruptExiting},
    {ExitReason::kInterruptWindow, Controls::kPrimary,
     PrimaryProcessorBased::kInterruptWindowExiting},
    {ExitReason::kNmiWindow, Controls::kPrimary, PrimaryProcessorBased::kNmiWindowExiting},
    {ExitReason::kHlt, Controls::kPrimary, PrimaryProcessorBased::kHltExiting},
    {ExitReason::kInvlpg, Controls::kPrimary, PrimaryProcessorBased::kInvlpgExiting},
    {ExitReason::kRdpmc, Controls::kPrimary, PrimaryProcessorBased::kRdpmcExiting},
    {ExitReason::kRdtsc, Controls::kPrimary, PrimaryProcessorBased::kRdtscExiting},
    {ExitReason::kRdtscp, Controls::kPrimary, PrimaryProcessorBased::kRdtscExiting},
    {ExitReason::kMovDr, Controls::kPrimary, PrimaryProcessorBased::kMovDrExiting},
    {ExitReason::kMwait, Controls::kPrimary, PrimaryProcessorBased::kMwaitExiting},
    {ExitReason::kMonitor, Controls::kPrimary, PrimaryProcessorBased::kMonitorExiting},
    {ExitReason::kPause, Controls::kPrimary, PrimaryProcessorBased::kPauseExiting},
    {ExitReason::kTprBelowThreshold, Controls::kPrimary, PrimaryProcessorBased::kUseTprShadow},
    {ExitReason::kInvpcid, Controls::kPrimary, PrimaryProcessorBased::kInvlpgExiting},
    {ExitReason::kVmxPreemptionTimerExpired, Controls::kPin, PinBased::kActivateVmxPreemptionTimer},
    {ExitReason::kApicAccess, Controls::kSecondary, Secondary::kVirtualizeApicAccesses},
    {ExitReason::kVirtualizedEoi, Controls::kSecondary, Secondary::kVirtualInterruptDelivery},
    {ExitReason::kApicWrite, Controls::kSecondary, Secondary::kApicRegisterVirtualization},
    {ExitReason::kAccessToGdtrOrIdtr, Controls::kSecondary, Secondary::kDescriptorTableExiting},
    {ExitReason::kAccessToLdtrOrTr, Controls::kSecondary, Secondary::kDescriptorTableExiting},
    {ExitReason::kWbinvdOrWbnoinvd, Controls::kSecondary, Secondary::kWbinvdExiting},
    {ExitReason::kRdrand, Controls::kSecondary, Secondary::kRdrandExiting},
    {ExitReason::kRdseed, Controls::kSecondary, Secondary::kRdseedExiting},
};

bool IsSet(const VmcsImage& v, Controls controls, uint32_t bit) {
  switch (controls) {
    case Controls::kPin:
      return HasPin(v, bit);
    case Controls::kPrimary:
      return HasPrimary(v, bit);
    case Controls::kSecondary:
      return HasSecondary(v, bit);
  }
  return false;
}

// SDM Vol. 3C, 26.5.2 "Monitor Trap Flag"; 27.6.2 "Injection of Pending MTF VM Exits": one that L1
// has injected is L1's whatever the control says.
bool MonitorTrapIsL1s(const VmcsImage& v) {
  const InterruptionInformation injected = Injection(v);
  return HasPrimary(v, PrimaryProcessorBased::kMonitorTrapFlag) ||
         (injected.valid() && injected.type() == InterruptionType::kOtherEvent);
}

bool IsCr3Target(const VmcsImage& v, uint64_t value) {
  constexpr VmcsField kTargets[] = {VmcsField::kCr3TargetValue0, VmcsField::kCr3TargetValue1,
                                    VmcsField::kCr3TargetValue2, VmcsField::kCr3TargetValue3};
  const uint32_t count = v.Get<VmcsField::kCr3TargetCount>();
  for (uint32_t n = 0; n < count && n < std::size(kTargets); ++n) {
    if (v.Read(kTargets[n]) == value) return true;
  }
  return false;
}

bool MovToIsL1s(const VmcsImage& v, unsigned control_register, uint64_t value) {
  switch (control_register) {
    case 0:
      return (v.Get<VmcsField::kCr0GuestHostMask>() &
              (value ^ v.Get<VmcsField::kCr0ReadShadow>())) != 0;
    case 3:
      return HasPrimary(v, PrimaryProcessorBased::kCr3LoadExiting) && !IsCr3Target(v, value);
    case 4:
      return (v.Get<VmcsField::kCr4GuestHostMask>() &
              (value ^ v.Get<VmcsField::kCr4ReadShadow>())) != 0;
    default:
      // CR8. It also exits if the virtual-APIC page of VMCS12 is out of L1's reach.
      return true;
  }
}

// LMSW can set PE and not clear it; it exits if it tries to, and if it changes MP, EM or TS.
bool LmswIsL1s(const VmcsImage& v, uint16_t source) {
  const uint64_t mask = v.Get<VmcsField::kCr0GuestHostMask>();
  const uint64_t shadow = v.Get<VmcsField::kCr0ReadShadow>();
  constexpr uint64_t kOthers = Cr0::kMp | Cr0::kEm | Cr0::kTs;
  const bool sets_pe = (mask & Cr0::kPe & source & ~shadow) != 0;
  return sets_pe || (mask & kOthers & (source ^ shadow)) != 0;
}

// SDM Vol. 3C, 26.1.3, "CLTS", "LMSW", "MOV from CR3", "MOV to CR0", ...
bool ControlRegisterAccessIsL1s(const VmcsImage& v, const L2Exit& exit) {
  const ControlRegisterAccess access(exit.qualification);
  switch (access.type()) {
    case ControlRegisterAccess::Type::kMovTo:
      return MovToIsL1s(v, access.control_register(), exit.operand);
    case ControlRegisterAccess::Type::kMovFrom:
      return access.control_register() != 3 ||
             HasPrimary(v, PrimaryProcessorBased::kCr3StoreExiting);
    case ControlRegisterAccess::Type::kClts:
      return (v.Get<VmcsField::kCr0GuestHostMask>() & v.Get<VmcsField::kCr0ReadShadow>() &
              Cr0::kTs) != 0;
    case ControlRegisterAccess::Type::kLmsw:
      return LmswIsL1s(v, access.lmsw_source());
  }
  return true;
}

bool IsL1sByControl(const VmcsImage& v, const L2Exit& exit) {
  if (exit.reason == ExitReason::kControlRegisterAccesses) {
    return ControlRegisterAccessIsL1s(v, exit);
  }
  if (exit.reason == ExitReason::kMonitorTrapFlag) return MonitorTrapIsL1s(v);
  for (const ControlOfExit& row : kControlsOfExits) {
    if (row.reason == exit.reason) return IsSet(v, row.controls, row.bit);
  }
  return false;
}

// SDM Vol. 3C, 25.6.4 "I/O-Bitmap Addresses": the bitmaps count and not the unconditional exit, and
// an access that wraps around behind port FFFFH exits.
bool IoIsL1s(const VmcsImage& v, const IoAccess& access, GuestBitmaps& bitmaps) {
  constexpr uint32_t kPorts = 0x10000;
  if (!HasPrimary(v, PrimaryProcessorBased::kUseIoBitmaps)) {
    return HasPrimary(v, PrimaryProcessorBased::kUnconditionalIoExiting);
  }
  for (uint32_t n = 0; n < access.bytes(); ++n) {
    const uint32_t port = access.port() + n;
    if (port >= kPorts) return true;
    const bool in_b = port >= kPortsOfIoBitmap;
    if (bitmaps.Bit(v.Read(in_b ? VmcsField::kIoBitmapBAddress : VmcsField::kIoBitmapAAddress),
                    port % kPortsOfIoBitmap)) {
      return true;
    }
  }
  return false;
}

// SDM Vol. 3C, 25.6.9 "MSR-Bitmap Address".
bool MsrAccessIsL1s(const VmcsImage& v, uint64_t msr, bool write, GuestBitmaps& bitmaps) {
  if (!HasPrimary(v, PrimaryProcessorBased::kUseMsrBitmaps)) return true;
  const std::optional<uint32_t> bit = MsrBitmapBit(static_cast<uint32_t>(msr), write);
  return !bit || bitmaps.Bit(v.Get<VmcsField::kMsrBitmapAddress>(), *bit);
}

// SDM Vol. 3C, 25.6.15 "VMCS Shadowing Bitmap Addresses"; 31.3, "VMREAD", "VMWRITE".
bool VmcsAccessIsL1s(const VmcsImage& v, uint64_t encoding, VmcsField bitmap,
                     GuestBitmaps& bitmaps) {
  return !HasSecondary(v, Secondary::kVmcsShadowing) || (encoding & ~kVmcsBitmapEncodings) != 0 ||
         bitmaps.Bit(v.Read(bitmap), static_cast<uint32_t>(encoding));
}

bool IsL1sByBitmap(const VmcsImage& v, const L2Exit& exit, GuestBitmaps& bitmaps) {
  switch (exit.reason) {
    case ExitReason::kIoInstruction:
      return IoIsL1s(v, IoAccess(exit.qualification), bitmaps);
    case ExitReason::kRdmsr:
      return MsrAccessIsL1s(v, exit.operand, /*write=*/false, bitmaps);
    case ExitReason::kWrmsr:
      return MsrAccessIsL1s(v, exit.operand, /*write=*/true, bitmaps);
    case ExitReason::kVmread:
      return VmcsAccessIsL1s(v, exit.operand, VmcsField::kVmreadBitmapAddress, bitmaps);
    case ExitReason::kVmwrite:
      return VmcsAccessIsL1s(v, exit.operand, VmcsField::kVmwriteBitmapAddress, bitmaps);
    default:
      return false;  // of a feature that is not offered
  }
}

// SDM Vol. 3C, 25.6.3 "Exception Bitmap". An NMI has been settled before.
bool EventIsL1s(const VmcsImage& v, const L2Exit& exit) {
  if (exit.event.IsNmi()) return false;
  const bool bit = (v.Get<VmcsField::kExceptionBitmap>() >> exit.event.vector() & 1) != 0;
  if (!exit.event.IsHardwareException(Vector::kPageFault)) return bit;
  const bool matches = (exit.error_code & v.Get<VmcsField::kPageFaultErrorCodeMask>()) ==
                       v.Get<VmcsField::kPageFaultErrorCodeMatch>();
  return matches == bit;
}

}  // namespace

ExitOwner OwnerOf(const L2Exit& exit, const VmcsImage& vmcs12, GuestBitmaps& bitmaps) {
  const auto owner = [](bool is_l1s) { return is_l1s ? ExitOwner::kL1 : ExitOwner::kL0; };
  switch (RouteOf(exit.reason).value_or(DefaultRoute::kL0)) {
    case DefaultRoute::kL1Always:
      return ExitOwner::kL1;
    case DefaultRoute::kByControl:
      return owner(IsL1sByControl(vmcs12, exit));
    case DefaultRoute::kByBitmap:
      return owner(IsL1sByBitmap(vmcs12, exit, bitmaps));
    case DefaultRoute::kByEvent:
      return owner(EventIsL1s(vmcs12, exit));
    case DefaultRoute::kL0:
    case DefaultRoute::kByEpt:
    case DefaultRoute::kVmEntryFailure:
      break;
  }
  return ExitOwner::kL0;
}

}  // namespace nvmx
