// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_FIELD_POKES_H_
#define NVMX_FUZZ_FIELD_POKES_H_

#include <cstdint>
#include <optional>

#include "core/vmx/capabilities.h"
#include "core/vmx/vmcs_field.h"
#include "lhv/program.h"

namespace nvmx::fuzz {

// What an operation of L1 on CPU 0 does if all it does is to write a field that exists.
struct FieldPoke {
  VmcsField field;
  uint64_t value;
};

std::optional<FieldPoke> PokeOf(const lhv::Operation& operation, const Capabilities& offered);

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_FIELD_POKES_H_
