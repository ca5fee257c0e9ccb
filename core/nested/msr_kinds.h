// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_NESTED_MSR_KINDS_H_
#define NVMX_CORE_NESTED_MSR_KINDS_H_

#include <cstdint>
#include <optional>

#include "core/vmx/vmcs_field.h"
#include "core/x86/msr.h"
#include "core/x86/mtrr.h"

namespace nvmx {

// How L0 treats a guest's access to an MSR; see msr_kinds.def.
enum class MsrKind : uint8_t { kSwitched, kEmulated, kAbsent, kShared };

enum class MsrInterception : uint8_t { kIntercepted, kPassedThrough };

// The guest-state field that holds a switched MSR; nothing for the other kinds.
constexpr std::optional<VmcsField> SwitchedMsrField(uint32_t msr) {
  switch (msr) {
#define NVMX_SWITCHED_MSR(name, field) \
  case Index(Msr::name):               \
    return VmcsField::field;
#include "core/nested/msr_kinds.def"
    default:
      return std::nullopt;
  }
}

constexpr MsrKind KindOfMsr(uint32_t msr) {
  if (SwitchedMsrField(msr)) return MsrKind::kSwitched;
#define NVMX_EMULATED_MSR(first, last, interception) \
  if (msr >= Index(first) && msr <= Index(last)) return MsrKind::kEmulated;
#define NVMX_ABSENT_MSR(first, last) \
  if (msr >= Index(first) && msr <= Index(last)) return MsrKind::kAbsent;
#include "core/nested/msr_kinds.def"
  return MsrKind::kShared;
}

// The MSRs whose RDMSR and WRMSR by a guest L0 has to perform.
struct MsrRange {
  uint32_t first;
  uint32_t last;
};
inline constexpr MsrRange kInterceptedMsrs[] = {
#define NVMX_EMULATED_MSR(first, last, interception)             \
  MsrInterception::interception == MsrInterception::kIntercepted \
      ? MsrRange{Index(first), Index(last)}                      \
      : MsrRange{1, 0},
#define NVMX_ABSENT_MSR(first, last) MsrRange{Index(first), Index(last)},
#include "core/nested/msr_kinds.def"
};

}  // namespace nvmx

#endif  // NVMX_CORE_NESTED_MSR_KINDS_H_
