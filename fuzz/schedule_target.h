// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_FUZZ_SCHEDULE_TARGET_H_
#define NVMX_FUZZ_SCHEDULE_TARGET_H_

#include <memory>

#include "fuzz/target.h"

namespace nvmx::fuzz {

std::unique_ptr<Target> MakeScheduleTarget();

}  // namespace nvmx::fuzz

#endif  // NVMX_FUZZ_SCHEDULE_TARGET_H_
