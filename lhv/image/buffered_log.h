// SPDX-License-Identifier: Apache-2.0
//
// Observations wait here while L2 runs, where an I/O instruction may be a VM exit.
#ifndef NVMX_LHV_IMAGE_BUFFERED_LOG_H_
#define NVMX_LHV_IMAGE_BUFFERED_LOG_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "backends/vmx-hw/machine/console.h"
#include "lhv/image/log_line.h"
#include "lhv/observation.h"

namespace nvmx::lhv {

class BufferedLog final : public ObservationLog {
 public:
  void Append(const Observation& observation) override {
    if (count_ < kMostObservations) observations_[count_++] = observation;
  }
  void Flush(uint32_t cpu) {
    std::array<char, kMostLineBytes> line;
    for (size_t i = 0; i < count_; ++i) {
      metal::WriteSerial({line.data(), WriteLogLine(cpu, observations_[i], line)});
    }
    // The next instruction may stop the machine.
    if (count_ != 0) metal::WaitForSerial();
    count_ = 0;
  }

 private:
  static constexpr size_t kMostObservations = 4096;

  size_t count_ = 0;
  std::array<Observation, kMostObservations> observations_ = {};
};

}  // namespace nvmx::lhv

#endif  // NVMX_LHV_IMAGE_BUFFERED_LOG_H_
