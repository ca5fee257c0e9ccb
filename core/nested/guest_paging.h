// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_GUEST_PAGING_H_
#define NVMX_CORE_NESTED_GUEST_PAGING_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/nested/vcpu.h"
#include "core/vmx/outcomes.h"

namespace nvmx {

// Memory of L1 by linear address, as an instruction of L1 at CPL 0 accesses data: without paging,
// or with 32-bit, PAE, 4-level or 5-level paging, as L1's control registers say. VMCS01 is current.
// SDM Vol. 3A, chapter 5 "Paging".
//
// A fault is what L1 gets instead: #GP(0) for an address that is not canonical in 64-bit mode, or
// #PF, with CR2 in vcpu.state.cr2. Accessed and dirty flags are set in L1's paging structures when
// the page is found to allow the access. Physical memory that nothing answers reads as all ones and
// ignores writes.

// Reads bytes.size() bytes, at most a page.
std::optional<VmxOutcome> ReadLinear(Vcpu& vcpu, uint64_t linear, std::span<std::byte> bytes);

// Writes the bytes, at most a page; nothing if there is a fault on any of them.
std::optional<VmxOutcome> WriteLinear(Vcpu& vcpu, uint64_t linear,
                                      std::span<const std::byte> bytes);

// The same for an object.
template <typename T>
std::optional<VmxOutcome> ReadLinearValue(Vcpu& vcpu, uint64_t linear, T& value) {
  return ReadLinear(vcpu, linear, std::as_writable_bytes(std::span<T, 1>(&value, 1)));
}
template <typename T>
std::optional<VmxOutcome> WriteLinearValue(Vcpu& vcpu, uint64_t linear, const T& value) {
  return WriteLinear(vcpu, linear, std::as_bytes(std::span<const T, 1>(&value, 1)));
}

// Whether the guest of the current VMCS is in 64-bit mode.
bool IsIn64BitMode(Vcpu& vcpu);

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_GUEST_PAGING_H_
