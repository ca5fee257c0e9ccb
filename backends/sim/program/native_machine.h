// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_BACKENDS_SIM_PROGRAM_NATIVE_MACHINE_H_
#define NVMX_BACKENDS_SIM_PROGRAM_NATIVE_MACHINE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "backends/sim/machine/left_open.h"
#include "backends/sim/machine/processor_profile.h"
#include "backends/sim/program/program_machine.h"

namespace nvmx::sim {

enum class TlbPolicy : uint8_t {
  kKeep,  // translations stay until something drops them
  kEvictAtOnce,
};

// Which of the features of `hardware` the CPUs have: those that the core offers L1 there, or all
// that the simulated CPU knows.
enum class NativeFeatures : uint8_t { kOffered, kAll };

// The reference: guest programs on simulated CPUs that have natively what the core offers L1 on a
// processor with the capabilities `hardware`.
class NativeMachine final : public ProgramMachine {
 public:
  // 1 to kMostCpus CPUs.
  NativeMachine(uint32_t cpus, TlbPolicy policy,
                const Capabilities& hardware = SimulatedCapabilities(),
                NativeFeatures features = NativeFeatures::kOffered);
  ~NativeMachine() override;

  // Whether the last run left the same exit information in the current VMCS of each CPU as that of
  // the other machine. A program need not have looked at it.
  bool ExitedLike(const NativeMachine& other) const;

 private:
  class NativeCpu;

  ProgramCpu& cpu(uint32_t index) override;
  void Reset(lhv::L1Mode mode) override;
  bool Turn(uint32_t index) override;
  CpuEnd End(uint32_t index) override;
  void SaveStart() override;
  void RestoreStart() override;
  void Report(ProgramResult& result) override;

  std::vector<std::unique_ptr<NativeCpu>> cpus_;
  std::unique_ptr<ProcessorState> start_;

  // With kEvictAtOnce: that machine runs to explain a difference, and need not be fast.
  const bool watches_;
  LeftOpenWatch watch_, watch_at_start_;
  std::vector<size_t> left_open_at_;
};

}  // namespace nvmx::sim

#endif  // NVMX_BACKENDS_SIM_PROGRAM_NATIVE_MACHINE_H_
