// SPDX-License-Identifier: Apache-2.0
#ifndef NVMX_CORE_PORTS_CLOCK_H_
#define NVMX_CORE_PORTS_CLOCK_H_

#include <cstdint>

namespace nvmx {

class Clock {
 public:
  // The time-stamp counter of this CPU as RDTSC in VMX root operation returns it.
  virtual uint64_t ReadTsc() = 0;

 protected:
  ~Clock() = default;
};

}  // namespace nvmx

#endif  // NVMX_CORE_PORTS_CLOCK_H_
