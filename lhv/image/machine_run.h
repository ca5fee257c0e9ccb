// SPDX-License-Identifier: Apache-2.0
//
// All CPUs of the machine, running one guest program after the other.
#ifndef NVMX_LHV_IMAGE_MACHINE_RUN_H_
#define NVMX_LHV_IMAGE_MACHINE_RUN_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "lhv/image/program_pack.h"

namespace nvmx::lhv {

// As many as ProgramMachine of backends/sim/program has.
inline constexpr uint32_t kMostImageCpus = 8;

// Once, on the CPU that booted, before any other function here. The others have started or not.
void PrepareMachine(uint32_t cpus);

// Runs the programs from number `first` on; each on as many CPUs as it has. On the CPU that booted.
void RunPack(std::span<const std::byte> pack, uint32_t first);

// Takes part in it, on the CPU `cpu` that has been started. Does not return.
[[noreturn]] void TakePart(uint32_t cpu);

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_MACHINE_RUN_H_
