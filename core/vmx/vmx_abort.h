// SPDX-License-Identifier: Apache-2.0
//
// VMX-abort indicators: what a VM exit that cannot complete writes at byte offset 4 of the VMCS
// region. Source: SDM Vol. 3C, 28.7 "VMX Aborts".
#ifndef NVMX_CORE_VMX_VMX_ABORT_H_
#define NVMX_CORE_VMX_VMX_ABORT_H_

#include <cstdint>

namespace nvmx {

enum class VmxAbort : uint32_t {
  kSavingGuestMsrs = 1,
  kHostPdptes = 2,
  kCurrentVmcsCorrupted = 3,
  kLoadingHostMsrs = 4,
  kMachineCheckDuringVmExit = 5,
  kHostAddressSpaceSize = 6,  // the CPU was in IA-32e mode, the control says that the host is not
};

// The offset of the VMX-abort indicator in a VMCS region, in bytes. SDM Vol. 3C, 25.2 "Format of
// the VMCS Region".
inline constexpr uint64_t kVmxAbortIndicatorOffset = 4;

constexpr const char* Name(VmxAbort abort) {
  switch (abort) {
    case VmxAbort::kSavingGuestMsrs:
      return "failure in saving guest MSRs";
    case VmxAbort::kHostPdptes:
      return "host checking of the PDPTEs failed";
    case VmxAbort::kCurrentVmcsCorrupted:
      return "current VMCS corrupted";
    case VmxAbort::kLoadingHostMsrs:
      return "failure on loading host MSRs";
    case VmxAbort::kMachineCheckDuringVmExit:
      return "machine-check event during VM exit";
    case VmxAbort::kHostAddressSpaceSize:
      return "VM exit from IA-32e mode with host-address-space size 0";
  }
  return "reserved";
}

}  // namespace nvmx

#endif  // NVMX_CORE_VMX_VMX_ABORT_H_
