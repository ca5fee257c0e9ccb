// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_TOOLS_PROCESSOR_FLAG_H_
#define NVMX_TOOLS_PROCESSOR_FLAG_H_

#include "absl/status/statusor.h"
#include "core/vmx/capabilities.h"

namespace nvmx::tools {

// What the simulated processors can do, by --processor. An error names the flag or the file, and
// what is wrong there.
absl::StatusOr<Capabilities> HardwareFromFlags();

// Whether --processor was given.
bool HasProcessorFlag();

}  // namespace nvmx::tools

#endif  // NVMX_TOOLS_PROCESSOR_FLAG_H_
