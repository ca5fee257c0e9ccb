// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_TESTING_CORE_OBJECTS_H_
#define NVMX_CORE_TESTING_CORE_OBJECTS_H_

#include "core/nested/choreography.h"
#include "core/nested/embedder.h"
#include "core/smp/quiesce.h"

namespace nvmx {

// The core's own values at its seams, made where RTTI is off as in the core: elsewhere their
// vtables would refer to type information that the core does not have, and would not link.
const QuiesceProtocol& CoreQuiesce();
const Choreography& CoreChoreography();
const Embedder& CoreEmbedder();

}  // namespace nvmx

#endif  // NVMX_CORE_TESTING_CORE_OBJECTS_H_
