// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_PORTS_VMCS_H_
#define NVMX_CORE_PORTS_VMCS_H_

#include <cstdint>

#include "core/vmx/vmcs_field.h"

namespace nvmx {

// Which of the VMCSs that L0 owns on each CPU: the one that runs L1, the one that runs L2, or the
// shadow VMCS that VMCS01 lets L1 read and write. The last is only there if Vcpu::shadow_pages are,
// is never entered, and is hardware's again as soon as another is made current.
enum class VmcsRole : uint8_t { kVmcs01, kVmcs02, kShadow };

// The VMCSs of this CPU that hardware uses. The backend enters whichever is current when the core
// returns to it.
class Vmcs {
 public:
  // VMPTRLD of the VMCS with that role.
  virtual void MakeCurrent(VmcsRole role) = 0;
  // The role of the current VMCS.
  virtual VmcsRole Current() const = 0;
  // VMREAD from the current VMCS; the field exists on this CPU.
  virtual uint64_t Read(VmcsField field) = 0;
  // VMWRITE to the current VMCS; the field exists on this CPU, and bits above its width are
  // ignored.
  virtual void Write(VmcsField field, uint64_t value) = 0;

 protected:
  ~Vmcs() = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_VMCS_H_
