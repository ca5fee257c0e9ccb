// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_VARIANTS_VARIANT_H_
#define NVMX_BACKENDS_VARIANTS_VARIANT_H_

#include <span>
#include <string_view>

#include "core/nested/choreography.h"
#include "core/smp/quiesce.h"

namespace nvmx {

// The core with one of its orders replaced. "correct" replaces nothing.
struct Variant {
  const char* name;
  const char* summary;
  const QuiesceProtocol& quiesce;
  const Choreography& choreography;
};

std::span<const Variant> AllVariants();
// nullptr if there is none of that name.
const Variant* FindVariant(std::string_view name);

}  // namespace nvmx

#endif  // NVMX_BACKENDS_VARIANTS_VARIANT_H_
